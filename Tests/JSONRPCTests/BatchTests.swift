// Batches (section 6) beyond the specification's examples: concurrency and limits.

import Testing

@testable import JSONRPC

@Suite("Dispatcher: batches", .timeLimit(.minutes(5)))
struct BatchTests {
  /// Opens once, for all who wait and who will wait.
  private actor Gate {
    private var isOpen = false
    private var waiting: [CheckedContinuation<Void, Never>] = []

    func open() {
      isOpen = true
      for continuation in waiting { continuation.resume() }
      waiting = []
    }

    func pass() async {
      if !isOpen { await withCheckedContinuation { waiting.append($0) } }
    }
  }

  @Test("a slow member does not hold up the others, and the answers come in the order in which they are ready")
  func concurrency() async throws {
    let gate = Gate()
    let methods: [String: Method<Void>] = [
      "wait": Method { _, _ in
        await gate.pass()
        return "waited"
      },
      "open": Method { _, _ in
        await gate.open()
        return "opened"
      },
    ]
    // Run one after another, the first would wait for ever.
    let answers = try #require(
      try await Dispatcher<Void>(methods: methods).answer(
        """
        [{"jsonrpc":"2.0","method":"wait","id":1},{"jsonrpc":"2.0","method":"wait"},
         {"jsonrpc":"2.0","method":"nothing","id":2},{"jsonrpc":"2.0","method":"open","id":3}]
        """)?.arrayValue)
    #expect(answers.count == 3)
    #expect(answers.contains(["jsonrpc": "2.0", "id": 1, "result": "waited"]))
    #expect(answers.contains(["jsonrpc": "2.0", "id": 3, "result": "opened"]))
    #expect(answers.contains { $0["id"] == 2 && $0["error"]?["code"] == -32601 })
  }

  @Test("as many requests as allowed are answered, one more is refused as a whole")
  func limit() async throws {
    let dispatcher = Dispatcher<Void>(methods: Calculator.methods, maximumBatch: 5)
    func batch(_ count: Int) -> String {
      "[\((0..<count).map { #"{"jsonrpc":"2.0","method":"get_data","id":\#($0)}"# }.joined(separator: ","))]"
    }
    let answers = try #require(try await dispatcher.answer(batch(5))?.arrayValue)
    #expect(Set(answers.map { $0["id"] }) == Set((0..<5).map { .int($0) }))
    let error = try await dispatcher.error(batch(6))
    #expect(error.code == -32010)
    #expect(error.data["limit"] == 5)
    #expect(error.data["count"] == 6)
    // Notifications count as well.
    let notification = #"{"jsonrpc":"2.0","method":"get_data"}"#
    let notifications = Array(repeating: notification, count: 6).joined(separator: ",")
    #expect(try await dispatcher.error("[\(notifications)]").code == -32010)
  }

  @Test(
    "a batch is counted before anything of it is built",
    arguments: [
      ("[]", 0), (" [ ] ", 0), ("[1]", 1), ("\n\t\r [{},{}]", 2), (#"["a,b","\",",[1,2],{"c":[3,4],"d":5}]"#, 4),
      (#"["\\",1]"#, 2), ("[[[,,,]]],2", 1), ("[1,2", 2), (#"[1,"2,3"#, 2), (#"["\"#, 1), ("[1],[2]", 1), ("[,,]", 3),
    ])
  func counting(text: String, count: Int) {
    #expect(BatchScan.calls(in: Array(text.utf8)) == count)
  }

  @Test("what is no array is no batch", arguments: ["", " ", "{}", "1", "\"[1]\"", "x[1]"])
  func noBatch(text: String) {
    #expect(BatchScan.calls(in: Array(text.utf8)) == nil)
  }

  @Test("ten megabytes of empty objects are refused for a small part of what it costs to build them")
  func manyMembers() async throws {
    let batch = "[\(Array(repeating: "{}", count: 3_000_000).joined(separator: ","))]"
    let error = try await Dispatcher<Void>.calculator.error(batch)
    #expect(error.code == -32010)
    #expect(error.data["count"] == 3_000_000)
  }

  @Test("a batch within a batch is an invalid request, not another batch")
  func nested() async throws {
    let answers = try #require(
      try await Dispatcher<Void>.calculator.answer(
        #"[[{"jsonrpc":"2.0","method":"get_data","id":1}],[],{"jsonrpc":"2.0","method":"get_data","id":2}]"#)?
        .arrayValue)
    #expect(answers.count == 3)
    #expect(answers.filter { $0["error"]?["code"] == -32600 && $0["id"]?.isNull == true }.count == 2)
    #expect(answers.contains(["jsonrpc": "2.0", "id": 2, "result": ["hello", 5]]))
  }

  @Test("one id used twice is answered twice")
  func sameID() async throws {
    let answers = try #require(
      try await Dispatcher<Void>.calculator.answer(
        """
        [{"jsonrpc":"2.0","method":"sum","params":[1],"id":"x"},{"jsonrpc":"2.0","method":"sum","params":[2],"id":"x"}]
        """)?.arrayValue)
    #expect(Set(answers.map { $0["result"] }) == [1, 2])
    #expect(answers.allSatisfy { $0["id"] == "x" })
  }

  @Test("answers that are too big, alone or together, are replaced by an error that says what to do instead")
  func responseLimit() async throws {
    let methods: [String: Method<Void>] = [
      "text": Method(parameters: ["length"], tooBigHint: "ask for a shorter text") { (params, _) throws(JSONRPCError) in
        .string(String(repeating: "x", count: Int(try params.int("length", in: 0...10_000, default: 0))))
      }
    ]
    let dispatcher = Dispatcher(methods: methods, maximumResponseBytes: 1000)
    func request(_ length: Int) -> String {
      #"{"jsonrpc":"2.0","method":"text","params":[\#(length)],"id":"big"}"#
    }
    #expect(try await dispatcher.answer(request(900))?["result"]?.stringValue?.count == 900)
    let alone = try await dispatcher.error(request(1000), id: "big")
    #expect(alone.code == -32008)
    #expect(alone.data["limit"] == 1000)
    #expect(alone.data["hint"] == "ask for a shorter text")
    let together = try await dispatcher.error("[\(request(600)),\(request(600))]")
    #expect(together.code == -32008)
    // A member that is too big by itself leaves the others alone.
    let answers = try #require(try await dispatcher.answer("[\(request(5000)),\(request(5))]")?.arrayValue)
    #expect(answers.contains { $0["error"]?["code"] == -32008 })
    #expect(answers.contains { $0["result"] == "xxxxx" })
  }

  @Test("a long name that no method has is not sent back in full")
  func longMethodName() async throws {
    let name = String(repeating: "x", count: 100_000)
    let error = try await Dispatcher<Void>.calculator.error(#"{"jsonrpc":"2.0","method":"\#(name)","id":1}"#, id: 1)
    #expect(error.code == -32601)
    #expect(error.data["method"]?.stringValue == String(repeating: "x", count: 32) + "…")
    #expect(error.message.utf8.count < 100)
  }
}
