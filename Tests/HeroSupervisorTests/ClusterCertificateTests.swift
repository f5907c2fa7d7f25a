import Foundation
import TLS
import TLSFixtures
import Testing

/// Peer links by certificates of an authority of the operator's, with real processes.
@Suite("Peer links by certificates", .serialized, .timeLimit(.minutes(5)))
struct ClusterCertificateTests {
  private let directory = TemporaryDirectory()
  private var authority: String { "\(directory.path)/authority" }

  private func certs(_ arguments: String...) async throws {
    let tool = try CommandLineTool(["cluster", "certs"] + arguments)
    try tool.start()
    let outcome = await tool.outcome()
    try #require(outcome.status == 0, "\(outcome)")
  }

  private func environment(_ name: String, of authority: String) -> [String] {
    [
      "HERO_CLUSTER_TLS_CERTIFICATE=\(authority)/\(name).pem", "HERO_CLUSTER_TLS_PRIVATE_KEY=\(authority)/\(name).key",
      "HERO_CLUSTER_TLS_CA=\(authority)/ca.pem", "HERO_CLUSTER_TLS_CRL=\(authority)/revoked.pem",
    ]
  }

  /// Has the authority's list be one that has just run out.
  private func expireList() async throws {
    let ca = directory.write(
      """
      [ca]
      default_ca = authority
      [authority]
      database = \(directory.write("", to: "index"))
      default_md = sha256
      certificate = \(authority)/ca.pem
      private_key = \(authority)/ca.key
      """, to: "ca.cnf")
    let made = try await Program.run(
      "openssl", ["ca", "-gencrl", "-config", ca, "-crlsec", "1", "-out", "\(authority)/revoked.pem"])
    try #require(made.status == 0, "\(made)")
    let trusted = try TrustedAuthorities(
      pem: Array(Data(contentsOf: URL(filePath: "\(authority)/ca.pem"))),
      revocations: Array(Data(contentsOf: URL(filePath: "\(authority)/revoked.pem"))))
    #expect(
      await eventually { trusted.revocationsOutOfForce(at: Int64(time(nil)))?.contains("out of date") == true })
  }

  /// Speaks TLS to a cluster's port.
  private func client(_ port: String, _ arguments: String...) async throws -> String {
    let base = ["s_client", "-connect", port, "-alpn", "hero-peer/2", "-CAfile", "\(authority)/ca.pem", "-brief"]
    // It stays open for as long as there is input, and hears of a refusal after its own handshake.
    let words = (["openssl"] + base + arguments).map { "'\($0)'" }.joined(separator: " ")
    return try await Program.run("sh", ["-c", "sleep 1 | \(words)"]).output
  }

  @Test("are for members of the authority only, and end at once with what it takes back")
  func life() async throws {
    try await certs("init", "--out", authority)
    for name in ["n1", "n2"] { try await certs("issue", name, "--authority", authority, "--dns", name) }
    try await certs("issue", "deployer", "--authority", authority)
    let other = "\(directory.path)/other"
    try await certs("init", "--out", other)
    try await certs("issue", "n2", "--authority", other, "--dns", "n2")
    try await ClusterScene.run { scene async throws in
      for name in ["n1", "n2"] { try await scene.start(name, environment: environment(name, of: authority)) }
      for name in ["n1", "n2"] { try await scene.sees(name, ["n1": "alive", "n2": "alive"]) }
      try await scene.register("r", at: "n2")
      #expect(try await scene.run("one", on: "r", "echo $HERO_NODE", at: "n1") == ["success": "n2\n"])
      #expect(await scene.log("n1").contains("peer links are made by certificates"))
      let endpoint = try #require(await scene.log("n1").firstMatch(of: /api=(http:\/\/[0-9.:]+)/)).1
      let script =
        "curl -s -H 'Authorization: Bearer \(scene.secret)' \(endpoint)/metrics | grep ^hero_cluster_certificate_exp"
      let metric = try await scene.run("metrics", on: "r", script, at: "n1")
      #expect(metric["success"]?.stringValue?.contains("_timestamp_seconds ") == true, "\(metric)")

      let log = await scene.log("n1")
      let port = String(try #require(log.firstMatch(of: /cluster port open.* listen=([0-9.:]+)/)).1)
      let member = ["-cert", "\(authority)/n2.pem", "-key", "\(authority)/n2.key"]
      let welcome = try await client(port, member[0], member[1], member[2], member[3])
      #expect(welcome.contains("TLSv1.3") && welcome.contains("Verification: OK"), "\(welcome)")
      #expect(!welcome.contains("alert"), "\(welcome)")
      let anonymous = try await client(port)
      #expect(anonymous.contains("alert"), "\(anonymous)")
      let foreign = try await client(port, "-cert", "\(other)/n2.pem", "-key", "\(other)/n2.key")
      #expect(foreign.contains("alert"), "\(foreign)")
      let old = try await client(port, "-tls1_2", member[0], member[1], member[2], member[3])
      #expect(old.contains("alert") && !old.contains("CONNECTION ESTABLISHED"), "\(old)")
      #expect(await scene.log("n1").contains("a connection was refused"))

      // A key of the ring alone is not enough any more.
      let count = await scene.log("n1").matches(of: /a connection was refused/).count
      try await scene.start("n3", wait: false)
      try await scene.eventually("n1 refuses a node without a certificate") {
        await scene.log("n1").matches(of: /a connection was refused/).count > count
      }
      #expect(await !scene.log("n1").contains("peer=n3"))
      await scene.kill("n3")

      // A list that is out of date is not taken: with it nobody would be believed, and every link would end.
      let list = try Data(contentsOf: URL(filePath: "\(authority)/revoked.pem"))
      try await expireList()
      kill(await scene.pid("n1"), SIGHUP)
      try await scene.eventually("the list is refused") {
        await scene.log("n1").contains(/stay as they are.*cluster.tls.crl.*the revocation list is out of date/)
      }
      #expect(try await scene.run("still", on: "r", "echo $HERO_NODE", at: "n1") == ["success": "n2\n"])
      #expect(await !scene.log("n1").contains("not believed any more"))
      try list.write(to: URL(filePath: "\(authority)/revoked.pem"))

      try await certs("revoke", "n2", "--authority", authority)
      let start = ContinuousClock.now
      kill(await scene.pid("n1"), SIGHUP)
      try await scene.eventually("the link of a revoked certificate ends") {
        await scene.log("n1").contains(/a peer link broke.*peer=n2.*its certificate is not believed any more/)
      }
      #expect(ContinuousClock.now - start < .seconds(1))
      try await scene.eventually("it is refused afterwards") {
        await scene.log("n1").contains(/a connection was refused.*its certificate was revoked/)
      }
      try await certs("issue", "n2", "--authority", authority, "--dns", "n2", "--replace")
      kill(await scene.pid("n2"), SIGHUP)
      try await scene.eventually("a new certificate makes a link again") {
        let result = try? await scene.run("two-\(UInt64.random(in: 0 ... .max))", on: "r", "echo $HERO_NODE", at: "n1")
        return result == ["success": "n2\n"]
      }
    }
  }

  @Test("are refused to a node whose certificate is for another name")
  func otherName() async throws {
    try await certs("init", "--out", authority)
    try await certs("issue", "n2", "--authority", authority, "--dns", "n2")
    try await ClusterScene.run { scene async throws in
      try await scene.start("n1", wait: false, environment: environment("n2", of: authority))
      let end = await scene.ended("n1")
      #expect(end.code == 2, "\(end)")
      #expect(end.log.contains("cluster.tls.certificate: "), "\(end)")
      #expect(end.log.contains("expected a certificate for this node, DNS:n1, but it is for DNS:n2"), "\(end)")
    }
  }
}
