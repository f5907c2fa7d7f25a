import TLS
import TLSFixtures
import Testing

@Suite("A TLS identity", .timeLimit(.minutes(5)))
struct IdentityTests {
  private let authority = TestAuthority()

  private func error(certificate: [UInt8], key: [UInt8]) -> InvalidPEM? {
    do throws(InvalidPEM) {
      _ = try TLSIdentity(certificate: certificate, key: key)
      return nil
    } catch {
      return error
    }
  }

  @Test("says what is wrong with its files, and never what is in them")
  func wrongFiles() throws {
    let (one, two) = (try authority.node(), try authority.node())
    #expect(error(certificate: one.certificate, key: one.key) == nil)
    #expect(error(certificate: one.certificate + authority.pem, key: one.key) == nil, "with its chain")
    #expect(error(certificate: one.certificate + one.key, key: one.certificate + one.key) == nil, "both in one file")
    #expect(
      error(certificate: one.certificate, key: two.key)
        == InvalidPEM(part: .key, reason: "it is not the key of the certificate (CN = node-1)"))
    #expect(
      error(certificate: [], key: one.key)
        == InvalidPEM(
          part: .certificate, reason: "there is no certificate in it (expected PEM: BEGIN CERTIFICATE)"))
    #expect(
      error(certificate: one.certificate, key: Array("hello".utf8))
        == InvalidPEM(part: .key, reason: "there is no private key in it (expected PEM: BEGIN PRIVATE KEY)"))
    let damaged = Array(String(decoding: one.certificate, as: UTF8.self).replacing("MII", with: "MIX").utf8)
    #expect(error(certificate: damaged, key: one.key)?.part == .certificate)
    for wrong in [one.key, Array(one.key.dropLast(60)), two.key] {
      let reason = error(certificate: one.certificate, key: wrong)?.reason ?? ""
      #expect(!reason.contains(String(decoding: one.key.dropFirst(40).prefix(20), as: UTF8.self)))
    }
  }

  @Test("has no passphrase, and nobody is asked for one")
  func passphrase() async throws {
    let issued = try authority.node()
    let files = try CertificateFiles()
    let plain = try files.write(issued.key, to: "plain.key")
    let locked = try await Program.run(
      "openssl", ["pkcs8", "-topk8", "-in", plain, "-passout", "pass:x", "-v2", "aes256"])
    #expect(locked.status == 0)
    let error = error(certificate: issued.certificate, key: Array(locked.output.utf8))
    #expect(error?.part == .key && error?.reason.contains("has a passphrase") == true, "\(String(describing: error))")
  }

  @Test("that is too weak for TLS is refused")
  func weak() async throws {
    let files = try CertificateFiles()
    let made = try await Program.run(
      "openssl",
      [
        "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-keyout", "\(files.path)/k", "-out", "\(files.path)/c",
        "-subj",
        "/CN=weak", "-days", "2",
      ])
    #expect(made.status == 0, "\(made.output)")
    let certificate = try await Program.run("cat", ["\(files.path)/c"]).output
    let key = try await Program.run("cat", ["\(files.path)/k"]).output
    let identity = try TLSIdentity(certificate: Array(certificate.utf8), key: Array(key.utf8))
    do {
      _ = try TLSContext.server(identity)
      Issue.record("a key of 1024 bits was taken")
    } catch {
      #expect(error.part == .certificate && error.reason.contains("too small"), "\(error)")
    }
  }

  @Test("authorities and revocation lists say what is wrong with their files")
  func authorities() throws {
    func reason(_ pem: [UInt8], _ revocations: [UInt8]? = nil) -> InvalidPEM? {
      do throws(InvalidPEM) { _ = try TrustedAuthorities(pem: pem, revocations: revocations) } catch { return error }
      return nil
    }
    #expect(reason(authority.pem) == nil)
    #expect(reason([])?.part == .authorities)
    #expect(reason(authority.pem, authority.pem)?.part == .revocations)
    #expect(reason(authority.pem, try authority.authority.revocationList().pem) == nil)
  }
}
