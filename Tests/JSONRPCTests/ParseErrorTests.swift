// Texts that are not JSON, or are meant to hurt: always an answer of -32700 with the place, never more.

import JSONRPC
import Testing

@Suite("Dispatcher: hostile texts", .timeLimit(.minutes(5)))
struct ParseErrorTests {
  private let dispatcher = Dispatcher<Void>.calculator

  /// Wraps a text as the value of a parameter on the second line of a good request.
  private func request(_ value: String) -> String {
    "{\"jsonrpc\":\"2.0\",\"method\":\"get_data\",\"id\":1,\n \"params\":[\(value)]}"
  }

  private func expectParseError(_ bytes: [UInt8], line: Int64) async throws {
    let answer = try #require(await dispatcher.dispatch(bytes, context: ()))
    // Nobody can know which id it had.
    let error = try errorParts(try JSON.parse(answer.bytes), id: .null)
    #expect(error.code == -32700)
    #expect(error.message.hasPrefix("Parse error: "))
    #expect(error.data["reason"]?.stringValue?.isEmpty == false)
    #expect(error.data["line"] == .int(line), "\(error.data)")
    #expect(try #require(error.data["column"]?.intValue) >= 1)
  }

  @Test(
    "what is not JSON is a parse error that says where",
    arguments: [
      #"{"a":1,"a":2}"#, #"{"a":1,"\u0061":2}"#, #""\ud800""#, #""\udc00""#, #""\ud800x""#, #""\ud800\ud800""#,
      "9223372036854775808", "-9223372036854775809", "1e400", "-1e400", "01", "1.", "+1", "NaN", "Infinity",
      "'a'", "tru", "\"\t\"", "\"\u{1}\"", "\"\\x\"", "[1,]", "{\"a\"}", "/* comment */ 1", "1 2", "\"",
    ])
  func malformed(value: String) async throws {
    try await expectParseError(Array(request(value).utf8), line: 2)
  }

  @Test("the place is that of the error, in lines and columns from 1")
  func place() async throws {
    let error = try await dispatcher.error("{\n  \"jsonrpc\": \"2.0\",\n  \"id\": \u{e9}\n}")
    #expect(error.data["line"] == 3)
    let column = try #require(error.data["column"]?.intValue)
    #expect((8...10).contains(column))
  }

  @Test(
    "invalid UTF-8 is a parse error",
    arguments: [[0xFF], [0xC3, 0x28], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0x80]] as [[UInt8]])
  func invalidUTF8(bytes: [UInt8]) async throws {
    let text = Array(request("\"?\"").utf8)
    let mark = try #require(text.firstIndex(of: UInt8(ascii: "?")))
    try await expectParseError(Array(text[..<mark] + bytes + text[(mark + 1)...]), line: 2)
  }

  @Test("an empty text, a zero byte and a byte order mark are parse errors")
  func noText() async throws {
    try await expectParseError([], line: 1)
    try await expectParseError([0], line: 1)
    try await expectParseError(Array(request("1").utf8) + [0], line: 2)
    try await expectParseError([0xEF, 0xBB, 0xBF] + Array(request("1").utf8), line: 1)
  }

  @Test(
    "a text nested too deep is a parse error, and takes no stack",
    arguments: ["[", "{\"a\":", "[{\"a\":[", " [ "])
  func depthBombs(opening: String) async throws {
    let bomb = Array(String(repeating: opening, count: 1_000_000).utf8)
    try await expectParseError(bomb, line: 1)
    let closed = bomb + Array(String(repeating: "]", count: 1_000_000).utf8)
    try await expectParseError(closed, line: 1)
  }

  @Test("a string of 10 MiB is a value like others")
  func longString() async throws {
    let echoing = Dispatcher<Void>(
      methods: [
        "length": Method(parameters: ["text"]) { (params, _) throws(JSONRPCError) in
          .int(Int64(try params.string("text").utf8.count))
        }
      ])
    let text = String(repeating: "0123456789abcdef", count: (10 << 20) / 16)
    let answer = try await echoing.answer(#"{"jsonrpc":"2.0","method":"length","params":["\#(text)"],"id":1}"#)
    #expect(answer == ["jsonrpc": "2.0", "id": 1, "result": .int(10 << 20)])
  }

  @Test("every byte of a request may be wrong without harm")
  func everyByte() async throws {
    let text = Array(#"{"jsonrpc":"2.0","method":"subtract","params":{"minuend":45},"id":"é\u00e9"}"#.utf8)
    for position in text.indices {
      for byte: UInt8 in [0, 0x22, 0x2C, 0x5C, 0x7B, 0x7D, 0xFF] {
        var damaged = text
        damaged[position] = byte
        // Without its id the request is a notification.
        guard let answer = await dispatcher.dispatch(damaged, context: ()) else { continue }
        let json = try JSON.parse(answer.bytes)
        let codes: [JSON] = [-32700, -32600, -32601, -32602]
        #expect(
          json["result"] == 45 || json["result"] == 0 || codes.contains(json["error"]?["code"] ?? nil), "\(json.text)")
      }
      if let answer = await dispatcher.dispatch(Array(text[..<position]), context: ()) {
        #expect(try errorParts(try JSON.parse(answer.bytes)).code == -32700)
      }
    }
  }
}
