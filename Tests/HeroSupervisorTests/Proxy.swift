import Foundation
import JSONRPC
import PostgresServer
import Testing

/// A server that `deploy/` has a recipe for, run with that recipe before a node: on a port of 127.0.0.1, with a certificate
/// of its own, and with all that it writes in a directory of its own.
final class Proxy {
  enum Kind: String, Sendable {
    case nginx, haproxy, caddy

    /// Whether this machine has it, and what the test asks with.
    var isInstalled: Bool {
      [path, Proxy.curl, Proxy.openssl].allSatisfy { FileManager.default.isExecutableFile(atPath: $0) }
    }

    fileprivate var path: String { self == .caddy ? "/usr/bin/caddy" : "/usr/sbin/\(self)" }

    fileprivate var recipe: String {
      switch self {
      case .nginx: "nginx.conf"
      case .haproxy: "haproxy.cfg"
      case .caddy: "Caddyfile"
      }
    }
  }

  struct Answer {
    let status: Int
    let text: String
  }

  struct NotReady: Error { let log: String }

  private static let curl = "/usr/bin/curl"
  private static let openssl = "/usr/bin/openssl"
  private static let recipes = #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined() + "/deploy"

  private let kind: Kind
  private let port: UInt16
  private let directory = TemporaryDirectory()
  private let server: CommandLineTool

  /// Starts it, and waits until it passes requests on.
  /// - Parameter node: where the node's API listens.
  init(_ kind: Kind, before node: String) async throws {
    self.kind = kind
    port = try PostgresServer.freePort()
    let files = directory.path
    let certificate = try CommandLineTool(
      [
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=hero.example", "-addext",
        "subjectAltName=DNS:hero.example,DNS:localhost", "-keyout", "\(files)/key", "-out", "\(files)/certificate",
      ], program: Self.openssl)
    try certificate.start()
    try #require(await certificate.outcome().status == 0)
    server = try CommandLineTool(try Self.words(kind, node, port, in: directory), program: kind.path)
    try server.start()

    let deadline = ContinuousClock.now + .seconds(120)
    while try await ask("/health", at: "localhost").text != "alive\n" {
      guard server.isRunning, ContinuousClock.now < deadline else { throw NotReady(log: server.errorSoFar) }
      try await Task.sleep(for: .milliseconds(20))
    }
  }

  func stop() async {
    server.terminate()
    _ = await server.outcome()
  }

  /// What the server is called with. Of the recipe only that is replaced which differs from machine to machine.
  private static func words(
    _ kind: Kind, _ node: String, _ port: UInt16, in directory: TemporaryDirectory
  ) throws -> [String] {
    var recipe = try String(contentsOfFile: "\(recipes)/\(kind.recipe)", encoding: .utf8)
    func replace(_ words: String, with others: String) throws {
      try #require(recipe.contains(words), "\(kind.recipe) has no \(words)")
      recipe = recipe.replacing(words, with: others)
    }
    let files = directory.path
    try replace("127.0.0.1:8082", with: node)
    switch kind {
    case .nginx:
      try replace("listen 443 ssl;", with: "listen 127.0.0.1:\(port) ssl;")
      try replace("/etc/ssl/certs/hero.example.pem", with: "\(files)/certificate")
      try replace("/etc/ssl/private/hero.example.key", with: "\(files)/key")
      directory.write(recipe, to: "recipe.conf")
      let base = directory.write(
        """
        daemon off; master_process off; pid \(files)/pid; error_log stderr;
        events {}
        http {
          access_log off;
          client_body_temp_path \(files)/body; proxy_temp_path \(files)/proxy; fastcgi_temp_path \(files)/fastcgi;
          uwsgi_temp_path \(files)/uwsgi; scgi_temp_path \(files)/scgi;
          include \(files)/recipe.conf;
        }
        """, to: "nginx.conf")
      return ["-p", files, "-e", "stderr", "-c", base]
    case .haproxy:
      try replace("bind :443 ", with: "bind 127.0.0.1:\(port) ")
      try replace("/etc/haproxy/hero.example.pem", with: "\(files)/both.pem")
      let pem = try ["certificate", "key"].map { try String(contentsOfFile: "\(files)/\($0)", encoding: .utf8) }
      directory.write(pem.joined(), to: "both.pem")
      let base = directory.write(
        "defaults\n  timeout client 1m\n  timeout server 1m\n  timeout connect 5s\n", to: "base.cfg")
      return ["-db", "-f", base, "-f", directory.write(recipe, to: "recipe.cfg")]
    case .caddy:
      try replace(
        "\nhero.example {\n",
        with: """

          {
            admin off
            auto_https disable_redirects
          }
          https://hero.example:\(port), https://localhost:\(port) {
            bind 127.0.0.1
            tls \(files)/certificate \(files)/key

          """)
      return ["run", "--adapter", "caddyfile", "--config", directory.write(recipe, to: "Caddyfile")]
    }
  }

  // MARK: Requests

  /// GET of a page, or with a body POST; status 0 when there is no answer.
  func ask(_ path: String, at host: String, key: String? = nil, body: JSON? = nil) async throws -> Answer {
    var words = [
      "-sS", "--cacert", "\(directory.path)/certificate", "--resolve", "\(host):\(port):127.0.0.1", "--max-time", "60",
      "-w", "\n%{http_code}", "https://\(host):\(port)\(path)",
    ]
    if let key { words += ["-H", "Authorization: Bearer \(key)"] }
    if let body { words += ["-H", "Content-Type: application/json", "-d", body.text] }
    let curl = try CommandLineTool(words, program: Self.curl)
    try curl.start()
    let output = await curl.outcome().output
    let end = try #require(output.lastIndex(of: "\n"), "curl says no status")
    return Answer(status: Int(output[output.index(after: end)...]) ?? 0, text: String(output[..<end]))
  }

  /// Calls methods without parameters, in a batch.
  /// - Returns: the answer to each.
  func call(_ methods: [String], at host: String, key: String? = nil) async throws -> [String: JSON] {
    let calls = methods.map { ["jsonrpc": "2.0", "id": .string($0), "method": .string($0)] as JSON }
    let answer = try await ask("/rpc", at: host, key: key, body: .array(calls))
    #expect(answer.status == 200, "\(answer.text)")
    let answers = try #require(try JSON.parse(Array(answer.text.utf8)).arrayValue)
    return Dictionary(uniqueKeysWithValues: answers.map { ($0["id"]?.stringValue ?? "", $0) })
  }
}
