// What the parser accepts, and what it refuses with which words and where.

import JSONRPC
import Testing

@Suite("JSON parser", .timeLimit(.minutes(5)))
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
      ("", "the text is empty", 1, 1), ("  ", "unexpected token near end of file", 1, 2),
      ("[1,", "']' expected near end of file", 1, 3), ("{\"a\"", "':' expected near end of file", 1, 4),
      ("\"abc", "premature end of input", 1, 4), ("\"abc\\", "invalid escape", 1, 5),
      ("tru", "invalid token near 'tru'", 1, 3), ("nul]", "invalid token near 'nul'", 1, 3),
      ("[1,]", "unexpected token near ']'", 1, 4), ("[1 2]", "']' expected near '2'", 1, 4),
      ("{\"a\":1,}", "string or '}' expected near '}'", 1, 8), ("{a:1}", "string or '}' expected near 'a'", 1, 2),
      ("{\"a\" 1}", "':' expected near '1'", 1, 6), ("{\"a\":1 \"b\":2}", "'}' expected", 1, 10),
      ("{\n  \"a\": 1,\n  \"a\": 2\n}", "duplicate object key near '\"a\"'", 3, 5),
      ("{\"é\":1,\"é\":2}", "duplicate object key near '\"é\"'", 1, 10),
      (#"{"a":1,"\u0061":2}"#, "duplicate object key", 1, 15), ("1 2", "end of file expected near '2'", 1, 3),
      ("{}}", "end of file expected near '}'", 1, 3), ("1\0", "byte 0x00", 1, 2), ("\0", "byte 0x00", 1, 1),
      ("\"1234567890\0\"", "byte 0x00", 1, 12), ("[\n\"é\0\"]", "byte 0x00", 2, 3),
      (
        "\u{FEFF}{}", "the text begins with a byte order mark, which JSON has none of; write it as UTF-8 without one",
        1, 1
      ), ("01", "invalid token near '0'", 1, 1),
      ("-", "invalid token near '-'", 1, 1), ("+1", "invalid token near '+'", 1, 1),
      ("1.", "invalid token near '1.'", 1, 2), (".5", "invalid token", 1, 1),
      ("1e", "invalid token", 1, 2), ("NaN", "invalid token near 'NaN'", 1, 3),
      ("9223372036854775808", "too big integer", 1, 19), ("[-9223372036854775809]", "too big negative integer", 1, 21),
      ("100000000000000000000", "too big integer", 1, 21), ("1e400", "real number overflow", 1, 5),
      (#""\ud800""#, #"invalid Unicode '\uD800'"#, 1, 8), (#""é\udc00""#, #"invalid Unicode '\uDC00'"#, 1, 9),
      (#""\ud800\u0041""#, "invalid Unicode", 1, 14), (#""\ud83d\n""#, "invalid Unicode", 1, 10),
      (#""\u12x4""#, "invalid escape", 1, 6), (#""\x""#, "invalid escape", 1, 3),
      ("\"a\nb\"", "unexpected newline", 1, 2), ("'a'", "invalid token", 1, 1),
      (#"{"a\u0000b":1}"#, "NUL byte in object key not supported", 1, 11),
    ] as [(String, String, Int, Int)])
  func refuses(text: String, reason: String, line: Int, column: Int) throws {
    let error = try #require(throws: JSONParseError.self) { try JSON.parse(text) }
    #expect(error.reason.contains(reason), "\(error)")
    #expect((error.line, error.column) == (line, column), "\(error)")
  }

  @Test("an error does not repeat what stood in quotes, which may be a secret")
  func secretsAreNotRepeated() throws {
    for text in [#"{"secret": "hunter2"#, #"{"secret": "hunter2" "x": 1}"#, "[\"hunter2\n]", #"["a" "hunter2"]"#] {
      let error = try #require(throws: JSONParseError.self) { try JSON.parse(text) }
      #expect(!error.description.contains("hunter2"), "\(error)")
    }
  }

  @Test(
    "invalid UTF-8 is refused, and the byte named",
    arguments: [
      ([0xFF], "0xff"), ([0xC3, 0x28], "0xc3"), ([0xC0, 0x80], "0xc0"), ([0xED, 0xA0, 0x80], "0xed"),
      ([0xF4, 0x90, 0x80, 0x80], "0xf4"), ([0x61, 0xE2, 0x82], "0xe2"), ([0x61, 0x80], "0x80"),
    ] as [([UInt8], String)])
  func invalidUTF8(bytes: [UInt8], name: String) throws {
    let text = Array("[\"".utf8) + bytes + Array("\"]".utf8)
    let error = try #require(throws: JSONParseError.self) { try JSON.parse(text) }
    #expect(error.reason.contains("unable to decode byte \(name)"), "\(error)")
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

  @Test("keys and strings that look alike and are other bytes are others, in small objects and large ones")
  func canonicallyEquivalentKeys() throws {
    for (first, second) in [("K", "\u{212A}"), ("\u{212A}", "K"), ("\u{e9}", "e\u{301}")] {
      for others in [0, 40] {
        let more = (0..<others).map { ",\"key\($0)\":0" }.joined()
        let value = try JSON.parse("{\"\(first)\":1,\"\(second)\":2\(more)}")
        #expect(value[first] == 1)
        #expect(value[second] == 2)
        #expect(throws: JSONParseError.self) { try JSON.parse("{\"\(first)\":1,\"\(first)\":2\(more)}") }
      }
      #expect(JSON.string(first) != .string(second))
      #expect(([.string(first): 1, .string(second): 2] as [JSON: Int]).count == 2)
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
