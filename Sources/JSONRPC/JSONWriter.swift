// From values to bytes: appended straight to the answer that goes out.

extension JSON {
  /// Appends the compact form, in UTF-8.
  public func write(into bytes: inout [UInt8]) {
    switch self {
    case .null: bytes.append("null")
    case .bool(let value): bytes.append(value ? "true" : "false")
    case .int(let value): Self.write(value, into: &bytes)
    case .double(let value):
      // JSON has no word for what is not finite; nothing here computes such a value.
      assert(value.isFinite, "\(value) has no form in JSON")
      // The shortest digits that read back as the same double; an integral one ends in `.0`.
      bytes.append(contentsOf: (value.isFinite ? value.description : "null").utf8)
    case .string(let value): Self.write(value, into: &bytes)
    case .array(let elements):
      bytes.append(UInt8(ascii: "["))
      var isFirst = true
      for element in elements {
        if !isFirst { bytes.append(UInt8(ascii: ",")) }
        isFirst = false
        element.write(into: &bytes)
      }
      bytes.append(UInt8(ascii: "]"))
    case .object(let object):
      bytes.append(UInt8(ascii: "{"))
      var isFirst = true
      for member in object.members {
        if !isFirst { bytes.append(UInt8(ascii: ",")) }
        isFirst = false
        Self.write(member.key, into: &bytes)
        bytes.append(UInt8(ascii: ":"))
        member.value.write(into: &bytes)
      }
      bytes.append(UInt8(ascii: "}"))
    }
  }

  /// The compact form, in UTF-8.
  public func serialized() -> [UInt8] {
    var bytes: [UInt8] = []
    write(into: &bytes)
    return bytes
  }

  /// The compact form as text.
  public var text: String { String(decoding: serialized(), as: UTF8.self) }

  // MARK: Strings

  /// Appends a string with its quotes; what JSON does not allow in a string is escaped.
  public static func write(_ string: String, into bytes: inout [UInt8]) {
    var string = string
    string.withUTF8 { utf8 in
      bytes.reserveRoom(for: utf8.count + 2)
      bytes.append(UInt8(ascii: "\""))
      var rest = UnsafeRawBufferPointer(utf8)
      while true {
        let plain = plainBytes(of: rest)
        bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: rest[..<plain]))
        if plain == rest.count { break }
        escape(rest[plain], into: &bytes)
        rest = UnsafeRawBufferPointer(rebasing: rest[(plain + 1)...])
      }
      bytes.append(UInt8(ascii: "\""))
    }
  }

  /// How many bytes at the start need no escape.
  @inline(__always)
  private static func plainBytes(of bytes: UnsafeRawBufferPointer) -> Int {
    var index = 0
    while bytes.count - index >= 8 {
      let marks = escapedBytes(of: UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self)))
      if marks != 0 { return index + marks.trailingZeroBitCount >> 3 }
      index += 8
    }
    while index < bytes.count {
      let byte = bytes[index]
      if byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { break }
      index += 1
    }
    return index
  }

  /// Marks those of eight bytes that JSON does not allow in a string as they are: quote, backslash and what is below
  /// a space. The lowest mark is exact, and a mark is the byte's highest bit.
  @inline(__always)
  static func escapedBytes(of word: UInt64) -> UInt64 {
    let quote = word ^ 0x2222_2222_2222_2222
    let backslash = word ^ 0x5C5C_5C5C_5C5C_5C5C
    let ones: UInt64 = 0x0101_0101_0101_0101
    let marks = (quote &- ones) & ~quote | (backslash &- ones) & ~backslash | (word &- (ones << 5)) & ~word
    return marks & 0x8080_8080_8080_8080
  }

  private static func escape(_ byte: UInt8, into bytes: inout [UInt8]) {
    switch byte {
    case UInt8(ascii: "\""): bytes.append(#"\""#)
    case UInt8(ascii: "\\"): bytes.append(#"\\"#)
    case 0x0A: bytes.append(#"\n"#)
    case 0x0D: bytes.append(#"\r"#)
    case 0x09: bytes.append(#"\t"#)
    default:
      let digits: StaticString = "0123456789abcdef"
      bytes.append(#"\u00"#)
      bytes.append(digits.utf8Start[Int(byte >> 4)])
      bytes.append(digits.utf8Start[Int(byte & 15)])
    }
  }

  // MARK: Integers

  private static func write(_ value: Int64, into bytes: inout [UInt8]) {
    if value >= 0 && value < 10 {
      bytes.append(UInt8(ascii: "0") + UInt8(value))
      return
    }
    withUnsafeTemporaryAllocation(byteCount: 20, alignment: 1) { digits in
      var first = 20
      var rest = value.magnitude
      repeat {
        first -= 1
        digits[first] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
        rest /= 10
      } while rest > 0
      if value < 0 {
        first -= 1
        digits[first] = UInt8(ascii: "-")
      }
      bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: digits[first...]))
    }
  }
}

extension [UInt8] {
  @inline(__always)
  mutating func append(_ text: StaticString) {
    append(contentsOf: UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  /// Makes room in steps that grow, unlike `reserveCapacity` alone.
  @inline(__always)
  mutating func reserveRoom(for more: Int) {
    if capacity - count < more { reserveCapacity(Swift.max(count + more, 2 * capacity)) }
  }
}
