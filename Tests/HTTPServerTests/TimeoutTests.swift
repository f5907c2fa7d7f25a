import HTTPServer
import Testing

@Suite(.timeLimit(.minutes(5)))
struct TimeoutTests {
  private static func hasty() -> HTTPServerConfiguration {
    var configuration = HTTPServerConfiguration()
    configuration.idleTimeout = .milliseconds(500)
    configuration.headerTimeout = .milliseconds(100)
    configuration.bodyTimeout = .milliseconds(100)
    configuration.halfCloseGrace = .milliseconds(100)
    configuration.lingerTimeout = .milliseconds(100)
    return configuration
  }

  @Test("an idle connection is closed without a word")
  func idle() async throws {
    try await ServerFixture.run(Self.hasty()) { fixture in
      let silent = try fixture.client()
      #expect(try await silent.isAtEnd())
      // On a busy machine its time may be over before its request is sent.
      var used: RawClient
      var answer: RawClient.Answer?
      repeat {
        used = try fixture.client()
        await used.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = try? await used.answer()
      } while answer == nil
      #expect(answer?.status == 200)
      #expect(try await used.isAtEnd())
      #expect(await fixture.server.statistics.refused.isEmpty)
    }
  }

  @Test("a head that comes byte by byte is given up with 408")
  func slowHead() async throws {
    try await ServerFixture.run(Self.hasty()) { fixture in
      let client = try fixture.client()
      await client.send("GET / HTTP/1.1\r\n")
      while await !client.isReadable(withinMilliseconds: 10) { await client.send("X: y\r\n") }
      let answer = try await client.answer()
      #expect(answer.status == 408)
      #expect(try await client.isAtEnd())
    }
  }

  @Test("a body that comes too slowly is given up with 408")
  func slowBody() async throws {
    try await ServerFixture.run(Self.hasty()) { fixture in
      let client = try fixture.client()
      await client.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
      while await !client.isReadable(withinMilliseconds: 10) { await client.send("x") }
      let answer = try await client.answer()
      #expect(answer.status == 408)
    }
  }

  @Test("a slow handler is not timed out, and its connection lives on")
  func slowHandler() async throws {
    let gate = Gate()
    try await ServerFixture.run(Self.hasty()) { request in
      if request.path == "/slow" { await gate.wait() }
      return .text(request.path)
    } _: { fixture in
      let client = try fixture.client()
      // The second one is there before the first is answered: the connection is never idle.
      await client.send(["/slow", "/next"].map { "GET \($0) HTTP/1.1\r\nHost: localhost\r\n\r\n" }.joined())
      #expect(await eventually { await fixture.server.statistics.requests >= 1 })
      // One that connects later is given up meanwhile, after the longest of all timeouts.
      let idle = try fixture.client()
      #expect(try await idle.isAtEnd())
      gate.open()
      #expect(try await client.answer().text == "/slow")
      #expect(try await client.answer().text == "/next")
    }
  }

  @Test("a peer that never reads its answer is given up")
  func unreadAnswer() async throws {
    try await ServerFixture.run(Self.hasty()) { _ in
      .bytes([UInt8](repeating: 0, count: 16 * 1024 * 1024), contentType: "application/octet-stream")
    } _: { fixture in
      let client = try fixture.client(receiveBuffer: 4096)
      await client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
      #expect(await eventually { await fixture.server.statistics.requests == 1 })
      #expect(await eventually { await fixture.server.statistics.open == 0 })
    }
  }

  @Test("the time of a body that waits for its 100 begins with that, however long the answer before it takes")
  func expectationBehindAnswer() async throws {
    var configuration = HTTPServerConfiguration()
    configuration.bodyTimeout = .milliseconds(300)
    let handler: HTTPHandler = { request in
      if request.path == "/slow" { try? await Task.sleep(for: .milliseconds(600)) }
      return .text(String(decoding: request.body, as: UTF8.self))
    }
    try await ServerFixture.run(configuration, handler: handler) { fixture in
      var statuses: [[Int]] = []
      // On a busy machine the time of a body may be over before it is sent.
      for _ in 0..<5 where statuses.last != [200, 100, 200] {
        let client = try fixture.client()
        await client.send(
          "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"
            + "POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        let (first, second) = (try await client.answer(), try await client.answer())
        await client.send("body")
        let third = try? await client.answer()
        statuses.append([first.status, second.status, third?.status ?? 0])
        if third?.status == 200 { #expect(third?.text == "body") }
      }
      #expect(statuses.last == [200, 100, 200], "\(statuses)")
    }
  }
}
