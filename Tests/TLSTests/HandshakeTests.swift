import EventLoop
import TLS
import TLSFixtures
import Testing

@Suite("A TLS handshake", .timeLimit(.minutes(5)))
struct HandshakeTests {
  private let authority = TestAuthority()

  /// What both ends make of it.
  private func outcome(
    _ server: TLSContext, _ client: TLSContext, host: String = "localhost"
  ) async throws -> (client: TLSError?, server: TLSError?) {
    let result = Box<(TLSError?, TLSError?)>()
    try await withLoop { loop in
      let ends = try await Ends.make(on: loop, server, client, host: host)
      // By TLS 1.3 the server's verdict about a client comes after the client's handshake.
      let inbox = Inbox(ends.client)
      if ends.serverError != nil { #expect(await eventually { ends.client.failure != nil || ends.clientError != nil }) }
      result.value = (ends.clientError ?? ends.client.failure, ends.serverError)
      _ = inbox
      ends.close()
    }
    return try #require(result.value)
  }

  private final class Box<Value: Sendable>: @unchecked Sendable {
    // @unchecked: written by a task that is awaited before it is read.
    var value: Value?
  }

  @Test("succeeds by name and by address", arguments: ["localhost", "LOCALHOST", "localhost.", "127.0.0.1"])
  func names(host: String) async throws {
    let (client, server) = try await outcome(
      authority.server(), .client(servers: authority.trusted()), host: host)
    #expect(client == nil && server == nil)
  }

  @Test("fails at a server with another name, and says which names it has", arguments: ["node-2.example", "127.0.0.2"])
  func wrongName(host: String) async throws {
    let (client, server) = try await outcome(authority.server(), .client(servers: authority.trusted()), host: host)
    #expect(
      client == .untrusted(.wrongName(wanted: host, names: "DNS:localhost, IP Address:127.0.0.1")))
    #expect(
      client?.description == "its certificate is for DNS:localhost, IP Address:127.0.0.1, and not for \(host)")
    #expect(server == .refused(alert: 42))
  }

  @Test("fails at an authority that is not believed")
  func unknownAuthority() async throws {
    for trusted in [try TestAuthority(named: "Another").trusted(), nil] {
      let (client, server) = try await outcome(authority.server(), .client(servers: trusted))
      #expect(client == .untrusted(.unknownAuthority(issuer: "CN = Test authority")))
      #expect(server == .refused(alert: 48), "\(String(describing: server))")
    }
  }

  @Test("fails at a certificate that has expired")
  func expired() async throws {
    let (client, server) = try await outcome(
      authority.server(authority.node(days: -1)), .client(servers: authority.trusted()))
    #expect(client == .untrusted(.expired) && server == .refused(alert: 45))
  }

  @Test("of a client without a certificate fails where one is wanted, and the client hears why")
  func noClientCertificate() async throws {
    let (client, server) = try await outcome(
      authority.server(clients: authority.trusted()), .client(servers: authority.trusted()))
    #expect(server == .noCertificate)
    #expect(client == .refused(alert: 116) && client?.isRefusedCertificate == true)
  }

  @Test("of a client with a certificate succeeds, unless another authority signed it")
  func clientCertificate() async throws {
    let server = try authority.server(clients: authority.trusted())
    let own = try TLSContext.client(servers: authority.trusted(), identity: authority.client().identity)
    let (client, verdict) = try await outcome(server, own)
    #expect(client == nil && verdict == nil)
    let foreign = try TLSContext.client(servers: authority.trusted(), identity: TestAuthority().client().identity)
    let (refused, reason) = try await outcome(server, foreign)
    #expect(reason == .untrusted(.unknownAuthority(issuer: "CN = Test authority")))
    #expect(refused?.isRefusedCertificate == true)
  }

  @Test("of a client whose certificate was revoked fails; others go on")
  func revoked() async throws {
    let (bad, good) = (try authority.client("bad"), try authority.client("good"))
    let list = try authority.authority.revocationList(adding: [bad.serial])
    #expect(list.added == 1)
    let server = try authority.server(clients: authority.trusted(revocations: list.pem))
    let (client, verdict) = try await outcome(
      server, .client(servers: authority.trusted(), identity: bad.identity))
    #expect(verdict == .untrusted(.revoked) && client == .refused(alert: 44))
    let (other, none) = try await outcome(server, .client(servers: authority.trusted(), identity: good.identity))
    #expect(other == nil && none == nil)
  }

  @Test("fails when no protocol above TLS is common to both")
  func protocols() async throws {
    let (client, server) = try await outcome(
      authority.server(), .client(servers: authority.trusted(), protocols: ["h2", "gopher"]))
    #expect(client == .refused(alert: 120))
    #expect(server?.label == "incompatible", "\(String(describing: server))")
    let (both, none) = try await outcome(
      authority.server(), .client(servers: authority.trusted(), protocols: ["h2", "http/1.1"]))
    #expect(both == nil && none == nil)
  }

  @Test(
    "fails with a client that does not speak TLS, and the server knows what it speaks",
    arguments: [
      ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", TLSError.plainHTTP), ("POST / HTTP/1.1\r\n", .plainHTTP),
      ("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", .notTLS), ("SSH-2.0-OpenSSH_9.2\r\n", .notTLS),
    ] as [(String, TLSError)])
  func garbage(text: String, expected: TLSError) async throws {
    let authority = authority
    try await withLoop { loop in
      let wires = try await Wires.make(on: loop)
      let server = TLSStream(accepting: wires.server, try authority.server())
      var outcome: TLSError??
      server.handshake { outcome = .some($0) }
      wires.client.write(Array(text.utf8))
      #expect(await eventually { outcome != nil })
      #expect(outcome == .some(expected))
      server.close()
      wires.close()
    }
  }

  @Test("fails with a server that does not speak TLS")
  func plainServer() async throws {
    let authority = authority
    try await withLoop { loop in
      let wires = try await Wires.make(on: loop)
      wires.server.write(Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8))
      let client = TLSStream(connecting: wires.client, to: "localhost", try .client(servers: authority.trusted()))
      await #expect(throws: TLSError.notTLS) { try await client.handshake() }
      wires.close()
    }
  }
}
