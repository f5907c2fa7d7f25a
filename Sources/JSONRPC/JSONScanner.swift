// The parser itself: recursive descent over the bytes, straight into values. It is written by hand because the request
// path counts single microseconds: reading a `job.run` takes 1.4 µs here and 5.7 µs in libjansson, before its tree is
// turned into values; a request without parameters 0.3 and 0.9 µs. JSONRPCTests compare the two on random texts.

/// Reads one JSON text. The bytes must outlive it.
struct JSONScanner {
  let start: UnsafeRawPointer
  let end: UnsafeRawPointer
  /// The next byte to read.
  var at: UnsafeRawPointer
  private var depth = 0
  /// Where strings with escapes are put together.
  var unescaped: [UInt8] = []

  init(start: UnsafeRawPointer, count: Int) {
    self.start = start
    self.at = start
    end = start + count
  }

  /// The whole text: one value, and whitespace around it.
  mutating func scan() throws(JSONParseError) -> JSON {
    if peek == 0xEF { throw failure("the text starts with a byte order mark or another non-JSON byte") }
    skipWhitespace()
    let value = try value()
    skipWhitespace()
    guard at == end else { throw failure("\(found) after the value") }
    return value
  }

  // MARK: Values

  private mutating func value() throws(JSONParseError) -> JSON {
    switch peek {
    case UInt8(ascii: "\""):
      at += 1
      return .string(try string().text)
    case UInt8(ascii: "{"): return .object(try object())
    case UInt8(ascii: "["): return .array(try array())
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
    case UInt8(ascii: "t"):
      try word("true")
      return .bool(true)
    case UInt8(ascii: "f"):
      try word("false")
      return .bool(false)
    case UInt8(ascii: "n"):
      try word("null")
      return .null
    default: throw failure("expected a value, found \(found)")
    }
  }

  private mutating func array() throws(JSONParseError) -> [JSON] {
    try enter()
    defer { depth -= 1 }
    skipWhitespace()
    var elements: [JSON] = []
    if skip(UInt8(ascii: "]")) { return elements }
    while true {
      elements.append(try value())
      skipWhitespace()
      if skip(UInt8(ascii: ",")) {
        skipWhitespace()
      } else if skip(UInt8(ascii: "]")) {
        return elements
      } else {
        throw failure("expected \",\" or \"]\", found \(found)")
      }
    }
  }

  private mutating func object() throws(JSONParseError) -> JSONObject {
    try enter()
    defer { depth -= 1 }
    skipWhitespace()
    if skip(UInt8(ascii: "}")) { return JSONObject() }
    var members: [(key: String, value: JSON)] = []
    members.reserveCapacity(4)
    var keys = KeysSeen()
    while true {
      let position = at
      guard skip(UInt8(ascii: "\"")) else { throw failure("expected a key in quotes, found \(found)") }
      let key = try string()
      if keys.contains(key.text, isASCII: key.isASCII, among: members) {
        throw failure("duplicate key \(JSON.string(key.text).text)", at: position)
      }
      skipWhitespace()
      guard skip(UInt8(ascii: ":")) else { throw failure("expected \":\" after the key, found \(found)") }
      skipWhitespace()
      members.append((key.text, try value()))
      skipWhitespace()
      if skip(UInt8(ascii: ",")) {
        skipWhitespace()
      } else if skip(UInt8(ascii: "}")) {
        return JSONObject(distinct: members)
      } else {
        throw failure("expected \",\" or \"}\", found \(found)")
      }
    }
  }

  /// Steps over an opening bracket. What recurses needs a bound.
  private mutating func enter() throws(JSONParseError) {
    depth += 1
    if depth > JSON.maximumDepth { throw failure("nested deeper than \(JSON.maximumDepth) levels") }
    at += 1
  }

  private mutating func word(_ word: StaticString) throws(JSONParseError) {
    let position = at
    for index in 0..<word.utf8CodeUnitCount {
      guard peek == word.utf8Start[index] else {
        throw at == end ? failure("unexpected end of the text") : failure("expected a value", at: position)
      }
      at += 1
    }
  }

  // MARK: Bytes

  /// The next byte; 0, which has no place outside of strings, at the end.
  @inline(__always) var peek: UInt8 { at < end ? at.load(as: UInt8.self) : 0 }

  @inline(__always) mutating func skip(_ byte: UInt8) -> Bool {
    guard peek == byte else { return false }
    at += 1
    return true
  }

  @inline(__always) private mutating func skipWhitespace() {
    while at < end {
      switch at.load(as: UInt8.self) {
      case 0x20, 0x0A, 0x0D, 0x09: at += 1
      default: return
      }
    }
  }

  // MARK: Errors

  /// The next byte in words.
  var found: String {
    guard at < end else { return "the end of the text" }
    let byte = at.load(as: UInt8.self)
    if byte > 0x20 && byte < 0x7F && byte != UInt8(ascii: "\"") { return "\"\(Character(Unicode.Scalar(byte)))\"" }
    let digits = String(byte, radix: 16, uppercase: true)
    return byte == UInt8(ascii: "\"") ? "a quote" : "byte 0x\(digits.count < 2 ? "0" : "")\(digits)"
  }

  /// An error at the next byte, or at `position`.
  @inline(never)
  func failure(_ reason: String, at position: UnsafeRawPointer? = nil) -> JSONParseError {
    JSONParseError(
      at == end && position == nil ? "unexpected end of the text: \(reason)" : reason,
      at: (position ?? at) - start, of: UnsafeRawBufferPointer(start: start, count: end - start))
  }
}

/// Tells whether a key occurs twice in an object, without comparing each with each.
private struct KeysSeen {
  /// One bit for each kind of key seen (by length and first and last byte); true of ASCII keys only.
  private var kinds: UInt64 = 0
  private var allASCII = true
  /// All keys, once there are many.
  private var set: Set<String>?

  mutating func contains(_ key: String, isASCII: Bool, among members: [(key: String, value: JSON)]) -> Bool {
    if members.count > JSONObject.largestWithoutIndex {
      if set == nil { set = Set(members.lazy.map(\.key)) }
      return !set!.insert(key).inserted
    }
    allASCII = allASCII && isASCII
    if allASCII {
      let utf8 = key.utf8
      let kind = utf8.count &* 7 &+ Int(utf8.first ?? 0) &* 3 &+ Int(utf8.last ?? 0)
      let bit = UInt64(1) << UInt64(truncatingIfNeeded: kind & 63)
      let isNew = kinds & bit == 0
      kinds |= bit
      if isNew { return false }
    }
    return members.contains { $0.key == key }
  }
}
