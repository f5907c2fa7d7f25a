// What the parser accepts, and what it refuses with which words and where.

import JSONRPC
import Testing

@Suite("JSON parser")
struct JSONParserTests {
  @Test(
    "a text becomes the value that it says",
    arguments: [
      ("null", .null), ("true", .bool(true)), (" \t\r\n false \n", .bool(false)), ("0", .int(0)), ("-0", .int(0)),
      ("-17", .int(-17)), ("9223372036854775807", .int(.max)), ("-9223372036854775808", .int(.min)),
      ("1.0", .double(1)), ("1e2", .double(100)), ("1E+2", .double(100)), ("12.5e-1", .double(1.25)),
      ("0.1", .double(0.1)), ("-0.0", .double(-0.0)), ("1e23", .double(1e23)),
      ("5e-324", .double(.leastNonzeroMagnitude)),
      ("1.7976931348623157e308", .double(.greatestFiniteMagnitude)), ("1e-400", .double(0)),
      ("123456789012345678901234567890.5", .double(123456789012345678901234567890.5)),
      ("9007199254740993.0", .double(9_007_199_254_740_992)), ("\"\"", ""), ("\"a\"", "a"),
      ("\"12345678\"", "12345678"),
      ("\"1234567\\n\"", "1234567\n"), (#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
      (#""\u0041\u00e9\u20AC""#, "Aé€"),
      (#""\ud83d\ude00""#, "😀"), ("\"😀 é\"", "😀 é"), (#""a\u0000b""#, "a\0b"), ("[]", []), ("[ ]", []),
      ("[1,[2 , 3],{}]", [1, [2, 3], [:]]), ("{}", [:]), (#"{"a":1,"b":{"c":[null]}}"#, ["a": 1, "b": ["c": [nil]]]),
      (#"{"":0}"#, ["": 0]), (#"{"\u0061":1}"#, ["a": 1]),
    ] as [(String, JSON)])
  func accepts(text: String, value: JSON) throws {
    #expect(try JSON.parse(text) == value)
  }

  @Test(
    "a text that is not JSON is refused, with the reason and the place",
    arguments: [
      ("", "the text is empty", 1, 1), ("  ", "unexpected end", 1, 3), ("[1,", "unexpected end", 1, 4),
      ("{\"a\"", "unexpected end", 1, 5), ("\"abc", "no closing quote", 1, 5), ("\"abc\\", "no closing quote", 1, 6),
      ("tru", "unexpected end", 1, 4), ("trux", "expected a value", 1, 1), ("nul]", "expected a value", 1, 1),
      ("[1,]", "found \"]\"", 1, 4), ("[1 2]", "expected \",\" or \"]\", found \"2\"", 1, 4),
      ("{\"a\":1,}", "expected a key in quotes, found \"}\"", 1, 8), ("{a:1}", "expected a key in quotes", 1, 2),
      ("{\"a\" 1}", "expected \":\"", 1, 6), ("{\"a\":1 \"b\":2}", "expected \",\" or \"}\", found a quote", 1, 8),
      ("{\n  \"a\": 1,\n  \"a\": 2\n}", "duplicate key \"a\"", 3, 3),
      ("{\"é\":1,\"é\":2}", "duplicate key \"é\"", 1, 8),
      (#"{"a":1,"\u0061":2}"#, "duplicate key \"a\"", 1, 8), ("1 2", "\"2\" after the value", 1, 3),
      ("{}}", "\"}\" after the value", 1, 3), ("null\0", "byte 0x00 after the value", 1, 5), ("\0", "byte 0x00", 1, 1),
      ("\u{FEFF}{}", "byte order mark", 1, 1), ("01", "must not start with 0", 1, 1), ("-", "unexpected end", 1, 2),
      ("-a", "expected a digit", 1, 2), ("+1", "expected a value", 1, 1), ("1.", "expected a digit", 1, 3),
      (".5", "expected a value", 1, 1), ("1e", "expected a digit", 1, 3), ("NaN", "expected a value", 1, 1),
      ("9223372036854775808", "number out of range", 1, 1), ("[-9223372036854775809]", "number out of range", 1, 2),
      ("100000000000000000000", "number out of range", 1, 1), ("1e400", "number out of range", 1, 1),
      ("-1e99999999999999999999", "number out of range", 1, 1), (#""\ud800""#, "lone surrogate \\uD800", 1, 2),
      (#""é\udc00""#, "lone surrogate \\uDC00", 1, 3), (#""\ud800\u0041""#, "lone surrogate \\uD800", 1, 2),
      (#""\ud800\ud800""#, "lone surrogate \\uD800", 1, 2), (#""\ud83d\n""#, "lone surrogate", 1, 2),
      (#""\u12x4""#, "four hexadecimal digits", 1, 2), (#""\x""#, "unknown escape", 1, 2),
      ("\"a\nb\"", "byte 0x0A in a string", 1, 3), ("\"1234567890\0\"", "byte 0x00 in a string", 1, 12),
      ("'a'", "expected a value, found \"'\"", 1, 1), ("// x\n1", "expected a value", 1, 1),
    ] as [(String, String, Int, Int)])
  func refuses(text: String, reason: String, line: Int, column: Int) throws {
    let error = try #require(throws: JSONParseError.self) { try JSON.parse(text) }
    #expect(error.reason.contains(reason), "\(error)")
    #expect((error.line, error.column) == (line, column), "\(error)")
  }

  @Test(
    "invalid UTF-8 is refused where it stands",
    arguments: [
      ([0xFF], 3), ([0xC3, 0x28], 3), ([0xC0, 0x80], 3), ([0xED, 0xA0, 0x80], 3), ([0xF4, 0x90, 0x80, 0x80], 3),
      ([0x61, 0xE2, 0x82], 4), ([0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x80], 11), ([0x5C, 0x6E, 0x80], 5),
    ] as [([UInt8], Int)])
  func invalidUTF8(bytes: [UInt8], position: Int) throws {
    let text = Array("[\"".utf8) + bytes + Array("\"]".utf8)
    let error = try #require(throws: JSONParseError.self) { try JSON.parse(text) }
    #expect(error.reason.contains("invalid UTF-8"), "\(error)")
    #expect(error.position == position - 1, "\(error)")
  }

  @Test("brackets may be nested 128 deep, and not deeper")
  func depth() throws {
    let deepest = String(repeating: "[", count: 128) + String(repeating: "]", count: 128)
    var value = try JSON.parse(deepest)
    for _ in 1..<128 { value = try #require(value[0]) }
    #expect(value == [])
    for bomb in [
      "[" + deepest + "]", String(repeating: "[", count: 100_000), String(repeating: "{\"a\":", count: 100_000),
      String(repeating: "[", count: 100_000) + String(repeating: "]", count: 100_000),
    ] {
      let error = try #require(throws: JSONParseError.self) { try JSON.parse(bomb) }
      #expect(error.reason == "nested deeper than 128 levels")
    }
    // Siblings are not deep.
    #expect(try JSON.parse("[" + String(repeating: "[],", count: 1000) + "[]]").arrayValue?.count == 1001)
  }

  @Test("a string of 10 MiB is a string like others, with escapes or without")
  func longStrings() throws {
    let plain = String(repeating: "0123456789abcde\u{e9}", count: 10 << 16)
    #expect(try JSON.parse("\"\(plain)\"") == .string(plain))
    let escaped = String(repeating: #"\n"#, count: 5 << 20)
    #expect(try JSON.parse("\"\(escaped)\"") == .string(String(repeating: "\n", count: 5 << 20)))
    #expect(throws: JSONParseError.self) { try JSON.parse("\"\(plain)") }
  }

  @Test("an object of many members keeps their order and still refuses a second key")
  func manyMembers() throws {
    for count in [1, 15, 16, 17, 18, 1000] {
      let members = (0..<count).map { "\"key\($0)\":\($0)" }
      let value = try JSON.parse("{\(members.joined(separator: ","))}")
      #expect(value.objectValue?.keys == (0..<count).map { "key\($0)" })
      #expect(value["key\(count - 1)"] == .int(Int64(count - 1)))
      for again in [0, count - 1] {
        #expect(throws: JSONParseError.self) {
          try JSON.parse("{\(members.joined(separator: ",")),\"key\(again)\":0}")
        }
      }
    }
  }

  @Test("keys that look alike are one, whichever comes first")
  func canonicallyEquivalentKeys() {
    for text in ["{\"K\":1,\"\u{212A}\":2}", "{\"\u{212A}\":1,\"K\":2}", "{\"\u{e9}\":1,\"e\u{301}\":2}"] {
      #expect(throws: JSONParseError.self) { try JSON.parse(text) }
    }
  }

  @Test("every text cut short is refused, and never read beyond its end")
  func truncated() throws {
    let text = Array(#"{"a":[1,-2.5e3,"x\u00e9\ud83d\ude00é",true,false,null],"b":{"c":{}}}"#.utf8)
    #expect(throws: Never.self) { try JSON.parse(text) }
    for count in text.indices {
      // In a block of its own size, so that a sanitizer sees a byte too far.
      let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 1)
      defer { copy.deallocate() }
      copy.copyBytes(from: text[..<count])
      #expect(throws: JSONParseError.self) { try JSON.parse(UnsafeRawBufferPointer(copy)) }
    }
  }
}
