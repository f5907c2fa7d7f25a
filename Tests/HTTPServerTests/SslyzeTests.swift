import Foundation
import HTTPServer
import TLS
import TLSFixtures
import Testing

/// The server as sslyze sees it, which knows what has gone wrong with TLS in the past.
@Suite("HTTPS for sslyze", .timeLimit(.minutes(5)))
struct SslyzeTests {
  private static let root = #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined()
  private static let program = "\(root)/.build/sslyze/bin/sslyze"

  @Test(
    "has modern suites only, none of the known holes, and resumes sessions",
    .enabled(if: access(program, X_OK) == 0, "there is no sslyze; scripts/sslyze installs it"))
  func findings() async throws {
    let files = try CertificateFiles()
    try await ServerFixture.run(tls: TestAuthority().server()) { fixture in
      let outcome = try await Program.run(
        Self.program,
        [
          "--json_out=\(files.path)/out", "--sslv2", "--sslv3", "--tlsv1", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3",
          "--heartbleed", "--openssl_ccs", "--reneg", "--robot", "--compression", "--early_data", "--fallback",
          "--resum",
          "--elliptic_curves", "--ems", "127.0.0.1:\(fixture.port)",
        ])
      #expect(outcome.status == 0, "\(outcome.output)")
      let data = try #require(FileManager.default.contents(atPath: "\(files.path)/out"))
      let document = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
      let server = try #require((document["server_scan_results"] as? [[String: Any]])?.first)
      let scan = try #require(server["scan_result"] as? [String: Any], "\(server)")

      func result(_ check: String) throws -> [String: Any] {
        try #require((scan[check] as? [String: Any])?["result"] as? [String: Any], "\(check): \(scan[check] ?? "none")")
      }
      func suites(_ version: String) throws -> Set<String> {
        let accepted = try result("\(version)_cipher_suites")["accepted_cipher_suites"] as? [[String: Any]] ?? []
        return Set(accepted.compactMap { ($0["cipher_suite"] as? [String: Any])?["name"] as? String })
      }
      for old in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"] { #expect(try suites(old) == []) }
      #expect(
        try suites("tls_1_2") == [
          "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
          "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        ])
      #expect(
        try suites("tls_1_3") == ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"])

      #expect(try result("heartbleed")["is_vulnerable_to_heartbleed"] as? Bool == false)
      #expect(try result("openssl_ccs_injection")["is_vulnerable_to_ccs_injection"] as? Bool == false)
      #expect(try result("robot")["robot_result"] as? String == "NOT_VULNERABLE_RSA_NOT_SUPPORTED")
      #expect(try result("session_renegotiation")["is_vulnerable_to_client_renegotiation_dos"] as? Bool == false)
      #expect(try result("session_renegotiation")["supports_secure_renegotiation"] as? Bool == true)
      #expect(try result("tls_compression")["supports_compression"] as? Bool == false)
      #expect(try result("tls_1_3_early_data")["supports_early_data"] as? Bool == false)
      #expect(try result("tls_fallback_scsv")["supports_fallback_scsv"] as? Bool == true)
      #expect(try result("tls_extended_master_secret")["supports_ems_extension"] as? Bool == true)
      #expect(try result("session_resumption")["tls_ticket_resumption_result"] as? String == "FULLY_SUPPORTED")
      let curves = try result("elliptic_curves")["supported_curves"] as? [[String: Any]] ?? []
      #expect(Set(curves.compactMap { $0["name"] as? String }) == ["X25519", "secp256r1", "secp384r1"])
    }
  }
}
