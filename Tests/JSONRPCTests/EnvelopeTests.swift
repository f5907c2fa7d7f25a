// The request object (section 4): which ones are requests, and what is echoed of them.

import JSONRPC
import Synchronization
import Testing

@Suite("Dispatcher: the envelope", .timeLimit(.minutes(5)))
struct EnvelopeTests {
  private let dispatcher = Dispatcher<Void>.calculator

  @Test(
    "an id is echoed as it was sent, with its type",
    arguments: [
      (#""1""#, "1"), ("1", 1), ("0", 0), ("-5", -5), ("1.5", 1.5), ("1.0", .double(1)), ("1e3", .double(1000)),
      ("9223372036854775807", .int(.max)), ("null", .null), (#""""#, ""), (#""\u00e9\u0000\"""#, "é\0\""),
    ] as [(String, JSON)])
  func echoesID(text: String, id: JSON) async throws {
    let success = try await dispatcher.answer(#"{"jsonrpc":"2.0","method":"get_data","id":\#(text)}"#)
    #expect(success == ["jsonrpc": "2.0", "id": id, "result": ["hello", 5]])
    let failure = try await dispatcher.error(#"{"jsonrpc":"2.0","method":"refuse","id":\#(text)}"#, id: id)
    #expect(failure.code == -32001)
    let unknown = try await dispatcher.error(#"{"jsonrpc":"2.0","method":"nothing","id":\#(text)}"#, id: id)
    #expect(unknown.code == -32601)
  }

  @Test("an id of another type is an invalid request", arguments: ["true", "[1]", #"{"a":1}"#])
  func wrongID(id: String) async throws {
    let error = try await dispatcher.error(#"{"jsonrpc":"2.0","method":"get_data","id":\#(id)}"#)
    #expect(error.code == -32600)
    #expect(error.data["reason"]?.stringValue?.contains("id") == true)
  }

  @Test(
    "the version must be the string 2.0",
    arguments: ["", #""jsonrpc":"1.0","#, #""jsonrpc":2.0,"#, #""jsonrpc":null,"#, #""JSONRPC":"2.0","#])
  func wrongVersion(version: String) async throws {
    let error = try await dispatcher.error(#"{\#(version)"method":"get_data","id":7}"#, id: 7)
    #expect(error.code == -32600)
    #expect(error.data["reason"]?.stringValue?.contains("jsonrpc") == true)
  }

  @Test("a method must be a string", arguments: ["", #","method":null"#, #","method":1"#, #","method":["get_data"]"#])
  func wrongMethod(method: String) async throws {
    let error = try await dispatcher.error(#"{"jsonrpc":"2.0","id":7\#(method)}"#, id: 7)
    #expect(error.code == -32600)
    #expect(error.data["reason"]?.stringValue?.contains("method") == true)
  }

  @Test("params must be an array or an object", arguments: [#""bar""#, "1", "1.5", "true", "false"])
  func wrongParams(params: String) async throws {
    let error = try await dispatcher.error(
      #"{"jsonrpc":"2.0","method":"get_data","params":\#(params),"id":7}"#, id: 7)
    #expect(error.code == -32600)
    #expect(error.data["reason"]?.stringValue?.contains("params") == true)
  }

  @Test("params that are null are no params, as clients write them that always send the member")
  func nullParams() async throws {
    let answer = try await dispatcher.answer(#"{"jsonrpc":"2.0","method":"get_data","params":null,"id":7}"#)
    #expect(answer == ["jsonrpc": "2.0", "id": 7, "result": ["hello", 5]])
  }

  @Test(
    "a text that is JSON, but neither a request nor a batch, is an invalid request", arguments: ["1", "\"a\"", "null"])
  func noRequest(text: String) async throws {
    #expect(try await dispatcher.error(text).code == -32600)
  }

  @Test("members that the specification does not know are ignored")
  func otherMembers() async throws {
    let answer = try await dispatcher.answer(
      #"{"jsonrpc":"2.0","method":"get_data","id":1,"trace":"abc","result":3,"error":null}"#)
    #expect(answer == ["jsonrpc": "2.0", "id": 1, "result": ["hello", 5]])
  }

  @Test("a method of a name that starts with rpc. is one like others, and is not found when there is none")
  func reservedNames() async throws {
    let discovering = Dispatcher<Void>(methods: ["rpc.discover": Method { _, _ in ["openrpc": "1.3.2"] }])
    let answer = try await discovering.answer(#"{"jsonrpc":"2.0","method":"rpc.discover","id":1}"#)
    #expect(answer?["result"] == ["openrpc": "1.3.2"])
    for name in ["rpc.", "rpc.nothing", "rpc.discover ", "RPC.discover"] {
      let error = try await discovering.error(#"{"jsonrpc":"2.0","method":"\#(name)","id":1}"#, id: 1)
      #expect(error.code == -32601)
      #expect(error.data["method"] == .string(name))
    }
  }

  @Test(
    "a notification is never answered, whatever becomes of it",
    arguments: [
      #"{"jsonrpc":"2.0","method":"get_data"}"#, #"{"jsonrpc":"2.0","method":"refuse"}"#,
      #"{"jsonrpc":"2.0","method":"nothing"}"#, #"{"jsonrpc":"2.0","method":"get_data","params":[1,2,3]}"#,
    ])
  func notifications(request: String) async throws {
    #expect(try await dispatcher.answer(request) == nil)
  }

  @Test("the observer learns the method and the code of every call, and no name that a client made up")
  func observer() async throws {
    let seen = Mutex<[String]>([])
    let observed = Dispatcher<Void>(methods: Calculator.methods) { method, code in
      seen.withLock { $0.append("\(method ?? "-") \(code ?? 0)") }
    }
    for method in ["get_data", "refuse", "made_up"] {
      _ = try await observed.answer(#"{"jsonrpc":"2.0","method":"\#(method)","id":1}"#)
      _ = try await observed.answer(#"{"jsonrpc":"2.0","method":"\#(method)"}"#)
    }
    let expected = ["get_data 0", "refuse -32001", "- -32601"]
    #expect(seen.withLock { $0 } == expected.flatMap { [$0, $0] })
  }
}
