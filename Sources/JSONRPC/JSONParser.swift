// The entrance of the parser: from bytes to a value, or to an error that says what is wrong and where.

/// Why a text is not JSON, and where.
public struct JSONParseError: Error, Hashable, Sendable, CustomStringConvertible {
  /// In words: `duplicate key "a"`.
  public let reason: String
  /// Counted from 1.
  public let line: Int
  /// Counted from 1, in characters (Unicode scalars).
  public let column: Int
  /// Bytes from the start.
  public let position: Int

  public var description: String { "\(reason) (line \(line), column \(column))" }

  init(_ reason: String, at position: Int, of text: UnsafeRawBufferPointer) {
    self.reason = reason
    self.position = position
    var line = 1
    var column = 1
    for byte in text.prefix(position) {
      if byte == UInt8(ascii: "\n") {
        line += 1
        column = 1
      } else if byte & 0xC0 != 0x80 {
        column += 1
      }
    }
    self.line = line
    self.column = column
  }
}

extension JSON {
  /// Arrays and objects may be nested this deep.
  public static let maximumDepth = 128

  /// Parses one JSON value, strictly (RFC 8259): no duplicate keys, no lone surrogates, no invalid UTF-8, no byte
  /// order mark, no integer beyond 64 bits and no number beyond a double, no more than `maximumDepth` levels, and
  /// nothing but whitespace around the value. `\u0000` is allowed.
  public static func parse(_ bytes: [UInt8]) throws(JSONParseError) -> JSON {
    // `withUnsafeBytes` passes on an error without its type.
    let result: Result<JSON, JSONParseError> = bytes.withUnsafeBytes { text in
      do throws(JSONParseError) { return .success(try parse(text)) } catch { return .failure(error) }
    }
    return try result.get()
  }

  public static func parse(_ text: String) throws(JSONParseError) -> JSON { try parse(Array(text.utf8)) }

  public static func parse(_ text: UnsafeRawBufferPointer) throws(JSONParseError) -> JSON {
    guard let start = text.baseAddress, !text.isEmpty else {
      throw JSONParseError("the text is empty", at: 0, of: text)
    }
    var scanner = JSONScanner(start: start, count: text.count)
    return try scanner.scan()
  }
}
