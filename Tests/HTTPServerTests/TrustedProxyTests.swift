import EventLoop
import HTTPServer
import Testing

/// Whose word is taken on where a request comes from.
@Suite(.timeLimit(.minutes(5)))
struct TrustedProxyTests {
  /// The client that a server sees of a request from 127.0.0.1 with these fields.
  private func client(_ fields: String..., trusting ranges: [String]) async throws -> String {
    var configuration = HTTPServerConfiguration()
    configuration.trustedProxies = ranges.compactMap(AddressRange.init)
    var client = ""
    try await ServerFixture.run(configuration) { request in
      .text(request.client == request.peer ? "peer" : "\(request.client)")
    } _: { (fixture) async throws in
      let head = ["GET / HTTP/1.1", "Host: localhost"] + fields
      client = try await fixture.ask(head.joined(separator: "\r\n") + "\r\n\r\n").text
    }
    return client
  }

  @Test("the last address that is no trusted proxy's is the client's")
  func lastUntrusted() async throws {
    let trusted = ["127.0.0.1", "10.0.0.0/8", "fd00::/8"]
    #expect(try await client("X-Forwarded-For: 192.0.2.1", trusting: trusted) == "192.0.2.1:0")
    #expect(try await client("X-Forwarded-For: 192.0.2.9, 192.0.2.1", trusting: trusted) == "192.0.2.1:0")
    #expect(try await client("X-Forwarded-For: 192.0.2.1,10.1.2.3 , 10.9.9.9", trusting: trusted) == "192.0.2.1:0")
    #expect(
      try await client(
        "X-Forwarded-For: 192.0.2.9", "x-forwarded-for: 192.0.2.1", "X-Forwarded-For: 10.0.0.1", trusting: trusted)
        == "192.0.2.1:0")
    #expect(try await client("X-Forwarded-For: 2001:db8::1, fd00::7", trusting: trusted) == "[2001:db8::1]:0")
    #expect(try await client("X-Forwarded-For: [2001:db8::1]:4711", trusting: trusted) == "[2001:db8::1]:4711")
    #expect(try await client("X-Forwarded-For: [2001:db8::1]", trusting: trusted) == "[2001:db8::1]:0")
    #expect(try await client("X-Forwarded-For: 192.0.2.1:4711", trusting: trusted) == "192.0.2.1:4711")
  }

  @Test("a proxy that says nothing of use is the client itself, or the last of those that can be trusted")
  func nothingOfUse() async throws {
    let trusted = ["127.0.0.1", "10.0.0.0/8"]
    for value in ["unknown", "", "a.example", "192.0.2.1, ", "192.0.2.1, secret", "_hidden"] {
      #expect(try await client("X-Forwarded-For: \(value)", trusting: trusted) == "peer", "\(value)")
    }
    #expect(try await client("X-Forwarded-Proto: https", trusting: trusted) == "peer")
    #expect(try await client("X-Forwarded-For: secret, 10.0.0.1", trusting: trusted) == "10.0.0.1:0")
    #expect(try await client("X-Forwarded-For: 10.0.0.2, 10.0.0.1", trusting: trusted) == "10.0.0.2:0")
    // More of them than there are proxies anywhere are not walked through.
    let many = Array(repeating: "10.0.0.1", count: 40).joined(separator: ",")
    #expect(try await client("X-Forwarded-For: 192.0.2.1,\(many)", trusting: trusted) == "10.0.0.1:0")
  }

  @Test("nobody else is believed")
  func untrusted() async throws {
    for trusted in [[], ["10.0.0.0/8"], ["127.0.0.2"]] {
      #expect(try await client("X-Forwarded-For: 192.0.2.1", trusting: trusted) == "peer")
    }
  }

  @Test("what came through a trusted proxy is not of this machine")
  func origin() async throws {
    for (fields, expected) in [
      ("", "thisMachine"), ("X-Forwarded-For: 127.0.0.1\r\n", "proxy(field: \"X-Forwarded-For\")"),
    ] {
      var configuration = HTTPServerConfiguration()
      configuration.trustedProxies = [try #require(AddressRange("127.0.0.1"))]
      try await ServerFixture.run(configuration) {
        .text("\($0.origin)")
      } _: { (fixture) async throws in
        #expect(try await fixture.ask("GET / HTTP/1.1\r\nHost: localhost\r\n\(fields)\r\n").text == expected)
      }
    }
  }

  @Test("what speaks HTTP/1.0 is not of this machine: a proxy that was told nothing does")
  func oldVersion() async throws {
    try await ServerFixture.run {
      .text("\($0.origin)")
    } _: { (fixture) async throws in
      for (version, expected) in [("1.1", "thisMachine"), ("1.0", "elsewhere")] {
        #expect(try await fixture.ask("GET / HTTP/\(version)\r\nHost: localhost\r\n\r\n").text == expected)
      }
    }
  }
}
