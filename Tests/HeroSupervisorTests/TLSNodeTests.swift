import EventLoop
import Foundation
import Glibc
import Logging
import SupervisorClient
import Synchronization
import TLS
import TLSFixtures
import Testing

@testable import hero_supervisor

/// A node whose API speaks HTTPS, as its operators meet it.
@Suite("A node with api.tls", .timeLimit(.minutes(5)))
struct TLSNodeTests {
  private let authority = TestAuthority()
  private let files: CertificateFiles

  init() throws {
    files = try CertificateFiles()
    try files.write(authority.pem, to: "ca.pem")
    try install(authority.node())
  }

  /// Puts a certificate and its key where the node's configuration has them.
  private func install(_ issued: CertificateAuthority.Issued, keyMode: Int = 0o600) throws {
    try files.write(issued.certificate, to: "node.pem")
    try files.write(issued.key, to: "node.key", mode: keyMode)
  }

  private func start(
    _ tls: String = #"{"certificate": "node.pem", "key": "node.key"}"#, cluster: String = "{}"
  ) async throws -> CommandLineTool {
    let config = try files.write(
      Array(
        #"""
        {"api": {"listen": "127.0.0.1:0", "tls": \#(tls)}, "cluster": \#(cluster), "auth": {"open_methods": true}}
        """#.utf8), to: "c.json")
    let node = try CommandLineTool(["node", "--name", "n1", "--config", config])
    try node.start()
    return node
  }

  private func stop(_ node: CommandLineTool) async {
    node.terminate()
    let end = await node.outcome()
    #expect(end.status == 0, "\(end.error)")
  }

  private func run(_ node: CommandLineTool, _ arguments: String..., environment: [String: String] = [:]) async throws
    -> CommandLineTool.Outcome
  {
    let endpoint = try await node.endpoint()
    // The command line shows this key by itself at the unix socket only.
    let key = FileManager.default.contents(atPath: "\(node.directoryPath)/admin.secret") ?? Data()
    let own = ["HERO_ENDPOINTS": "https://\(endpoint)", "HERO_SECRET": String(decoding: key, as: UTF8.self)]
    let tool = try CommandLineTool(arguments, environment: own.merging(environment) { $1 })
    try tool.start()
    return await tool.outcome()
  }

  private func metric(_ name: String, _ client: SupervisorClient) async throws -> Int64 {
    let page = String(decoding: try await client.get("/metrics").body, as: UTF8.self)
    let line = try #require(page.split(separator: "\n").first { $0.hasPrefix("\(name) ") }, "\(page)")
    return Int64(try #require(Double(line.split(separator: " ")[1])))
  }

  @Test("serves the command line, which checks who it is")
  func commands() async throws {
    let node = try await start(cluster: #"{"listen": "127.0.0.1:0"}"#)
    let endpoint = try await node.endpoint()
    #expect(node.errorSoFar.contains("api=https://\(endpoint)/"))
    let ca = ["HERO_CA_FILE": "\(files.path)/ca.pem"]
    #expect(try await run(node, "runner", "register", "r", environment: ca).output == "registered r\n")
    let hello = try await run(node, "job", "run", "-r", "r", "--ca-file", "\(files.path)/ca.pem", "echo hello")
    #expect(hello.status == 0 && hello.output == "hello\n", "\(hello)")

    let members = try await run(node, "cluster", "members", environment: ca)
    #expect(members.output.contains(" https://\(endpoint) "), "as a client would call it: \(members)")

    let unknown = try await run(node, "runner", "list")
    #expect(unknown.status == 3 && unknown.output == "")
    #expect(
      unknown.error == """
        hero-supervisor: cannot make a secure connection to https://\(endpoint): its certificate is signed by an unknown \
        authority (CN = Test authority)
          name the file of the authority that signed it by --ca-file or HERO_CA_FILE

        """)
    let plain = try await run(node, "runner", "list", environment: ["HERO_ENDPOINTS": endpoint])
    #expect(plain.status == 4 && plain.error.contains("this port speaks HTTPS: use https://"), "\(plain)")
    let none = try await run(node, "runner", "list", "--ca-file", "/nowhere")
    #expect(none.status == 2 && none.error == "hero-supervisor: --ca-file: /nowhere: no such file or directory\n")
    let half = try await run(node, "runner", "list", "--tls-key", "\(files.path)/node.key")
    #expect(half.status == 2 && half.error.contains("--tls-certificate and --tls-key"))
    await stop(node)
  }

  @Test("asks for certificates of clients, and refuses those that were revoked")
  func clientCertificates() async throws {
    let (good, bad) = (try authority.client("good"), try authority.client("bad"))
    for (issued, name) in [(good, "good"), (bad, "bad")] {
      try files.write(issued.certificate, to: "\(name).pem")
      try files.write(issued.key, to: "\(name).key")
    }
    try files.write(try authority.authority.revocationList().pem, to: "revoked.pem")
    let node = try await start(
      #"{"certificate": "node.pem", "key": "node.key", "client_ca": "ca.pem", "client_crl": "revoked.pem"}"#)
    func list(_ name: String?) async throws -> CommandLineTool.Outcome {
      var environment = ["HERO_CA_FILE": "\(files.path)/ca.pem"]
      if let name {
        environment["HERO_TLS_CERTIFICATE"] = "\(files.path)/\(name).pem"
        environment["HERO_TLS_KEY"] = "\(files.path)/\(name).key"
      }
      return try await run(node, "runner", "list", environment: environment)
    }
    #expect(try await list("good").status == 0)
    #expect(try await list("bad").status == 0)
    let anonymous = try await list(nil)
    #expect(anonymous.status == 3 && anonymous.error.contains("by --tls-certificate and --tls-key"), "\(anonymous)")

    try files.write(try authority.authority.revocationList(adding: [bad.serial]).pem, to: "revoked.pem")
    node.hangUp()
    #expect(await eventually { node.errorSoFar.contains("the certificate of the API was read again") })
    let refused = try await list("bad")
    #expect(refused.status == 3 && refused.error.contains("certificate revoked"), "\(refused)")
    #expect(try await list("good").status == 0)
    await stop(node)
  }

  @Test(
    "takes new certificates on SIGHUP while clients work, drops no connection, and keeps the old one from bad files")
  func reload() async throws {
    let node = try await start()
    let endpoint = try Endpoint(parsing: "https://\(try await node.endpoint())")
    let loop = try EventLoop()
    loop.start()
    let context = try TLSContext.client(servers: authority.trusted())
    let clients = 8
    let stopped = Flag()
    let counts = Counts(clients)
    let load = Task {
      try await withThrowingTaskGroup(of: Int.self) { group in
        for number in 0..<clients {
          group.addTask {
            let client = SupervisorClient(endpoints: [endpoint], tls: context, loop: loop)
            var calls = 0
            while !stopped.isSet {
              _ = try await client.call("list_runners", timeout: .seconds(60))
              calls += 1
              counts.add(to: number)
            }
            await client.close()
            return calls
          }
        }
        return try await group.reduce(0, +)
      }
    }
    let observer = SupervisorClient(endpoints: [endpoint], tls: context, loop: loop)
    var expected: Int64 = 0
    for n in 1...10 {
      let issued = try authority.node("node-\(n)", days: 10 + n)
      try install(issued)
      expected = issued.notAfter
      node.hangUp()
      #expect(
        await eventually { node.errorSoFar.matches(of: /the certificate of the API was read again/).count == n })
      #expect(await counts.haveAllGrown(), "each client goes on after the reload")
    }
    #expect(try await metric("hero_tls_certificate_expiry_timestamp_seconds", observer) == expected)
    let fresh = try await Program.run(
      "openssl", ["s_client", "-connect", "\(endpoint.authority)", "-CAfile", "\(files.path)/ca.pem"])
    #expect(fresh.output.contains("subject=CN = node-10"), "\(fresh.output)")

    try files.write(Array("nonsense".utf8), to: "node.pem")
    node.hangUp()
    #expect(await eventually { node.errorSoFar.contains("the certificate of the API stays as it is") })
    #expect(node.errorSoFar.contains("api.tls.certificate: \(files.path)/node.pem: there is no certificate in it"))
    let kept = try await Program.run(
      "openssl", ["s_client", "-connect", "\(endpoint.authority)", "-CAfile", "\(files.path)/ca.pem"])
    #expect(kept.output.contains("subject=CN = node-10") && kept.output.contains("Verify return code: 0"))

    #expect(await counts.haveAllGrown())
    stopped.set()
    #expect(try await load.value > 10 * clients, "no call failed, and there were calls between the reloads")
    // Theirs, the observer's, and two of openssl's: nobody had to connect again.
    #expect(try await metric("hero_tls_handshakes_total", observer) == Int64(clients + 3))
    await observer.close()
    await loop.stop()
    await stop(node)
  }

  @Test("says at its start what is wrong with the files, by the names of the settings")
  func badFiles() async throws {
    let other = try authority.node()
    try files.write(other.key, to: "other.key")
    for (tls, words) in [
      (
        #"{"certificate": "none.pem", "key": "node.key"}"#,
        "api.tls.certificate: cannot read \(files.path)/none.pem: no such"
      ),
      (
        #"{"certificate": "node.pem", "key": "other.key"}"#,
        "api.tls.key: \(files.path)/other.key: it is not the key of"
      ),
      (
        #"{"certificate": "node.pem", "key": "node.pem"}"#,
        "api.tls.key: \(files.path)/node.pem: there is no private key"
      ),
      (
        #"{"certificate": "node.key", "key": "node.key"}"#,
        "api.tls.certificate: \(files.path)/node.key: there is no cert"
      ),
      (#"{"certificate": "node.pem"}"#, #"api.tls: "certificate" needs the key "key" beside it"#),
      (#"{"key": "node.key"}"#, #"api.tls: "key" needs the key "certificate" beside it"#),
      (#"{"client_ca": "ca.pem"}"#, #"api.tls: "client_ca" needs the key "certificate" beside it"#),
      (
        #"{"certificate": "node.pem", "key": "node.key", "client_ca": "node.key"}"#,
        "api.tls.client_ca: \(files.path)/node.key: there is no certificate in it"
      ),
      (
        #"{"certificate": "node.pem", "key": "node.key", "client_ca": "ca.pem", "client_crl": "ca.pem"}"#,
        "api.tls.client_crl: \(files.path)/ca.pem: there is no revocation list in it"
      ),
      (#"{"certificate": 7, "key": "node.key"}"#, "api.tls.certificate: expected the path of a file, got 7"),
      (#"{"cert": "node.pem"}"#, "api.tls.cert: unknown key; known here: certificate, key, client_ca, client_crl"),
    ] {
      let outcome = await (try start(tls)).outcome()
      #expect(outcome.status == 2 && outcome.error.contains(words), "\(tls): \(outcome.error)")
    }
  }

  @Test("starts with a certificate that has expired or soon will, and with a key that others may read, and warns")
  func warnings() async throws {
    try install(authority.node(days: -1), keyMode: 0o640)
    let expired = try await start()
    _ = try await expired.endpoint()
    #expect(expired.errorSoFar.contains("api.tls.certificate: \(files.path)/node.pem: the certificate expired on "))
    #expect(expired.errorSoFar.contains("api.tls.key: \(files.path)/node.key is readable by other users (mode 640)"))
    await stop(expired)
    try install(authority.node(days: 20))
    let soon = try await start()
    _ = try await soon.endpoint()
    #expect(soon.errorSoFar.contains(/node.pem: the certificate expires in (19|20) days/), "\(soon.errorSoFar)")
    #expect(!soon.errorSoFar.contains("readable by other users"))
    await stop(soon)
  }
}

/// When a certificate is warned of.
@Suite("The validity of a certificate", .timeLimit(.minutes(5)))
struct CertificateValidityTests {
  @Test("is warned of within 30 days of its end, after it, and before its beginning")
  func warnings() {
    let day: Int64 = 86_400
    let validity = CertificateValidity(notBefore: 1000 * day, notAfter: 1100 * day)
    #expect(validity.warning(at: 1001 * day) == nil && validity.warning(at: 1070 * day) == nil)
    #expect(
      validity.warning(at: 1070 * day + 1)
        == "the certificate expires in 29 days, on 1973-01-05T00:00:00.000Z; renew it")
    #expect(validity.warning(at: 1100 * day)?.contains("expires in 0 days") == true)
    #expect(validity.warning(at: 1100 * day + 1)?.contains("expired on 1973-01-05") == true)
    #expect(validity.warning(at: 1000 * day - 1)?.contains("valid from 1972-09-27") == true)
  }
}

@Suite("The certificate of the API", .timeLimit(.minutes(5)))
struct APICertificateTests {
  @Test("is looked at again and again, and warned of when its end comes near")
  func watch() async throws {
    let (authority, files) = (TestAuthority(), try CertificateFiles())
    let issued = try authority.node(days: 3)
    let paths = TLSFiles(
      certificate: try files.write(issued.certificate, to: "c"), key: try files.write(issued.key, to: "k"))
    let warnings = Warnings()
    let loop = try EventLoop()
    loop.start()
    try await Task(executorPreference: loop) {
      let logger = Logger(label: "test") { _ in warnings }
      let certificate = try APICertificate(paths, on: loop, logger: logger, interval: .milliseconds(5))
      #expect(await eventually { warnings.count >= 3 })
      certificate.close()
    }.value
    await loop.stop()
  }
}

/// Counts warnings about the end of a certificate.
private struct Warnings: LogHandler {
  private final class Count: Sendable {
    let value = Atomic(0)
  }
  private let counter = Count()
  var metadata: Logger.Metadata = [:]
  var logLevel = Logger.Level.info
  var count: Int { counter.value.load(ordering: .relaxed) }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    guard event.level == .warning, "\(event.message)".contains("expires in 2 days") else { return }
    counter.value.add(1, ordering: .relaxed)
  }
}

/// Set by one task, and looked at by others.
private final class Flag: Sendable {
  private let value = Atomic(false)
  var isSet: Bool { value.load(ordering: .relaxed) }
  func set() { value.store(true, ordering: .relaxed) }
}

/// Calls that each of some clients has made.
private final class Counts: Sendable {
  private let counts: Mutex<[Int]>
  init(_ clients: Int) { counts = Mutex([Int](repeating: 0, count: clients)) }
  func add(to client: Int) { counts.withLock { $0[client] += 1 } }

  /// Waits until each client has made another call.
  func haveAllGrown() async -> Bool {
    let before = counts.withLock { $0 }
    return await eventually { zip(before, counts.withLock { $0 }).allSatisfy { $0 < $1 } }
  }
}
