import CJansson

/// Why a text is not JSON, and where.
public struct JSONParseError: Error, Hashable, Sendable, CustomStringConvertible {
  /// In words: `duplicate object key near '"a"'`.
  public let reason: String
  /// Counted from 1.
  public let line: Int
  /// Counted from 1, in characters.
  public let column: Int
  /// Bytes from the start.
  public let position: Int

  public var description: String { "\(reason) (line \(line), column \(column))" }
}

extension JSON {
  /// Arrays and objects may be nested this deep.
  public static let maximumDepth = 128

  /// Parses one JSON value, strictly: no duplicate keys, no lone surrogates, no invalid UTF-8, no number beyond the
  /// range of a 64-bit integer or double, nothing after the value.
  public static func parse(_ bytes: [UInt8]) throws(JSONParseError) -> JSON {
    let result: Result<JSON, JSONParseError> = bytes.withUnsafeBytes { raw in
      do throws(JSONParseError) { return .success(try parse(raw)) } catch { return .failure(error) }
    }
    return try result.get()
  }

  public static func parse(_ text: String) throws(JSONParseError) -> JSON { try parse(Array(text.utf8)) }

  public static func parse(_ raw: UnsafeRawBufferPointer) throws(JSONParseError) -> JSON {
    guard let base = raw.baseAddress, raw.count > 0 else {
      throw JSONParseError(reason: "the text is empty", line: 1, column: 1, position: 0)
    }
    try checkDepth(raw)
    var error = json_error_t()
    let flags = Int(JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL)
    guard let root = json_loadb(base.assumingMemoryBound(to: CChar.self), raw.count, flags, &error) else {
      let reason = withUnsafeBytes(of: error.text) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      throw JSONParseError(
        reason: reason, line: max(1, Int(error.line)), column: max(1, Int(error.column)), position: Int(error.position))
    }
    defer { json_decref(root) }
    return JSON(root)
  }

  /// Before the parser sees it: what recurses needs a bound. Brackets within strings do not count.
  private static func checkDepth(_ raw: UnsafeRawBufferPointer) throws(JSONParseError) {
    guard raw.count > maximumDepth else { return }
    var depth = 0
    var inString = false
    var index = 0
    while index < raw.count {
      switch raw[index] {
      case UInt8(ascii: "\""): inString.toggle()
      case UInt8(ascii: "\\") where inString: index += 1
      case UInt8(ascii: "["), UInt8(ascii: "{"):
        if inString { break }
        depth += 1
        if depth > maximumDepth {
          throw JSONParseError(
            reason: "nested deeper than \(maximumDepth) levels", line: 1, column: index + 1, position: index)
        }
      case UInt8(ascii: "]"), UInt8(ascii: "}"): if !inString { depth -= 1 }
      default: break
      }
      index += 1
    }
  }

  /// Copies a value of jansson, which stays the caller's.
  private init(_ value: UnsafeMutablePointer<json_t>) {
    switch value.pointee.type {
    case JSON_OBJECT:
      var members: [(key: String, value: JSON)] = []
      members.reserveCapacity(json_object_size(value))
      var iterator = json_object_iter(value)
      while let member = iterator {
        members.append((String(cString: json_object_iter_key(member)), JSON(json_object_iter_value(member))))
        iterator = json_object_iter_next(value, member)
      }
      self = .object(JSONObject(members: members))
    case JSON_ARRAY: self = .array((0..<json_array_size(value)).map { JSON(json_array_get(value, $0)) })
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
}
