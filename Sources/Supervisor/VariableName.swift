import ExactText

/// The name of a variable in the environment of a process: 1 to 256 bytes of printable ASCII without `=`.
///
/// Jobs of before this rule may have other names, which are kept as they are.
public struct VariableName: ComparedExactly, Sendable, CustomStringConvertible, ExpressibleByStringLiteral {
  public static let maximumBytes = 256
  /// Completes "expected …".
  public static let expectation = "a name of 1 to \(maximumBytes) bytes of printable ASCII without \"=\""

  public let rawValue: String

  /// Takes the value as it is; only for values that were checked before (the store, another node).
  public init(trusted: String) { rawValue = trusted }
  public init(stringLiteral: String) { rawValue = stringLiteral }

  /// Parses what a user wrote.
  public init(_ string: String) throws(InvalidName) {
    let bytes = string.utf8
    guard (1...Self.maximumBytes).contains(bytes.count),
      bytes.allSatisfy({ (0x20...0x7E).contains($0) && $0 != UInt8(ascii: "=") })
    else { throw InvalidName(reason: "must be \(Self.expectation)") }
    rawValue = string
  }

  public var description: String { rawValue }
}
