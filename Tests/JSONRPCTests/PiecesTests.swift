// Results that are sent piece by piece while they are made.

import Synchronization
import Testing

@testable import JSONRPC

@Suite("Dispatcher: results in pieces", .timeLimit(.minutes(5)))
struct PiecesTests {
  /// An array of so many strings of 1,000 bytes, one a piece; fails behind the last if it is to.
  private static func methods(made: Counter? = nil, fails: Bool = false) -> [String: Method<Void>] {
    [
      "list": Method(
        parameters: ["n"], tooBigHint: "ask for less",
        opener: { (params, _) async throws(JSONRPCError) -> Answer.Pieces in
          let count = Int(try params.int("n", in: 0...100_000, default: 0))
          let place = Counter()
          return { () async throws(JSONRPCError) -> [UInt8]? in
            let number = place.next()
            _ = made?.next()
            if number > count { return nil }
            if number == count {
              if fails { throw .notFound("node", "n3") }
              return Array(count == 0 ? "[]".utf8 : "]".utf8)
            }
            return Array((number == 0 ? "[" : ",").utf8) + JSON.string(String(repeating: "x", count: 998)).serialized()
          }
        })
    ]
  }

  private static func call(_ count: Int, id: String = "1") -> [UInt8] {
    Array(#"{"jsonrpc":"2.0","id":\#(id),"method":"list","params":[\#(count)]}"#.utf8)
  }

  @Test(
    "a short result is one answer; of a long one no more is made than is asked for, whatever the bound for answers is")
  func pieces() async throws {
    let made = Counter()
    let dispatcher = Dispatcher(methods: Self.methods(made: made), maximumResponseBytes: 10_000)
    for count in [0, 3] {
      let short = try #require(await dispatcher.dispatch(Self.call(count), context: ()))
      #expect(short.rest == nil)
      #expect(try JSON.parse(short.bytes)["result"]?.arrayValue?.count == count)
    }
    let before = made.count
    let long = try #require(await dispatcher.dispatch(Self.call(1000), context: ()))
    #expect(long.rest != nil && made.count - before < 100)
    let whole = try JSON.parse(
      Array(try #require(try await dispatcher.text(String(decoding: Self.call(1000), as: UTF8.self), context: ())).utf8)
    )
    #expect(whole["result"]?.arrayValue?.count == 1000 && whole["id"] == 1)
  }

  @Test("an error before the first byte is the answer, a later one comes from the rest")
  func errors() async throws {
    let dispatcher = Dispatcher(methods: Self.methods(fails: true))
    let early = try #require(await dispatcher.dispatch(Self.call(3), context: ()))
    #expect(early.rest == nil)
    #expect(try errorParts(try JSON.parse(early.bytes), id: 1).code == -32002)
    let rest = try #require(await dispatcher.dispatch(Self.call(1000), context: ())?.rest)
    await #expect(throws: JSONRPCError.self) { while try await rest.next() != nil {} }
  }

  @Test("in a batch it has the bound of the batch, and stops when it is reached")
  func batch() async throws {
    let made = Counter()
    let dispatcher = Dispatcher(methods: Self.methods(made: made), maximumResponseBytes: 100_000)
    let text = [Self.call(10), Self.call(50_000, id: "2"), Self.call(20, id: "3")]
      .map { String(decoding: $0, as: UTF8.self) }.joined(separator: ",")
    let answers = try #require(try await dispatcher.answer("[\(text)]")?.arrayValue)
    #expect(answers.count == 3)
    #expect(answers.contains { $0["id"] == 1 && $0["result"]?.arrayValue?.count == 10 })
    #expect(answers.contains { $0["id"] == 2 && $0["error"]?["code"] == -32008 })
    #expect(answers.contains { $0["id"] == 3 && $0["result"]?.arrayValue?.count == 20 })
    #expect(made.count < 200)
  }
}

/// Counts from 0.
private final class Counter: Sendable {
  private let value = Atomic(0)
  var count: Int { value.load(ordering: .relaxed) }
  func next() -> Int { value.add(1, ordering: .relaxed).oldValue }
}
