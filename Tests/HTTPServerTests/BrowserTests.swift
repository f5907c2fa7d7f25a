import EventLoop
import HTTPServer
import Testing

/// What browsers need, and what keeps pages in them from reaching a node they should not.
@Suite(.timeLimit(.minutes(5)))
struct BrowserTests {
  private static func get(host: String, extra: String = "") -> String {
    "GET / HTTP/1.1\r\nHost: \(host)\r\n\(extra)\r\n"
  }

  @Test(
    "a loopback listener serves loopback names",
    arguments: [
      "localhost", "LOCALHOST:8082", "localhost.", "127.0.0.1:1", "127.9.9.9", "[::1]", "[::1]:8082",
      "localhost.:65535", "LocalHost:1", "[0:0:0:0:0:0:0:1]:1", "127.0.0.1.",
    ])
  func loopbackNames(host: String) async throws {
    try await ServerFixture.run { (fixture) async throws in
      #expect(try await fixture.ask(Self.get(host: host)).status == 200)
    }
  }

  @Test(
    "a loopback listener refuses all other names (DNS rebinding)",
    arguments: [
      "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", "", "127.1",
      "127.0.0.01", "2130706433", "0x7f.1", "127.0.0.256", "[::ffff:127.0.0.1]", "localhost_", "127.0.0.1.1",
    ])
  func otherNames(host: String) async throws {
    try await ServerFixture.run { (fixture) async throws in
      let answer = try await fixture.ask(Self.get(host: host))
      #expect(answer.status == 403)
      #expect(answer.headers["connection"] == "close")
      #expect(await fixture.server.statistics.requests == 0)
    }
  }

  @Test(
    "a host that no name can be is refused, whatever a lenient reader would make of it",
    arguments: [
      "[::1].evil.example", "[::1]evil", "[::1]:", "[::1]:0", "[::1]:65536", "[::1", "::1", "[]", "[::1%lo]",
      "[127.0.0.1]",
      "127.0.0.1:80:80", "127.0.0.1:", "localhost:", "localhost:0", "localhost:080", "localhost:65536", "localhost:+80",
      "localhost:8o", "localhost:80 80", "localhost:99999999999999999999", ".localhost", "localhost..", "a..b", ".",
      ":80",
      "localhost,evil.example", "user@localhost", "local%68ost", "local~host", "localhost#", "lócalhost",
      String(repeating: "a", count: 64), Array(repeating: "a", count: 128).joined(separator: "."),
    ])
  func malformedNames(host: String) async throws {
    var all = HTTPServerConfiguration()
    all.allowedHosts = ["*"]
    for configuration in [HTTPServerConfiguration(), all] {
      try await ServerFixture.run(configuration) { (fixture) async throws in
        #expect(try await fixture.ask(Self.get(host: host)).status == 400)
        #expect(try await fixture.ask("GET http://\(host)/ HTTP/1.1\r\nHost: localhost\r\n\r\n").status == 400)
        #expect(await fixture.server.statistics.requests == 0)
      }
    }
  }

  @Test("the name in an absolute target counts as well as Host")
  func absoluteTarget() async throws {
    try await ServerFixture.run { (fixture) async throws in
      let served = try await fixture.ask("GET http://localhost:1/rpc?q HTTP/1.1\r\nHost: localhost\r\n\r\n")
      #expect(served.text == "get /rpc?q ")
      #expect(try await fixture.ask("GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n").status == 403)
      #expect(try await fixture.ask("GET http://localhost/ HTTP/1.1\r\nHost: evil.example\r\n\r\n").status == 403)
    }
  }

