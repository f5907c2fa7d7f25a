// Numbers and strings as bytes: big-endian; a string is its length in one byte, then UTF-8.

struct ByteWriter {
  private(set) var bytes: [UInt8] = []

  mutating func add(_ integer: some FixedWidthInteger) {
    withUnsafeBytes(of: integer.bigEndian) { bytes.append(contentsOf: $0) }
  }

  mutating func add(raw: some Sequence<UInt8>) { bytes.append(contentsOf: raw) }

  /// - Precondition: at most 255 bytes.
  mutating func add(_ string: String) {
    precondition(string.utf8.count <= 255, "a text of more than 255 bytes")
    bytes.append(UInt8(string.utf8.count))
    bytes.append(contentsOf: string.utf8)
  }
}

struct ByteReader {
  private var rest: ArraySlice<UInt8>
  init(_ bytes: [UInt8]) { rest = bytes[...] }

  var isAtEnd: Bool { rest.isEmpty }

  mutating func byte() throws(MalformedPacket) -> UInt8 { try integer() }

  mutating func integer<I: FixedWidthInteger>() throws(MalformedPacket) -> I {
    let bytes = try take(I.bitWidth / 8)
    return bytes.reduce(0) { $0 << 8 | I($1) }
  }

  mutating func string(atMost limit: Int) throws(MalformedPacket) -> String {
    let count = Int(try byte())
    guard count <= limit else { throw MalformedPacket("a text is too long") }
    guard let string = String(validating: try take(count), as: UTF8.self) else {
      throw MalformedPacket("invalid UTF-8")
    }
    return string
  }

  /// A counter that may still grow.
  mutating func counter() throws(MalformedPacket) -> UInt64 {
    let value: UInt64 = try integer()
    guard value <= News.maximumCounter else { throw MalformedPacket("a counter is too large") }
    return value
  }

  mutating func name() throws(MalformedPacket) -> MemberName {
    let string = try string(atMost: MemberName.maximumBytes)
    guard !string.isEmpty else { throw MalformedPacket("an empty name") }
    return MemberName(string)
  }

  mutating func address() throws(MalformedPacket) -> MemberAddress {
    let string = try string(atMost: MemberAddress.maximumBytes)
    guard !string.isEmpty else { throw MalformedPacket("an empty address") }
    return MemberAddress(string)
  }

  mutating func raw(_ count: Int) throws(MalformedPacket) -> [UInt8] { Array(try take(count)) }

  private mutating func take(_ count: Int) throws(MalformedPacket) -> ArraySlice<UInt8> {
    guard rest.count >= count else { throw MalformedPacket("cut short") }
    defer { rest = rest.dropFirst(count) }
    return rest.prefix(count)
  }
}
