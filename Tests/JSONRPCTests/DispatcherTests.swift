// Every example of JSON-RPC 2.0, section 7 (https://www.jsonrpc.org/specification#examples), by its title there.

import JSONRPC
import Testing

@Suite("Dispatcher: the examples of the specification", .timeLimit(.minutes(5)))
struct DispatcherTests {
  private let dispatcher = Dispatcher<Void>.calculator

  @Test(
    "rpc call with positional parameters",
    arguments: [
      (#"{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}"#, 1, 19),
      (#"{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}"#, 2, -19),
    ] as [(String, JSON, JSON)])
  func positional(request: String, id: JSON, result: JSON) async throws {
    #expect(try await dispatcher.answer(request) == ["jsonrpc": "2.0", "result": result, "id": id])
  }

  @Test(
    "rpc call with named parameters",
    arguments: [
      #"{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}"#,
      #"{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 3}"#,
    ])
  func named(request: String) async throws {
    #expect(try await dispatcher.answer(request) == ["jsonrpc": "2.0", "result": 19, "id": 3])
  }

  @Test(
    "a notification",
    arguments: [
      #"{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}"#, #"{"jsonrpc": "2.0", "method": "foobar"}"#,
    ])
  func notification(request: String) async throws {
    #expect(try await dispatcher.answer(request) == nil)
  }

  @Test("rpc call of non-existent method")
  func nonExistentMethod() async throws {
    let error = try await dispatcher.error(#"{"jsonrpc": "2.0", "method": "foobar", "id": "1"}"#, id: "1")
    #expect(error.code == -32601)
    #expect(error.message.hasPrefix("Method not found"))
    #expect(error.data["method"] == "foobar")
  }

  @Test("rpc call with invalid JSON")
  func invalidJSON() async throws {
    let error = try await dispatcher.error(#"{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]"#)
    #expect(error.code == -32700)
    #expect(error.message.hasPrefix("Parse error"))
  }

  @Test("rpc call with invalid Request object")
  func invalidRequest() async throws {
    let error = try await dispatcher.error(#"{"jsonrpc": "2.0", "method": 1, "params": "bar"}"#)
    #expect(error.code == -32600)
    #expect(error.message.hasPrefix("Invalid Request"))
  }

  @Test("rpc call batch, invalid JSON")
  func batchOfInvalidJSON() async throws {
    let error = try await dispatcher.error(
      """
      [
        {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
        {"jsonrpc": "2.0", "method"
      ]
      """)
    #expect(error.code == -32700)
    #expect(error.data["line"] == 4)
  }

  @Test("rpc call with an empty array")
  func emptyArray() async throws {
    #expect(try await dispatcher.error("[]").code == -32600)
  }

  @Test("rpc call with an invalid batch (but not empty)", arguments: [("[1]", 1), ("[1,2,3]", 3)])
  func invalidBatch(request: String, count: Int) async throws {
    let answers = try #require(try await dispatcher.answer(request)?.arrayValue)
    #expect(answers.count == count)
    for answer in answers { #expect(try errorParts(answer).code == -32600) }
  }

  @Test("rpc call batch")
  func batch() async throws {
    let answers = try #require(
      try await dispatcher.answer(
        """
        [
          {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
          {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
          {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
          {"foo": "boo"},
          {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
          {"jsonrpc": "2.0", "method": "get_data", "id": "9"}
        ]
        """)?.arrayValue)
    #expect(answers.count == 5)
    #expect(answers.contains(["jsonrpc": "2.0", "result": 7, "id": "1"]))
    #expect(answers.contains(["jsonrpc": "2.0", "result": 19, "id": "2"]))
    #expect(answers.contains(["jsonrpc": "2.0", "result": ["hello", 5], "id": "9"]))
    let invalid = try #require(answers.first { $0["id"]?.isNull == true })
    #expect(try errorParts(invalid).code == -32600)
    let unknown = try #require(answers.first { $0["id"] == "5" })
    #expect(try errorParts(unknown, id: "5").code == -32601)
  }

  @Test("rpc call batch (all notifications)")
  func batchOfNotifications() async throws {
    let request = """
      [
        {"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},
        {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}
      ]
      """
    #expect(try await dispatcher.answer(request) == nil)
  }
}
