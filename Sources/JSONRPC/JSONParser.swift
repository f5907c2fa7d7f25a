import CJansson
import ExactText

// JSON text to values, by libjansson: its tree is copied out once, and is gone when `parse` returns.

/// Why a text is not JSON, and where.
public struct JSONParseError: Error, Hashable, Sendable, CustomStringConvertible {
  /// In words, mostly libjansson's: `duplicate object key near '"a"'`.
  public let reason: String
  /// Counted from 1.
  public let line: Int
  /// Counted from 1, in characters; where the parser stopped, which is the end of what it refused.
  public let column: Int

  public var description: String { "\(reason) (line \(line), column \(column))" }
}

extension JSON {
  /// Arrays and objects may be nested this deep.
  public static let maximumDepth = 128

  /// Parses one JSON value, strictly (RFC 8259): no duplicate keys, no lone surrogates, no invalid UTF-8, no integer
  /// beyond 64 bits and no number beyond a double, no more than `maximumDepth` levels, and nothing but whitespace
  /// around the value. Strings may hold `\u0000`, keys may not.
  ///
  /// - Parameter maximumValues: how many values there may be, members of objects and elements of arrays included. A value
  ///   of two bytes costs fifty times as many, so whoever reads a stranger's text has a bound.
  public static func parse(_ bytes: [UInt8], maximumValues: Int = .max) throws(JSONParseError) -> JSON {
    // `withUnsafeBytes` passes on an error without its type.
    let result: Result<JSON, JSONParseError> = bytes.withUnsafeBytes { text in
      do throws(JSONParseError) { return .success(try parse(text, maximumValues: maximumValues)) } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }

  public static func parse(_ text: String) throws(JSONParseError) -> JSON { try parse(Array(text.utf8)) }

  public static func parse(
    _ text: UnsafeRawBufferPointer, maximumValues: Int = .max
  ) throws(JSONParseError) -> JSON {
    guard let start = text.baseAddress, !text.isEmpty else {
      throw JSONParseError(reason: "the text is empty", line: 1, column: 1)
    }
    guard !text.beginsWithByteOrderMark else {
      throw JSONParseError(
        reason: "the text begins with a byte order mark, which JSON has none of; write it as UTF-8 without one",
        line: 1,
        column: 1)
    }
    try checkBytes(text, maximumValues)
    var error = json_error_t()
    let flags = Int(JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL)
    guard let root = json_loadb(start.assumingMemoryBound(to: CChar.self), text.count, flags, &error) else {
      throw JSONParseError(error)
    }
    defer { json_decref(root) }
    return try JSON(root)
  }

  /// What libjansson leaves to its caller: it would recurse to 2,048 levels, reads over a zero byte that follows a
  /// number, and counts nothing. Each value but the first follows a comma, or the bracket that opens what it is in.
  private static func checkBytes(_ text: UnsafeRawBufferPointer, _ maximumValues: Int) throws(JSONParseError) {
    var depth = 0
    var values = 1
    var inString = false
    var isEscaped = false
    for (position, byte) in text.enumerated() {
      if byte == 0 { throw JSONParseError("byte 0x00", at: position, of: text) }
      if inString {
        if isEscaped {
          isEscaped = false
        } else if byte == UInt8(ascii: "\\") {
          isEscaped = true
        } else if byte == UInt8(ascii: "\"") {
          inString = false
        }
        continue
      }
      switch byte {
      case UInt8(ascii: "\""): inString = true
      case UInt8(ascii: "["), UInt8(ascii: "{"):
        depth += 1
        values += 1
        if depth > maximumDepth {
          throw JSONParseError("nested deeper than \(maximumDepth) levels", at: position, of: text)
        }
      case UInt8(ascii: "]"), UInt8(ascii: "}"): depth -= 1
      case UInt8(ascii: ","): values += 1
      default: continue
      }
      if values > maximumValues {
        throw JSONParseError("more than \(maximumValues) values", at: position, of: text)
      }
    }
  }

  /// Copies a value of libjansson's, which stays the caller's.
  private init(_ value: UnsafeMutablePointer<json_t>) throws(JSONParseError) {
    switch value.pointee.type {
    case JSON_OBJECT: self = .object(try Self.members(of: value))
    case JSON_ARRAY:
      var elements: [JSON] = []
      elements.reserveCapacity(json_array_size(value))
      for index in 0..<json_array_size(value) { elements.append(try JSON(json_array_get(value, index))) }
      self = .array(elements)
    case JSON_STRING:
      let bytes = UnsafeRawBufferPointer(start: json_string_value(value), count: json_string_length(value))
      self = .string(String(decoding: bytes, as: UTF8.self))
    case JSON_INTEGER: self = .int(Int64(json_integer_value(value)))
    case JSON_REAL: self = .double(json_real_value(value))
    case JSON_TRUE: self = .bool(true)
    case JSON_FALSE: self = .bool(false)
    default: self = .null
    }
  }

  private static func members(of object: UnsafeMutablePointer<json_t>) throws(JSONParseError) -> JSONObject {
    var members: [(key: String, value: JSON)] = []
    members.reserveCapacity(json_object_size(object))
    var iterator = json_object_iter(object)
    while let member = iterator {
      members.append((String(cString: json_object_iter_key(member)), try JSON(json_object_iter_value(member))))
      iterator = json_object_iter_next(object, member)
    }
    // libjansson has refused keys of the same bytes.
    return JSONObject(distinct: members)
  }
}

extension JSONParseError {
  fileprivate init(_ error: json_error_t) {
    var reason = withUnsafeBytes(of: error.text) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    // What stands in quotes may be a secret; only a key that occurs twice is worth repeating.
    if !reason.hasPrefix("duplicate"), let token = reason.firstRange(of: " near '\"") {
      reason.removeSubrange(token.lowerBound...)
    }
    self.init(reason: reason, line: max(1, Int(error.line)), column: max(1, Int(error.column)))
  }

  init(_ reason: String, at position: Int, of text: UnsafeRawBufferPointer) {
    self.reason = reason
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
