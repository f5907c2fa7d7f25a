import EventLoop
import Foundation
import HTTPServer
import TLS
import TLSFixtures
import Testing

/// The server as openssl(1) sees it, and as those see it who do not speak TLS.
@Suite("HTTPS", .timeLimit(.minutes(5)))
struct HTTPSTests {
  private let authority = TestAuthority()
  private let files: CertificateFiles
  private let request = "GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

  init() throws {
    files = try CertificateFiles()
    try files.write(authority.pem, to: "ca.pem")
  }

  /// One connection of `openssl s_client`, which sends a request and reads to the end.
  private func connect(_ fixture: ServerFixture, _ arguments: String..., input: String? = nil) async throws -> String {
    try await Program.run(
      "openssl",
      [
        "s_client", "-connect", "127.0.0.1:\(fixture.port)", "-servername", "localhost", "-CAfile",
        "\(files.path)/ca.pem",
        "-verify_hostname", "localhost", "-verify_return_error", "-ign_eof",
      ] + arguments, input: input ?? request
    ).output
  }

  /// How many handshakes failed for a reason.
  private func failures(_ fixture: ServerFixture, _ label: String) async -> UInt64 {
    await fixture.server.statistics.handshakes.failed[label] ?? 0
  }

  @Test("is spoken by TLS 1.2 and 1.3, with a name that is verified and the protocol that ALPN names")
  func versions() async throws {
    try await ServerFixture.run(tls: authority.server()) { fixture in
      for (flag, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let output = try await connect(fixture, flag, "-alpn", "h2,http/1.1")
        #expect(output.contains("New, \(name), Cipher is "), "\(output)")
        #expect(output.contains("ALPN protocol: http/1.1"), "\(output)")
        #expect(output.contains("Verify return code: 0 (ok)"), "\(output)")
        #expect(output.contains("HTTP/1.1 200") && output.contains("get /hello "), "\(output)")
        #expect(output.contains("Secure Renegotiation IS") && output.contains("Compression: NONE"), "\(output)")
      }
      let http2 = try await connect(fixture, "-alpn", "h2")
      #expect(http2.contains("no application protocol"), "\(http2)")
      #expect(await fixture.server.statistics.handshakes.completed == 2)
      #expect(await failures(fixture, "incompatible") == 1)
    }
  }

