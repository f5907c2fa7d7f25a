import Glibc
import TLS
import TLSFixtures
import Testing

/// openssl(1) is the judge.
@Suite("An authority", .timeLimit(.minutes(5)))
struct CertificateAuthorityTests {
  private let authority = TestAuthority()
  private let files: CertificateFiles

  init() throws { files = try CertificateFiles() }

  private func verify(_ certificate: [UInt8], purpose: String, _ more: String...) async throws -> Program.Outcome {
    let ca = try files.write(authority.pem, to: "ca.pem")
    let leaf = try files.write(certificate, to: "leaf.pem")
    return try await Program.run(
      "openssl", ["verify", "-x509_strict", "-CAfile", ca, "-purpose", purpose] + more + [leaf])
  }

  @Test("issues certificates of nodes, for both sides of a connection")
  func nodes() async throws {
    let issued = try authority.authority.issue(
      "node-1", for: .node(names: ["node-1.example", "*.pool.example"], addresses: ["10.0.0.1", "::1"]), days: 10)
    for purpose in ["sslserver", "sslclient"] {
      let verdict = try await verify(issued.certificate, purpose: purpose)
      #expect(verdict.status == 0, "\(verdict.output)")
    }
    for name in ["node-1.example", "a.pool.example"] {
      #expect(try await verify(issued.certificate, purpose: "sslserver", "-verify_hostname", name).status == 0)
    }
    #expect(
      try await verify(issued.certificate, purpose: "sslserver", "-verify_hostname", "node-2.example").status != 0)
    #expect(try await verify(issued.certificate, purpose: "sslserver", "-verify_ip", "::1").status == 0)
    let text = try await Program.run("openssl", ["x509", "-in", "\(files.path)/leaf.pem", "-noout", "-text"]).output
    #expect(text.contains("ASN1 OID: prime256v1") && text.contains("ecdsa-with-SHA256") && text.contains("CA:FALSE"))
    #expect(text.contains("DNS:node-1.example, DNS:*.pool.example, IP Address:10.0.0.1, IP Address:0:0:0:0:0:0:0:1"))
  }

  @Test("issues certificates of clients, which are no servers")
  func clients() async throws {
    let issued = try authority.client()
    #expect(try await verify(issued.certificate, purpose: "sslclient").status == 0)
    #expect(try await verify(issued.certificate, purpose: "sslserver").status != 0)
  }

  @Test("takes certificates back, and keeps what it took back before")
  func revocation() async throws {
    let (one, two, three) = (try authority.client("a"), try authority.client("b"), try authority.client("c"))
    let first = try authority.authority.revocationList(adding: [one.serial])
    let second = try authority.authority.revocationList(adding: [two.serial, one.serial], to: first.pem)
    #expect(first.added == 1 && second.added == 1)
    let list = try files.write(second.pem, to: "revoked.pem")
    for (issued, isGood) in [(one, false), (two, false), (three, true)] {
      let verdict = try await verify(issued.certificate, purpose: "sslclient", "-crl_check", "-CRLfile", list)
      #expect((verdict.status == 0) == isGood, "\(verdict.output)")
      #expect(isGood || verdict.output.contains("certificate revoked"))
    }
    // In force for whose clock is up to an hour behind the authority's, as certificates are, and as long as these may be.
    let trusted = try TrustedAuthorities(pem: authority.pem, revocations: second.pem)
    let now = Int64(time(nil))
    #expect(trusted.revocationsOutOfForce(at: now) == nil && trusted.revocationsOutOfForce(at: now - 3500) == nil)
    #expect(trusted.revocationsOutOfForce(at: now - 3700)?.contains("begins later than now") == true)
    #expect(trusted.revocationsOutOfForce(at: now + 40 * 366 * 86_400)?.contains("out of date") == true)
    let text = try await Program.run("openssl", ["crl", "-in", list, "-noout", "-text"]).output
    #expect(text.firstMatch(of: /X509v3 CRL Number:\s+2\s/) != nil, "\(text)")
  }

  @Test("refuses what is no name, and issues nothing that outlasts itself")
  func refusals() throws {
    for name in ["", "a b", "a,IP:1.2.3.4", "a\0b", ".a", "a..b", "*", "*.com", String(repeating: "a", count: 64)] {
      #expect(throws: CertificateAuthority.Refusal.self, "\(name) was taken") {
        try authority.authority.issue("n", for: .node(names: [name], addresses: []), days: 1)
      }
    }
    #expect(throws: CertificateAuthority.Refusal.self) {
      try authority.authority.issue("n", for: .node(names: [], addresses: ["1.2.3"]), days: 1)
    }
    #expect(try authority.authority.issue("n", for: .client, days: 31).notAfter == authority.authority.notAfter)
    let expired = CertificateAuthority(named: "Expired", days: -1)
    #expect(throws: CertificateAuthority.Refusal.self) { try expired.issue("n", for: .client, days: 1) }
  }

  @Test("comes back from its files, and only from those of an authority")
  func reading() throws {
    let again = try CertificateAuthority(certificate: authority.pem, key: authority.authority.keyPEM)
    #expect(again.notAfter == authority.authority.notAfter)
    let leaf = try authority.node()
    #expect(throws: InvalidPEM.self) { try CertificateAuthority(certificate: leaf.certificate, key: leaf.key) }
  }
}
