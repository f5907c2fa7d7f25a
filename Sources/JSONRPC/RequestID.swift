// The id of a call comes back as it came. A number may be written in ways that no value of ours keeps: beyond 64 bits, with
// a fraction, with an exponent. Those are taken from the text of the request.

/// What a client calls its request by: a string, a number or null.
public enum RequestID: Hashable, Sendable {
  case value(JSON)
  /// A number, as it was written.
  case number([UInt8])

  public static let null = RequestID.value(.null)

  /// Appends it as JSON.
  public func write(into bytes: inout [UInt8]) {
    switch self {
    case .value(let value): value.write(into: &bytes)
    case .number(let text): bytes.append(contentsOf: text)
    }
  }
}

/// The numbers that are ids in the text of a request.
struct WrittenIDs {
  /// For each call that has one, by its place in the batch; a single call is at 0.
  private var places: [Int: Range<Int>] = [:]
  private let text: [UInt8]

  /// - Parameter text: JSON, or what is taken for it.
  init(_ text: [UInt8]) {
    self.text = text
    text.withUnsafeBytes { bytes in
      var cursor = JSONCursor(bytes)
      switch cursor.next {
      case UInt8(ascii: "{"): find(&cursor, 0, bytes)
      case UInt8(ascii: "["):
        cursor.enter()
        var call = 0
        while cursor.hasElement {
          if cursor.next == UInt8(ascii: "{") { find(&cursor, call, bytes) } else { cursor.skipValue() }
          call += 1
        }
      default: break
      }
    }
  }

  var isEmpty: Bool { places.isEmpty }

  subscript(call: Int) -> RequestID? { places[call].map { .number(Array(text[$0])) } }

  /// The same text with 0 for each of these numbers; all else is at its place.
  var replaced: [UInt8] {
    var text = self.text
    for place in places.values {
      text[place.lowerBound] = UInt8(ascii: "0")
      for blank in place.dropFirst() { text[blank] = UInt8(ascii: " ") }
    }
    return text
  }

  private mutating func find(_ cursor: inout JSONCursor, _ call: Int, _ bytes: UnsafeRawBufferPointer) {
    cursor.enter()
    while let name = cursor.nextName() {
      let start = cursor.place
      cursor.skipValue()
      guard cursor.isName(name, "id") else { continue }
      let place = start..<cursor.place
      if Self.isNumber(bytes[place]) { places[call] = place }
    }
  }

  /// RFC 8259, section 6.
  static func isNumber(_ text: Slice<UnsafeRawBufferPointer>) -> Bool {
    var rest = text
    func digits() -> Bool {
      let count = rest.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }.count
      rest = rest.dropFirst(count)
      return count > 0
    }
    func skip(_ bytes: UInt8...) -> Bool {
      guard let next = rest.first, bytes.contains(next) else { return false }
      rest = rest.dropFirst()
      return true
    }
    _ = skip(UInt8(ascii: "-"))
    if !skip(UInt8(ascii: "0")), !digits() { return false }
    if skip(UInt8(ascii: ".")), !digits() { return false }
    if skip(UInt8(ascii: "e"), UInt8(ascii: "E")) {
      _ = skip(UInt8(ascii: "+"), UInt8(ascii: "-"))
      guard digits() else { return false }
    }
    return rest.isEmpty
  }
}
