import Glibc
import JSONRPC
import TLSFixtures
import Testing

@testable import hero_supervisor

@Suite("cluster certs", .timeLimit(.minutes(5)))
struct CertsCommandTests {
  private let directory = TemporaryDirectory()
  private var authority: String { "\(directory.path)/authority" }

  private func certs(_ arguments: String...) async throws -> CommandLineTool.Outcome {
    let tool = try CommandLineTool(["cluster", "certs"] + arguments)
    try tool.start()
    return await tool.outcome()
  }

  private func mode(_ name: String) throws -> mode_t { try FileBytes.read("\(authority)/\(name)").mode & 0o777 }

  private func verify(_ name: String, _ purpose: String) async throws -> Program.Outcome {
    try await Program.run(
      "openssl",
      [
        "verify", "-x509_strict", "-CAfile", "\(authority)/ca.pem", "-crl_check", "-CRLfile",
        "\(authority)/revoked.pem",
        "-purpose", purpose, "\(authority)/\(name).pem",
      ])
  }

  @Test("makes an authority, issues certificates that openssl believes, and takes them back")
  func life() async throws {
    let made = try await certs("init", "--out", authority)
    #expect(
      made.status == 0 && made.error == "" && made.output.hasPrefix("made an authority in \(authority), valid until "))
    #expect(try mode("ca.key") == 0o600 && mode("ca.pem") == 0o644 && mode("revoked.pem") == 0o644)

    let node = try await certs(
      "issue", "node-1", "--authority", authority, "--dns", "node-1.example", "--ip", "10.0.0.1")
    #expect(node.status == 0 && node.output.contains(" for the node node-1, valid until "), "\(node)")
    #expect(try mode("node-1.key") == 0o600 && mode("node-1.pem") == 0o644)
    let client = try await certs("issue", "deployer", "--authority", authority, "--days", "90", "--json")
    let answer = try JSON.parse(client.output)
    #expect(answer["certificate"]?.stringValue == "\(authority)/deployer.pem", "\(client)")
    #expect(answer["key"]?.stringValue == "\(authority)/deployer.key")
    #expect(try await verify("node-1", "sslserver").status == 0)
    #expect(try await verify("deployer", "sslclient").status == 0)
    #expect(try await verify("deployer", "sslserver").status != 0)

    let revoked = try await certs("revoke", "deployer", "--authority", authority)
    #expect(revoked.output == "revoked the certificate of deployer in \(authority)/revoked.pem\n", "\(revoked)")
    let verdict = try await verify("deployer", "sslclient")
    #expect(verdict.status != 0 && verdict.output.contains("certificate revoked"))
    #expect(try await verify("node-1", "sslserver").status == 0)

    // The next one of that name is another one.
    let again = try await certs("issue", "deployer", "--authority", authority)
    #expect(
      again.status == 2 && again.error.contains("deployer.pem is there already") && again.error.contains("--replace"))
    #expect(try await certs("issue", "deployer", "--authority", authority, "--replace").status == 0)
    #expect(try await verify("deployer", "sslclient").status == 0)
    let both = try await certs("revoke", "deployer", "--authority", authority, "--json")
    #expect(try JSON.parse(both.output)["certificates"] == 2 && JSON.parse(both.output)["new"] == 1)
    #expect(try await verify("deployer", "sslclient").status != 0)
  }

  @Test("keeps an authority that is there, and names what is wrong with its arguments")
  func errors() async throws {
    #expect(try await certs("init", "--out", authority).status == 0)
    let key = try FileBytes.read("\(authority)/ca.key").bytes
    let twice = try await certs("init", "--out", authority)
    #expect(twice.status == 2 && twice.error.contains("there is an authority in \(authority) already"))
    #expect(try FileBytes.read("\(authority)/ca.key").bytes == key)

    for (arguments, words) in [
      (["issue", "a/b", "--authority", authority], "NAME must be 1 to 64 letters"),
      (["issue", "ca", "--authority", authority], "NAME must be"),
      (["issue", "-x", "--authority", authority], "Missing expected argument"),
      (["issue", "n", "--authority", authority, "--ip", "10.0.0"], "--ip must be a numeric address, got \"10.0.0\""),
      (["issue", "n", "--authority", authority, "--dns", "a b"], "cannot issue n: \"a b\" is not the name of a host"),
      (["issue", "n", "--authority", authority, "--days", "0"], "--days must be a number from 1 to 36500, got 0"),
      (["issue", "n", "--authority", "\(directory.path)/none"], "cluster certs init"),
      (["revoke", "nobody", "--authority", authority], "has issued no certificate for nobody"),
    ] {
      let tool = try CommandLineTool(["cluster", "certs"] + arguments)
      try tool.start()
      let outcome = await tool.outcome()
      #expect(outcome.status == 2 && outcome.error.contains(words) && outcome.output == "", "\(arguments): \(outcome)")
    }
    directory.write("", to: "authority/ca.key")
    let damaged = try await certs("issue", "n", "--authority", authority)
    #expect(damaged.status == 2 && damaged.error.contains("\(authority)/ca.key: there is no private key in it"))
  }

  @Test("loses no certificate when several are issued at once")
  func atOnce() async throws {
    #expect(try await certs("init", "--out", authority).status == 0)
    try await withThrowingTaskGroup(of: Int32.self) { group in
      for n in 0..<8 { group.addTask { try await certs("issue", "node-\(n)", "--authority", authority).status } }
      for try await status in group { #expect(status == 0) }
    }
    let lines = String(decoding: try FileBytes.read("\(authority)/issued").bytes, as: UTF8.self).split(separator: "\n")
    #expect(lines.count == 8 && Set(lines.map { $0.split(separator: " ")[0] }).count == 8)
  }
}
