import HTTPServer
import Testing

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
      #expect(try silent.isAtEnd())
      let used = try fixture.client()
      used.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
      #expect(try used.answer().status == 200)
      #expect(try used.isAtEnd())
      #expect(await fixture.server.statistics.refused.isEmpty)
    }
  }

  @Test("a head that comes byte by byte is given up with 408")
  func slowHead() async throws {
    try await ServerFixture.run(Self.hasty()) { fixture in
      let client = try fixture.client()
      client.send("GET / HTTP/1.1\r\n")
      while !client.isReadable(withinMilliseconds: 10) { client.send("X: y\r\n") }
      let answer = try client.answer()
      #expect(answer.status == 408)
      #expect(try client.isAtEnd())
    }
  }

  @Test("a body that comes too slowly is given up with 408")
  func slowBody() async throws {
    try await ServerFixture.run(Self.hasty()) { fixture in
      let client = try fixture.client()
      client.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
      while !client.isReadable(withinMilliseconds: 10) { client.send("x") }
      let answer = try client.answer()
      #expect(answer.status == 408)
    }
  }

  @Test("a slow handler is not timed out, and its connection lives on")
  func slowHandler() async throws {
    try await ServerFixture.run(Self.hasty()) { _ in
      try? await Task.sleep(for: .milliseconds(800))
      return .text("late")
    } _: { fixture in
      let client = try fixture.client()
      for _ in 1...2 {
        client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        #expect(try client.answer().text == "late")
      }
    }
  }

  @Test("a peer that never reads its answer is given up")
  func unreadAnswer() async throws {
    try await ServerFixture.run(Self.hasty()) { _ in
      .bytes([UInt8](repeating: 0, count: 16 * 1024 * 1024), contentType: "application/octet-stream")
    } _: { fixture in
      let client = try fixture.client(receiveBuffer: 4096)
      client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
      #expect(await eventually { await fixture.server.statistics.requests == 1 })
      #expect(await eventually { await fixture.server.statistics.open == 0 })
    }
  }
}
