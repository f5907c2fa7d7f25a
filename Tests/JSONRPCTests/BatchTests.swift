// Batches (section 6) beyond the specification's examples: concurrency and limits.

import Synchronization
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
    #expect(BatchScan(Array(text.utf8)).calls == count)
  }

  @Test("what is no array is no batch", arguments: ["", " ", "{}", "1", "\"[1]\"", "x[1]"])
  func noBatch(text: String) {
    #expect(BatchScan(Array(text.utf8)).calls == nil)
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
    // Of two that do not fit together one is answered.
    let together = try #require(try await dispatcher.answer("[\(request(600)),\(request(600))]")?.arrayValue)
    #expect(together.count == 2 && together.count { $0["result"]?.stringValue?.count == 600 } == 1)
    let left = try errorParts(try #require(together.first { $0["error"] != nil }), id: "big")
    #expect(left.code == -32008 && left.data["limit"] == 1000 && left.message.contains("was carried out"))
    // A member that is too big by itself leaves the others alone.
    let answers = try #require(try await dispatcher.answer("[\(request(5000)),\(request(5))]")?.arrayValue)
    #expect(answers.contains { $0["error"]?["code"] == -32008 })
    #expect(answers.contains { $0["result"] == "xxxxx" })
  }

  @Test("each call of a batch is carried out, in order, and each id is answered: -32008 where the answer does not fit")
  func answersThatDoNotFit() async throws {
    let begun = Mutex<[Int64]>([])
    let methods: [String: Method<Void>] = [
      "text": Method(parameters: ["n"]) { (params, _) throws(JSONRPCError) in
        let number = try params.int("n", in: 0...1000, default: 0)
        begun.withLock { $0.append(number) }
        // The last is small, and fits behind those that do not.
        return .string(String(repeating: "x", count: number == 499 ? 1 : 1000))
      }
    ]
    let dispatcher = Dispatcher(methods: methods, maximumResponseBytes: 100_000)
    let calls = (0..<500).map { #"{"jsonrpc":"2.0","method":"text","params":[\#($0)],"id":\#($0)}"# }
    let room = BoundedRoom(.max)
    let batch = Array("[\(calls.joined(separator: ","))]".utf8)
    let bytes = try #require(await dispatcher.dispatch(batch, context: (), room: room)).bytes
    let answers = try #require(try JSON.parse(bytes).arrayValue)
    #expect(begun.withLock { $0.sorted() } == (0..<500).map { $0 })
    #expect(Set(answers.map { $0["id"] }) == Set((0..<500).map { .int($0) }) && answers.count == 500)
    let fitting = answers.count { $0["result"] != nil }
    #expect((90..<100).contains(fitting))
    #expect(answers.contains { $0["id"] == 499 && $0["result"] == "x" })
    #expect(answers.count { $0["error"]?["code"] == -32008 } == 500 - fitting)
    // What did not fit takes no room.
    #expect(room.taken <= 100_000)
  }

  @Test("a notification that would wait is carried out otherwise, and its batch does not wait for it")
  func waitingNotification() async throws {
    let gate = Gate()
    let accepted = Mutex(0)
    let methods: [String: Method<Void>] = [
      "wait": Method<Void> { _, _ in
        await gate.pass()
        return "waited"
      }
      .notified { _, _ in
        accepted.withLock { $0 += 1 }
        return .null
      },
      "quick": Method { _, _ in "quick" },
    ]
    let dispatcher = Dispatcher(methods: methods)
    let notification = #"{"jsonrpc":"2.0","method":"wait"}"#
    #expect(try await dispatcher.answer(notification) == nil)
    let batch = try await dispatcher.answer(#"[\#(notification),{"jsonrpc":"2.0","method":"quick","id":1}]"#)
    #expect(batch == [["jsonrpc": "2.0", "id": 1, "result": "quick"]])
    #expect(accepted.withLock { $0 } == 2)
    async let call = dispatcher.answer(#"{"jsonrpc":"2.0","method":"wait","id":2}"#)
    await gate.open()
    #expect(try await call?["result"] == "waited")
  }

  @Test(
    "sixteen calls of a batch run at a time, fewer when there is no room for more, one in any case",
    arguments: [(Int.max, 16), (3 * 8192, 4), (0, 1)])
  func callsAtATime(room: Int, expected: Int) async throws {
    let running = Mutex((now: 0, most: 0))
    let methods: [String: Method<Void>] = [
      "wait": Method { _, _ in
        running.withLock { $0 = ($0.now + 1, max($0.most, $0.now + 1)) }
        for _ in 0..<50 { await Task.yield() }
        running.withLock { $0.now -= 1 }
        return .null
      }
    ]
    let bounded = BoundedRoom(room)
    let call = #"{"jsonrpc":"2.0","method":"wait","id":1}"#
    let batch = Array("[\(Array(repeating: call, count: 60).joined(separator: ","))]".utf8)
    let answer = try JSON.parse(
      try #require(await Dispatcher(methods: methods).dispatch(batch, context: (), room: bounded)).bytes)
    #expect(answer.arrayValue?.count == 60 && answer.arrayValue?.contains { $0["error"] != nil } == false)
    #expect(running.withLock { $0.most } <= expected)
    if expected > 1 { #expect(running.withLock { $0.most } > 1) }
    #expect(bounded.taken == 0)
  }

  @Test("what has no room is answered -32009 under its id: a tree before it is built, an answer when it is known")
  func noRoom() async throws {
    let methods: [String: Method<Void>] = [
      "text": Method(parameters: ["n", "ignored"]) { (params, _) throws(JSONRPCError) in
        .string(String(repeating: "x", count: Int(try params.int("n", in: 0...100_000, default: 0))))
      },
      "written": Method(parameters: [], tooBigHint: "") { (_, _, bytes) in
        JSON.string(String(repeating: "y", count: 20_000)).write(into: &bytes)
      },
    ]
    let dispatcher = Dispatcher(methods: methods)
    func answer(_ text: String, room: Int) async throws -> JSON {
      try JSON.parse(
        try #require(await dispatcher.dispatch(Array(text.utf8), context: (), room: BoundedRoom(room))).bytes)
    }
    func call(_ method: String, _ params: String) -> String {
      #"{"jsonrpc":"2.0","method":"\#(method)","params":\#(params),"id":"i"}"#
    }
    // Small ones need none.
    #expect(try await answer(call("text", "[3]"), room: 0)["result"] == "xxx")
    #expect(try await answer(call("text", "[20000]"), room: 30_000)["result"]?.stringValue?.utf8.count == 20_000)
    for text in [call("text", "[20000]"), call("written", "[]")] {
      let refused = try errorParts(try await answer(text, room: 10_000), id: "i")
      #expect(refused.code == -32009)
      #expect(refused.data["retry_after_ms"] == 1000)
    }
    let large = call("text", #"[3,"\#(String(repeating: "z", count: 20_000))"]"#)
    #expect(try await answer(large, room: 30_000)["result"] == "xxx")
    #expect(try errorParts(try await answer(large, room: 10_000)).code == -32009)
    // Many small values take more than their bytes.
    let values = call("text", "[3,[\(Array(repeating: "1", count: 5000).joined(separator: ","))]]")
    #expect(try errorParts(try await answer(values, room: 100_000)).code == -32009)
    #expect(try await answer(values, room: 500_000)["result"] == "xxx")
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

/// Room for so many bytes.
private final class BoundedRoom: AnswerRoom {
  private let limit: Int
  private let bytes = Mutex(0)

  init(_ limit: Int) { self.limit = limit }

  var taken: Int { bytes.withLock { $0 } }

  func take(_ more: Int) -> Bool {
    bytes.withLock {
      guard more <= limit - $0 else { return false }
      $0 += more
      return true
    }
  }

  func giveBack(_ less: Int) { bytes.withLock { $0 -= less } }
}
