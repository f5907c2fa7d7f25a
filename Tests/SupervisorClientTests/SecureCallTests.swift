import EventLoop
import HTTPServer
import JSONRPC
import TLS
import TLSFixtures
import Testing

@testable import SupervisorClient

@Suite("Calls by TLS", .timeLimit(.minutes(5)))
struct SecureCallTests {
  private let authority = TestAuthority()

  private func context(identity: TLSIdentity? = nil) throws -> TLSContext {
    try .client(servers: authority.trusted(), identity: identity)
  }

  /// What a call ends with.
  private func failure(_ client: SupervisorClient) async -> ClientError? {
    do throws(ClientError) { _ = try await client.call("job.stop") } catch { return error }
    return nil
  }

  @Test("share a connection as calls without do, with answers of megabytes among them")
  func keepAlive() async throws {
    let long = String(repeating: "0123456789abcdef", count: 200_000)
    try await ClientFixture.run(tls: authority.server()) { request in
      #expect(request.headers["host"]?.hasPrefix("127.0.0.1:") == true)
      return reply(request) { $0["params"] == ["long"] ? .string(long) : "short" }
    } _: { fixture in
      let client = SupervisorClient(
        endpoints: [fixture.endpoint], secret: "s3cret", tls: try context(), loop: fixture.loop)
      for _ in 0..<10 {
        #expect(try await client.call("x") == "short")
        #expect(try await client.call("x", ["long"]) == .string(long))
      }
      let statistics = await fixture.server.statistics
      #expect(statistics.accepted == 1 && statistics.handshakes.completed == 1 && statistics.requests == 20)
      await client.close()
    }
  }

  @Test("are not made when the node's certificate is for another name, of an unknown authority, or has expired")
  func untrusted() async throws {
    let expired = try authority.server(authority.node(days: -1))
    let elsewhere = try authority.server(
      authority.authority.issue("n", for: .node(names: ["n2"], addresses: []), days: 1))
    let cases: [(TLSContext, TLSContext?, TLSError)] = [
      (elsewhere, try context(), .untrusted(.wrongName(wanted: "127.0.0.1", names: "DNS:n2"))),
      (expired, try context(), .untrusted(.expired)),
      // The system's authorities.
      (try authority.server(), nil, .untrusted(.unknownAuthority(issuer: "CN = Test authority"))),
    ]
    for (server, own, expected) in cases {
      try await ClientFixture.run(tls: server) { request in
        Issue.record("a request came")
        return reply(request) { _ in "served" }
      } _: { fixture in
        let client = SupervisorClient(endpoints: [fixture.endpoint], tls: own, loop: fixture.loop)
        let error = await failure(client)
        #expect(error == .notSecured(endpoint: fixture.endpoint, reason: expected))
        #expect(error?.description == "cannot make a secure connection to \(fixture.endpoint): \(expected)")
        await client.close()
      }
    }
  }

  @Test("go on to the next endpoint when a node cannot be believed, since nothing was sent to it")
  func failover() async throws {
    try await ClientFixture.run(tls: TestAuthority().server()) { request in
      Issue.record("a request came")
      return reply(request) { _ in "served" }
    } _: { stranger in
      try await ClientFixture.run(tls: authority.server()) { request in
        reply(request) { _ in "served" }
      } _: { fixture in
        let dead = try await fixture.closedEndpoint()
        let client = SupervisorClient(
          endpoints: [dead, stranger.endpoint, fixture.endpoint], tls: try context(), loop: fixture.loop)
        // Not one that may be made twice.
        #expect(try await client.call("job.stop") == "served")
        #expect(try await client.call("job.stop") == "served")
        #expect(await fixture.server.statistics.accepted == 1)
        await client.close()

        let lost = SupervisorClient(endpoints: [stranger.endpoint, dead], tls: try context(), loop: fixture.loop)
        #expect(
          await failure(lost)
            == .notSecured(
              endpoint: stranger.endpoint, reason: .untrusted(.unknownAuthority(issuer: "CN = Test authority"))),
          "that tells more than a node that is away")
        await lost.close()
      }
    }
  }

  @Test("show a certificate where the node wants one, and say so when it is missing")
  func clientCertificate() async throws {
    try await ClientFixture.run(tls: authority.server(clients: authority.trusted())) { request in
      reply(request) { _ in "served" }
    } _: { fixture in
      let anonymous = SupervisorClient(endpoints: [fixture.endpoint], tls: try context(), loop: fixture.loop)
      #expect(await failure(anonymous) == .notSecured(endpoint: fixture.endpoint, reason: .refused(alert: 116)))
      await anonymous.close()
      let known = SupervisorClient(
        endpoints: [fixture.endpoint], tls: try context(identity: authority.client().identity), loop: fixture.loop)
      #expect(try await known.call("job.stop") == "served")
      await known.close()
    }
  }

  @Test("tell a node without TLS from one with it, both ways")
  func mismatch() async throws {
    try await ClientFixture.run { request in
      reply(request) { _ in "served" }
    } _: { fixture in
      let secure = Endpoint(host: "127.0.0.1", port: fixture.endpoint.port, isSecure: true)
      let client = SupervisorClient(endpoints: [secure], tls: try context(), loop: fixture.loop)
      #expect(await failure(client) == .notSecured(endpoint: secure, reason: .notTLS))
      await client.close()
    }
    try await ClientFixture.run(tls: authority.server()) { request in
      reply(request) { _ in "served" }
    } _: { fixture in
      let plain = Endpoint(host: "127.0.0.1", port: fixture.endpoint.port)
      let client = SupervisorClient(endpoints: [plain], loop: fixture.loop)
      guard case .httpStatus(_, 400, let reason)? = await failure(client) else {
        Issue.record("the node did not say what is wrong")
        return
      }
      #expect(reason.hasPrefix("this port speaks HTTPS"))
      await client.close()
    }
  }

  @Test("to a peer that makes no handshake end with their time")
  func silence() async throws {
    try await ClientFixture.run { _ in
      .empty()
    } _: { fixture in
      let loop = fixture.loop
      let listener = try await onLoop(loop) {
        try TCPListener.listen(on: loop, address: SocketAddress(host: "127.0.0.1", port: 0)) { $0.close() }
      }
      // In the backlog, where nobody answers.
      let port = try await onLoop(loop) {
        listener.pause()
        return listener.localAddress!.port
      }
      var limits = SupervisorClient.Limits()
      limits.connectTimeout = .milliseconds(100)
      let endpoint = Endpoint(host: "127.0.0.1", port: port, isSecure: true)
      let client = SupervisorClient(endpoints: [endpoint], tls: try context(), loop: loop, limits: limits)
      #expect(await failure(client) == .cannotConnect(endpoint: endpoint, reason: "no connection within 0.1 seconds"))
      await client.close()
      try await onLoop(loop) { listener.close() }
    }
  }
}