  @Test("configured names are served, with any port or only with theirs")
  func allowedHosts() async throws {
    var configuration = HTTPServerConfiguration()
    configuration.allowedHosts = ["Node-1.example", "node-2.example:8082"]
    try await ServerFixture.run(configuration) { (fixture) async throws in
      #expect(try await fixture.ask(Self.get(host: "node-1.example:99")).status == 200)
      #expect(try await fixture.ask(Self.get(host: "NODE-2.example:8082")).status == 200)
      #expect(try await fixture.ask(Self.get(host: "node-2.example:99")).status == 403)
      #expect(try await fixture.ask(Self.get(host: "node-3.example")).status == 403)
      #expect(try await fixture.ask(Self.get(host: "localhost")).status == 200)
    }
    configuration.allowedHosts = ["*"]
    try await ServerFixture.run(configuration) { (fixture) async throws in
      #expect(try await fixture.ask(Self.get(host: "anything.example")).status == 200)
    }
  }

  @Test("without configured origins no CORS field is sent, not even to a preflight")
  func corsOff() async throws {
    try await ServerFixture.run { (fixture) async throws in
      let origin = "Origin: https://ops.example\r\n"
      let answer = try await fixture.ask(Self.get(host: "localhost", extra: origin))
      #expect(answer.headers.keys.allSatisfy { !$0.hasPrefix("access-control") && $0 != "vary" })
      let preflight = try await fixture.ask(
        "OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\(origin)Access-Control-Request-Method: POST\r\n\r\n")
      #expect(preflight.status == 204)
      #expect(preflight.headers["allow"] == "GET, HEAD, POST, OPTIONS")
      #expect(preflight.headers.keys.allSatisfy { !$0.hasPrefix("access-control") })
    }
  }

  @Test("a configured origin may call, another may not")
  func corsOn() async throws {
    var configuration = HTTPServerConfiguration()
    configuration.corsOrigins = ["https://ops.example"]
    try await ServerFixture.run(configuration) { (fixture) async throws in
      func preflight(_ origin: String) async throws -> RawClient.Answer {
        try await fixture.ask(
          "OPTIONS / HTTP/1.1\r\nHost: localhost\r\nOrigin: \(origin)\r\nAccess-Control-Request-Method: POST\r\n\r\n")
      }
      let allowed = try await preflight("https://ops.example")
      #expect(allowed.status == 204)
      #expect(allowed.headers["access-control-allow-origin"] == "https://ops.example")
      #expect(allowed.headers["access-control-allow-methods"] == "GET, HEAD, POST, OPTIONS")
      #expect(allowed.headers["access-control-allow-headers"] == "Content-Type, Authorization")
      #expect(allowed.headers["vary"] == "Origin")
      let refused = try await preflight("https://evil.example")
      #expect(refused.status == 204)
      #expect(refused.headers.keys.allSatisfy { !$0.hasPrefix("access-control") })

      let answer = try await fixture.ask(Self.get(host: "localhost", extra: "Origin: https://ops.example\r\n"))
      #expect(answer.headers["access-control-allow-origin"] == "https://ops.example")
      let other = try await fixture.ask(Self.get(host: "localhost", extra: "Origin: https://evil.example\r\n"))
      #expect(other.headers["access-control-allow-origin"] == nil)
      #expect(other.headers["vary"] == "Origin")
    }
  }

  @Test("OPTIONS * is answered, and the connection lives on")
  func optionsStar() async throws {
    try await ServerFixture.run { (fixture) async throws in
      let client = try fixture.client()
      await client.send("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n")
      #expect(try await client.answer().status == 204)
      await client.send(Self.get(host: "localhost"))
      #expect(try await client.answer().status == 200)
    }
  }

  @Test("an offer to upgrade is ignored, and no value of an answer can forge a field")
  func upgradeAndForgery() async throws {
    try await ServerFixture.run { _ in
      HTTPResponse(status: 200, headers: [("X", "a\r\nSet-Cookie: b\u{0}")], body: [])
    } _: { (fixture) async throws in
      let answer = try await fixture.ask(
        Self.get(host: "localhost", extra: "Connection: Upgrade\r\nUpgrade: websocket\r\n"))
      #expect(answer.status == 200)
      #expect(answer.headers["set-cookie"] == nil)
      #expect(answer.headers["x"] == "a  Set-Cookie: b ")
    }
  }
}
