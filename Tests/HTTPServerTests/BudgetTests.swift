// The bytes that connections hold, for requests and for answers, against the budgets of the server.

import HTTPServer
import Synchronization
import Testing

@Suite("Bytes under way", .timeLimit(.minutes(5)))
struct BudgetTests {
  /// Knows the header `Authorization: Bearer K`, and bodies that begin with `K`; refuses bodies that begin with `X`.
  private struct Judge: KeyJudge {
    func showsKey(_ headers: HTTPHeaders) -> Bool { headers["authorization"] == "Bearer K" }
    func judge(_ request: HTTPRequest) -> KeyJudgement {
      switch request.body.first {
      case UInt8(ascii: "K"): .showsKey
      case UInt8(ascii: "X"): .refused(.text("no key", status: 200))
      default: .needsNoKey
      }
    }
  }

  private static func limits(_ judge: (any KeyJudge)? = Judge()) -> HTTPServerConfiguration {
    var configuration = HTTPServerConfiguration()
    configuration.maxRequestBytes = 1 << 20
    configuration.maxBufferedBytes = 4 << 20
    configuration.maxStrangerBytes = 2 << 20
    configuration.keyJudge = judge
    return configuration
  }

  private static func post(_ bytes: Int, of byte: Character = "x", fields: String = "", sent: Int? = nil) -> String {
    "POST / HTTP/1.1\r\nHost: localhost\r\n\(fields)Content-Length: \(bytes)\r\n\r\n"
      + String(repeating: byte, count: sent ?? bytes)
  }

  @Sendable private static func size(_ request: HTTPRequest) async -> HTTPResponse { .text("\(request.body.count)") }

  @Test("strangers' unfinished bodies are bounded together; a client with a key, and a small request, go through")
  func slowBodies() async throws {
    try await ServerFixture.run(Self.limits(), handler: Self.size) { fixture in
      let slow = try (0..<8).map { _ in try fixture.client() }
      for client in slow { await client.send(Self.post(1 << 20, sent: 900_000)) }
      // Two fit; each of the others is told so as soon as its bytes do not.
      #expect(await eventually { await fixture.server.statistics.refused[503] == 6 })
      var refused = 0
      for client in slow where await client.isReadable(withinMilliseconds: 50) {
        let answer = try await client.answer()
        #expect(answer.status == 503)
        #expect(answer.headers["retry-after"] == "1")
        #expect(answer.headers["connection"] == "close")
        refused += 1
      }
      #expect(refused == 6)
      let held = await fixture.server.statistics.requestBudget
      #expect(held.strangers > 1_800_000 && held.strangers <= 2 << 20 && held.known == 0)
      #expect(held.refusedStrangers >= 6)

      #expect(try await fixture.ask(Self.post(100)).text == "100")
      let keyed = try await fixture.ask(Self.post(1_000_000, fields: "Authorization: Bearer K\r\n"))
      #expect(keyed.text == "1000000")
      // One without a key has no room, until another is gone.
      #expect(try await fixture.ask(Self.post(500_000)).status == 503)
      for client in slow { client.close() }
      #expect(await eventually { await fixture.server.statistics.requestBudget.strangers == 0 })
      #expect(try await fixture.ask(Self.post(500_000)).text == "500000")
      #expect(await eventually { await fixture.server.statistics.requestBudget.strangers == 0 })
      #expect(await fixture.server.statistics.requestBudget.known == 0)
    }
  }

  @Test("a body that comes too slowly, or whose connection is reset, gives back what it held")
  func deadlines() async throws {
    var configuration = Self.limits()
    configuration.bodyTimeout = .milliseconds(100)
    configuration.minimumStrangerBytesPerSecond = 1 << 30
    configuration.lingerTimeout = .milliseconds(50)
    try await ServerFixture.run(configuration, handler: Self.size) { fixture in
      let slow = try fixture.client()
      await slow.send(Self.post(1 << 20, sent: 700_000))
      #expect(try await slow.answer().status == 408)
      #expect(await eventually { await fixture.server.statistics.requestBudget.strangers == 0 })
      let gone = try fixture.client()
      await gone.send(Self.post(1 << 20, fields: "Authorization: Bearer K\r\n", sent: 700_000))
      #expect(await eventually { await fixture.server.statistics.requestBudget.known > 600_000 })
      gone.reset()
      #expect(await eventually { await fixture.server.statistics.requestBudget.known == 0 })
    }
  }

