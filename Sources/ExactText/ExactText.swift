// Swift's own `==`, `<` and hash of strings hold for equal what looks alike: "é" as one scalar and as "e" with an
// accent. For whoever stores, sends or runs them these are different bytes. Besides, they normalise (UAX #15), whose cost
// is quadratic in the length of a run of combining marks: 64 KB of them take seconds. So text that comes from a network,
// a file or a job is compared and hashed by its bytes, by what is here.

import Glibc

extension String {
  /// Whether both are the same bytes of UTF-8.
  @inlinable
  public func isExactly(_ other: String) -> Bool {
    // Most that are compared differ in length, which costs no look at the bytes.
    guard utf8.count == other.utf8.count else { return false }
    let isSame = utf8.withContiguousStorageIfAvailable { mine in
      other.utf8.withContiguousStorageIfAvailable { theirs in
        mine.isEmpty || memcmp(mine.baseAddress!, theirs.baseAddress!, mine.count) == 0
      }
    }
    return isSame.flatMap { $0 } ?? utf8.elementsEqual(other.utf8)
  }

  /// Whether this comes first in the order of the bytes, which is that of the Unicode scalars.
  @inlinable
  public func precedesExactly(_ other: String) -> Bool {
    let order = utf8.withContiguousStorageIfAvailable { mine in
      other.utf8.withContiguousStorageIfAvailable { theirs in
        let common = min(mine.count, theirs.count)
        let order = common == 0 ? 0 : memcmp(mine.baseAddress!, theirs.baseAddress!, common)
        return order == 0 ? mine.count < theirs.count : order < 0
      }
    }
    return order.flatMap { $0 } ?? utf8.lexicographicallyPrecedes(other.utf8)
  }

  /// Feeds the bytes, and an end that occurs in no text, into a hasher.
  @inlinable
  public func hashExactly(into hasher: inout Hasher) {
    let isDone: Void? = utf8.withContiguousStorageIfAvailable { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    if isDone == nil { for byte in utf8 { hasher.combine(byte) } }
    hasher.combine(0xFF as UInt8)
  }

  /// The longest beginning of at most so many bytes that ends with a whole scalar, with "…" if something is missing.
  public func shortened(toBytes maximum: Int) -> String {
    guard utf8.count > maximum else { return self }
    var end = utf8.index(utf8.startIndex, offsetBy: maximum)
    while end > utf8.startIndex, utf8[end] & 0xC0 == 0x80 { end = utf8.index(before: end) }
    return String(unicodeScalars[..<end]) + "…"
  }
}

extension Sequence<String> {
  /// Whether one of them is the same bytes.
  @inlinable
  public func containsExactly(_ text: String) -> Bool { contains { $0.isExactly(text) } }
}

extension CaseIterable where Self: RawRepresentable<String> {
  /// The case of this word, to the byte. `init(rawValue:)` of an enumeration compares as `==` does.
  public init?(exactly word: String) {
    guard let found = Self.allCases.first(where: { $0.rawValue.isExactly(word) }) else { return nil }
    self = found
  }
}

/// A type whose values are text, equal, ordered and hashed by its bytes.
public protocol ComparedExactly: Hashable, Comparable {
  var rawValue: String { get }
}

extension ComparedExactly {
  @inlinable
  public static func == (a: Self, b: Self) -> Bool { a.rawValue.isExactly(b.rawValue) }
  @inlinable
  public static func < (a: Self, b: Self) -> Bool { a.rawValue.precedesExactly(b.rawValue) }
  @inlinable
  public func hash(into hasher: inout Hasher) { rawValue.hashExactly(into: &hasher) }
}

/// Any text, equal, ordered and hashed by its bytes: a key of a dictionary, or what a `switch` looks at.
///
/// ```swift
/// switch ExactText(request.path) {
/// case "/health": …
/// ```
public struct ExactText: ComparedExactly, Sendable, CustomStringConvertible, ExpressibleByStringLiteral {
  public let rawValue: String

  @inlinable
  public init(_ rawValue: String) { self.rawValue = rawValue }
  @inlinable
  public init(stringLiteral: String) { rawValue = stringLiteral }

  public var description: String { rawValue }
}