  @Test("is not spoken by TLS 1.1, nor by suites without forward secrecy or authenticated encryption")
  func weak() async throws {
    try await ServerFixture.run(tls: authority.server()) { fixture in
      let weak = [
        ["-tls1", "-cipher", "ALL:@SECLEVEL=0"], ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "ALL:!ECDHE:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "ALL:!AESGCM:!CHACHA20:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "aNULL:eNULL:@SECLEVEL=0"], ["-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_8_SHA256"],
        ["-tls1_3", "-groups", "ffdhe2048"],
      ]
      for arguments in weak {
        let output = try await Program.run(
          "openssl", ["s_client", "-connect", "127.0.0.1:\(fixture.port)", "-ign_eof"] + arguments, input: request
        ).output
        #expect(!output.contains("HTTP/1.1") && output.contains("alert"), "\(arguments): \(output)")
      }
      #expect(await fixture.server.statistics.handshakes.completed == 0)
      #expect(await failures(fixture, "incompatible") == UInt64(weak.count))
    }
  }

  @Test("resumes sessions by tickets, until the certificate is replaced", arguments: ["-tls1_2", "-tls1_3"])
  func resumption(version: String) async throws {
    try await ServerFixture.run(tls: authority.server()) { fixture in
      let session = "\(files.path)/session"
      let first = try await connect(fixture, version, "-sess_out", session)
      #expect(first.contains("New, TLSv1"))
      let second = try await connect(fixture, version, "-sess_in", session)
      #expect(second.contains("Reused, TLSv1") && second.contains("HTTP/1.1 200"), "\(second)")
      #expect(await fixture.server.statistics.handshakes.resumed == 1)
      await fixture.server.use(try authority.server())
      let third = try await connect(fixture, version, "-sess_in", session)
      #expect(third.contains("New, TLSv1") && third.contains("HTTP/1.1 200"), "\(third)")
      #expect(await fixture.server.statistics.handshakes.resumed == 1)
    }
  }

  @Test("takes no early data and no renegotiation")
  func neither() async throws {
    try await ServerFixture.run(tls: authority.server()) { fixture in
      let output = try await connect(fixture, "-tls1_3", "-sess_out", "\(files.path)/session")
      #expect(output.contains("Max Early Data: 0"), "\(output)")
      // s_client takes a line "R" for the wish to renegotiate, unless told to ignore the end of its input.
      let renegotiation = try await Program.run(
        "openssl", ["s_client", "-connect", "127.0.0.1:\(fixture.port)", "-tls1_2", "-no_ign_eof"], input: "R\n"
      ).output
      #expect(renegotiation.contains("RENEGOTIATING") && renegotiation.contains("no renegotiation"), "\(renegotiation)")
    }
  }

  @Test("asks clients for certificates where it is told to")
  func clientCertificates() async throws {
    try await ServerFixture.run(tls: authority.server(clients: authority.trusted())) { fixture in
      for version in ["-tls1_2", "-tls1_3"] {
        let refused = try await connect(fixture, version)
        #expect(refused.contains("alert") && !refused.contains("HTTP/1.1 200"), "\(refused)")
        let client = try authority.client()
        let (certificate, key) = (
          try files.write(client.certificate, to: "c.pem"), try files.write(client.key, to: "c.key")
        )
        let session = "\(files.path)/session\(version)"
        let taken = try await connect(fixture, version, "-cert", certificate, "-key", key, "-sess_out", session)
        #expect(taken.contains("HTTP/1.1 200"), "\(taken)")
        #expect(taken.contains("Acceptable client certificate CA names\nCN = Test authority"), "\(taken)")
        let again = try await connect(fixture, version, "-cert", certificate, "-key", key, "-sess_in", session)
        #expect(again.contains("Reused, TLSv1") && again.contains("HTTP/1.1 200"), "\(again)")
      }
      #expect(await failures(fixture, "certificate") == 2)
    }
  }

  @Test("tells a client that speaks HTTP without TLS what to do, and counts it")
  func plainHTTP() async throws {
    try await ServerFixture.run(tls: authority.server()) { fixture in
      for _ in 0..<3 {
        let client = try fixture.client()
        await client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        let answer = try await client.answer()
        #expect(answer.status == 400 && answer.text == "this port speaks HTTPS: use https:// in place of http://\n")
        #expect(try await client.isAtEnd())
      }
      #expect(await failures(fixture, "plain_http") == 3)
      #expect(await fixture.server.statistics.requests == 0)
    }
  }

  @Test("ends connections of those who speak nothing known, cut at any place")
  func garbage() async throws {
    try await ServerFixture.run(tls: authority.server()) { fixture in
      var generator = SystemRandomNumberGenerator()
      for length in [5, 6, 64, 600, 70_000] {
        let client = try fixture.client()
        await client.send((0..<length).map { _ in UInt8.random(in: 0x30...0x7f, using: &generator) })
        _ = try? await client.rest()
      }
      #expect(await eventually { await failures(fixture, "not_tls") == 5 })
      // The head of a record, and then the end.
      let cut = try fixture.client()
      await cut.send([22, 3, 1, 2, 0, 1])
      cut.close()
      #expect(await eventually { await failures(fixture, "closed") == 1 })
      #expect(try await connect(fixture).contains("HTTP/1.1 200"))
    }
  }

  @Test("gives up a handshake that does not come to its end in time, and one that says nothing")
  func slow() async throws {
    var hasty = HTTPServerConfiguration()
    hasty.headerTimeout = .milliseconds(200)
    try await ServerFixture.run(hasty, tls: authority.server()) { fixture in
      let silent = try fixture.client()
      let slow = try fixture.client()
      await slow.send([22, 3, 1, 2, 0])
      #expect(try await silent.isAtEnd())
      while await !slow.isReadable(withinMilliseconds: 20) { await slow.send([1]) }
      #expect(await eventually { await failures(fixture, "timeout") == 2 })
    }
  }

  @Test("bounds the handshakes under way as it bounds connections")
  func bounded() async throws {
    var few = HTTPServerConfiguration()
    few.maxConnections = 4
    try await ServerFixture.run(few, tls: authority.server()) { fixture in
      let limit = few.maxConnections + few.maxRejections
      let silent = try (0..<40).map { _ in try fixture.client() }
      for (number, client) in silent.enumerated() where number >= limit {
        #expect(try await client.isAtEnd(), "one beyond max_connections and those that are told so is reset")
      }
      #expect(await fixture.server.statistics.handshakes.failed == ["no_room": UInt64(silent.count - limit)])
      for client in silent { client.close() }
      #expect(await eventually { await failures(fixture, "closed") == UInt64(limit) })
      #expect(try await connect(fixture).contains("HTTP/1.1 200"))
    }
  }

  @Test("lets go of a peer that closed its half during the handshake, and of one that resets")
  func halfOpen() async throws {
    try await ServerFixture.run(tls: authority.server()) { fixture in
      let half = try fixture.client()
      half.halfClose()
      #expect(try await half.isAtEnd())
      try fixture.client().reset()
      #expect(await eventually { await failures(fixture, "closed") == 2 })
    }
  }
}