  @Test("unfinished heads, and requests that wait behind another, count as well")
  func headsAndPipelines() async throws {
    let gate = Gate()
    var configuration = Self.limits()
    configuration.maxStrangerBytes = 100_000
    try await ServerFixture.run(configuration) { request in
      await gate.wait()
      return .text("done")
    } _: { fixture in
      let head = try fixture.client()
      await head.send("GET / HTTP/1.1\r\nHost: localhost\r\nX: " + many("x", 30_000))
      #expect(await eventually { await fixture.server.statistics.requestBudget.strangers > 30_000 })
      let pipeline = try fixture.client()
      await pipeline.send(many("GET / HTTP/1.1\r\nHost: localhost\r\nX: \(many("y", 10_000))\r\n\r\n", 5))
      #expect(await eventually { await fixture.server.statistics.requestBudget.strangers > 80_000 })
      let second = try fixture.client()
      await second.send("GET / HTTP/1.1\r\nHost: localhost\r\nX: " + many("x", 30_000))
      #expect(try await second.answer().status == 503)
      gate.open()
      for _ in 0..<5 { #expect(try await pipeline.answer().text == "done") }
      head.close()
      #expect(await eventually { await fixture.server.statistics.requestBudget.strangers == 0 })
    }
  }

  @Test("a large request is judged by its body: moved to those with a key, served as a stranger's, or refused")
  func judging() async throws {
    try await ServerFixture.run(Self.limits()) { request in
      .text("\(request.body.count) \(request.room?.take(3 << 20) ?? false)")
    } _: { fixture in
      let client = try fixture.client()
      for (byte, answer) in [("K", "900000 true"), ("s", "900000 false"), ("X", "no key"), ("K", "900000 true")] {
        await client.send(Self.post(900_000, of: Character(byte)))
        #expect(try await client.answer().text == answer)
      }
      // Up to 64 KiB nobody asks.
      await client.send(Self.post(65_536, of: "X"))
      #expect(try await client.answer().text == "65536 false")
      #expect(await fixture.server.statistics.requests == 4)
      #expect(await eventually { await fixture.server.statistics.requestBudget.known == 0 })
      #expect(await eventually { await fixture.server.statistics.answerBudget.known == 0 })
    }
  }

  @Test("a key that the handler finds moves the request as well, and a refused one is gone while its connection stays")
  func keyFoundByHandler() async throws {
    let gate = Gate()
    try await ServerFixture.run(Self.limits()) { request in
      request.room?.showKey()
      await gate.wait()
      return .text("\(request.body.count)")
    } _: { fixture in
      let client = try fixture.client()
      await client.send(Self.post(50_000))
      #expect(await eventually { await fixture.server.statistics.requestBudget.known > 50_000 })
      #expect(await fixture.server.statistics.requestBudget.strangers == 0)
      gate.open()
      #expect(try await client.answer().text == "50000")
      #expect(await eventually { await fixture.server.statistics.requestBudget.known == 0 })

      await client.send(Self.post(900_000, of: "X"))
      #expect(try await client.answer().text == "no key")
      #expect(await fixture.server.statistics.requestBudget.strangers == 0)
      #expect(await fixture.server.statistics.open == 1)
    }
  }

  @Test("what strangers can never send is refused at its announcement")
  func tooLargeForStranger() async throws {
    var configuration = Self.limits()
    configuration.maxRequestBytes = 3 << 20
    try await ServerFixture.run(configuration, handler: Self.size) { fixture in
      let refused = try await fixture.ask(Self.post(2_200_000, sent: 0))
      #expect(refused.status == 401)
      #expect(refused.headers["www-authenticate"] == "Bearer")
      let keyed = try await fixture.ask(Self.post(2_200_000, fields: "Authorization: Bearer K\r\n"))
      #expect(keyed.text == "2200000")
    }
  }

  @Test(
    "a chunk that announces more than a request may have is refused at once",
    arguments: ["7fffffffffffffff", "ffffffffffffffff", "100001"])
  func hugeChunk(size: String) async throws {
    try await ServerFixture.run(Self.limits(nil), handler: Self.size) { fixture in
      let answer = try await fixture.ask(
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\(size)\r\n")
      #expect(answer.status == 413)
    }
  }

  @Test("chunks are added up before they come")
  func sumOfChunks() async throws {
    try await ServerFixture.run(Self.limits(nil), handler: Self.size) { (fixture) async throws in
      let head = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
      let half = "80000\r\n" + many("x", 0x80000) + "\r\n"
      #expect(try await fixture.ask(head + half + half + "0\r\n\r\n").text == "1048576")
      #expect(try await fixture.ask(head + half + "80001\r\n").status == 413)
    }
  }

  @Test("answers that are not read are bounded together, and what has no room becomes 503")
  func unreadAnswers() async throws {
    var configuration = Self.limits(nil)
    configuration.maxBufferedBytes = 40 << 20
    let large = [UInt8](repeating: 97, count: 9 << 20)
    try await ServerFixture.run(configuration) { request in
      request.path == "/small" ? .text("small") : .bytes(large, contentType: "text/plain")
    } _: { fixture in
      var clients: [RawClient] = []
      for _ in 0..<20 {
        let client = try fixture.client(receiveBuffer: 4096)
        await client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        clients.append(client)
      }
      #expect(await eventually { await fixture.server.statistics.requests == 20 })
      #expect(await eventually { await fixture.server.statistics.refused[503] == 16 })
      #expect(await fixture.server.statistics.answerBudget.known == 4 * (9 << 20))
      #expect(try await fixture.ask("GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n").text == "small")
      for client in clients { client.close() }
      #expect(await eventually { await fixture.server.statistics.answerBudget.known == 0 })
      let reader = try await fixture.ask("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
      #expect(reader.body.count == large.count)
    }
  }

  @Test("a handler whose client left is cancelled, also when the server had stopped reading from it")
  func clientLeft() async throws {
    let cancelled = Mutex(0)
    var configuration = Self.limits(nil)
    configuration.halfCloseGrace = .milliseconds(100)
    try await ServerFixture.run(configuration) { _ in
      do { try await Task.sleep(for: .seconds(600)) } catch { cancelled.withLock { $0 += 1 } }
      return .empty()
    } _: { fixture in
      let request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
      let one = try fixture.client()
      await one.send(request)
      // More than the queue takes: reading has stopped when the end comes.
      let pipelining = try fixture.client()
      await pipelining.send(many(request, 40))
      #expect(await eventually { await fixture.server.statistics.requests == 2 })
      one.close()
      pipelining.halfClose()
      #expect(await eventually { cancelled.withLock { $0 } == 2 })
      #expect(await eventually { await fixture.server.statistics.open == 0 })
      #expect(await fixture.server.statistics.abandoned == 2)
    }
  }

  @Test("a half-closed client reads a long answer for as long as it takes")
  func slowReaderHalfClosed() async throws {
    var configuration = Self.limits(nil)
    configuration.halfCloseGrace = .milliseconds(50)
    configuration.maxBufferedBytes = 64 << 20
    let large = [UInt8](repeating: 97, count: 16 << 20)
    try await ServerFixture.run(configuration) { _ in
      .bytes(large, contentType: "text/plain")
    } _: { fixture in
      let client = try fixture.client(receiveBuffer: 4096)
      await client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
      client.halfClose()
      #expect(await eventually { await fixture.server.statistics.requests == 1 })
      // Longer than the grace, and than the pause between two looks at it.
      try await Task.sleep(for: .milliseconds(300))
      #expect(try await client.answer().body.count == large.count)
    }
  }
}
