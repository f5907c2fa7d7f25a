import HTTPServer
import Testing

@Suite(.timeLimit(.minutes(5)))
struct RefusalTests {
  private static func small() -> HTTPServerConfiguration {
    var configuration = HTTPServerConfiguration()
    configuration.maxRequestBytes = 100
    configuration.maxHeaderBytes = 1000
    configuration.maxTargetBytes = 50
    return configuration
  }

  @Test(
    "what is too large is refused by its kind",
    arguments: [
      (413, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 101\r\n\r\n"),
      (413, "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + many("x", 101)),
      (414, "GET /" + many("x", 50) + " HTTP/1.1\r\nHost: localhost\r\n\r\n"),
      (414, "GET /" + many("x", 2000)),
      (431, "GET / HTTP/1.1\r\nHost: localhost\r\nX: " + many("x", 1000) + "\r\n\r\n"),
      (431, "GET / HTTP/1.1\r\nHost: localhost\r\n" + many("X: y\r\n", 300)),
      (431, "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + many("X: y\r\n", 300)),
      (431, "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1;x=" + many("y", 2000)),
    ])
  func tooLarge(status: Int, request: String) async throws {
    try await ServerFixture.run(Self.small()) { fixture in
      let client = try fixture.client()
      await client.send(request)
      let answer = try await client.answer()
      #expect(answer.status == status)
      #expect(answer.headers["connection"] == "close")
      #expect(try await client.isAtEnd())
      #expect(await fixture.server.statistics.requests == 0)
      #expect(await fixture.server.statistics.refused == [status: 1])
    }
  }

  @Test("what is as large as allowed is served")
  func justFits() async throws {
    try await ServerFixture.run(Self.small()) { (fixture) async throws in
      let body = many("x", 100)
      #expect(
        try await fixture.ask("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n" + body).text
          == "post / " + body)
      let target = "/" + many("x", 49)
      #expect(try await fixture.ask("GET \(target) HTTP/1.1\r\nHost: localhost\r\n\r\n").text == "get \(target) ")
      let head = "GET / HTTP/1.1\r\nHost: localhost\r\nX: "
      #expect(try await fixture.ask(head + many("x", 1000 - head.utf8.count - 4) + "\r\n\r\n").status == 200)
    }
  }

  @Test(
    "a method that is not served is refused",
    arguments: [
      (405, "PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"),
      (405, "DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
      (405, "TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
      (501, "BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
      (400, "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ])
  func methods(status: Int, request: String) async throws {
    try await ServerFixture.run { fixture in
      let answer = try await fixture.ask(request)
      #expect(answer.status == status)
      if status == 405 { #expect(answer.headers["allow"] == "GET, HEAD, POST, OPTIONS") }
    }
  }

  @Test("the layer above says what a refusal looks like")
  func errorBody() async throws {
    var configuration = Self.small()
    configuration.errorBody = { status, reason in
      status == 413 ? ("application/json", Array(#"{"error":"\#(reason)"}"#.utf8)) : nil
    }
    try await ServerFixture.run(configuration) { fixture in
      let tooLarge = try await fixture.ask("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 101\r\n\r\n")
      #expect(tooLarge.headers["content-type"] == "application/json")
      #expect(tooLarge.text == #"{"error":"the body is larger than 100 bytes"}"#)
      let malformed = try await fixture.ask("nonsense\r\n\r\n")
      #expect(malformed.headers["content-type"] == "text/plain; charset=utf-8")
    }
  }

  @Test("a refusal waits for the answers to the requests before it")
  func inOrder() async throws {
    try await ServerFixture.run { request in
      try? await Task.sleep(for: .milliseconds(20))
      return .text(request.path)
    } _: { fixture in
      let client = try fixture.client()
      await client.send(
        "GET /a HTTP/1.1\r\nHost: localhost\r\n\r\nGET /b HTTP/1.1\r\nHost: localhost\r\n\r\nGET /c HTTP/1.1\r\n\r\n")
      #expect(try await client.answer().text == "/a")
      #expect(try await client.answer().text == "/b")
      #expect(try await client.answer().status == 400)
      #expect(try await client.isAtEnd())
    }
  }

  @Test("a client that sends on after a refusal can still read it")
  func lingers() async throws {
    try await ServerFixture.run(Self.small()) { fixture in
      let client = try fixture.client()
      await client.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n\r\n")
      await client.send([UInt8](repeating: 120, count: 500_000))
      #expect(try await client.answer().status == 413)
      #expect(try await client.isAtEnd())
    }
  }

  @Test("one connection too many is told so, and there is room again when another leaves")
  func tooManyConnections() async throws {
    var configuration = HTTPServerConfiguration()
    configuration.maxConnections = 2
    try await ServerFixture.run(configuration) { fixture in
      let request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
      let first = try fixture.client()
      let second = try fixture.client()
      for client in [first, second] {
        await client.send(request)
        #expect(try await client.answer().status == 200)
      }
      let third = try fixture.client()
      #expect(try await third.answer().status == 503)
      #expect(try await third.isAtEnd())
      first.close()
      #expect(await eventually { await fixture.server.statistics.open == 1 })
      #expect(try await fixture.ask(request).status == 200)
    }
  }
}

func many(_ text: String, _ count: Int) -> String { String(repeating: text, count: count) }
