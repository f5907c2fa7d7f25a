import Foundation
import Synchronization

/// A PostgreSQL server of the tests' own, in a temporary directory, as `scripts/postgres` makes it.
package final class PostgresServer: Sendable {
  package let directory: String
  package let port: UInt16

  package struct Failure: Error, CustomStringConvertible { package let description: String }

  static let scripts = #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined() + "/scripts"
  private static let script = "\(scripts)/postgres"

  /// Started at the first use, and stopped when this process is gone; each test has a database of its own in it.
  package static let shared = Result { try PostgresServer() }

  private init() throws {
    directory = "\(NSTemporaryDirectory())/hero-postgres-\(getpid())-\(UUID().uuidString.prefix(8))"
    port = try Self.freePort()
    // Many tests at once; and no test of this server pulls its plug.
    try Self.run(["start", directory, "\(port)", "max_connections = 700", "fsync = off"])
  }

  /// A server with a life of its own; `remove` ends it.
  /// - Parameters:
  ///   - tls: whether it takes TLS; its certificate is `server.crt` in its directory.
  ///   - environment: of the server.
  package init(settings: [String], tls: Bool = false, environment: [String: String] = [:]) throws {
    directory = "\(NSTemporaryDirectory())/hero-postgres-\(getpid())-\(UUID().uuidString.prefix(8))"
    port = try Self.freePort()
    try Self.run(
      ["start", directory, "\(port)"] + settings,
      environment: environment.merging(tls ? ["POSTGRES_TLS": "1"] : [:]) { $1 })
  }

  /// A standby of another server.
  package init(following primary: PostgresServer) throws {
    directory = "\(NSTemporaryDirectory())/hero-postgres-\(getpid())-\(UUID().uuidString.prefix(8))"
    port = try Self.freePort()
    try Self.run(["standby", directory, "\(port)", "\(primary.port)"])
  }

  /// Whether this machine has the server's programs.
  package static let isInstalled = (try? FileManager.default.contentsOfDirectory(atPath: "/usr/lib/postgresql")) != nil

  package func start() throws { try Self.run(["start", directory, "\(port)"]) }
  package func stop() throws { try Self.run(["stop", directory]) }
  package func kill() throws { try Self.run(["kill", directory]) }
  package func promote() throws { try Self.run(["promote", directory]) }

  package func remove() {
    try? Self.run(["stop", directory])
    try? FileManager.default.removeItem(atPath: directory)
  }

  package func url(_ database: String = "hero") -> String { "postgresql://hero@127.0.0.1:\(port)/\(database)" }

  private static let lastDatabase = Atomic<Int>(0)

  /// A new, empty database.
  package func makeDatabase() throws -> String {
    let name = "test\(Self.lastDatabase.add(1, ordering: .relaxed).newValue)"
    try sql("CREATE DATABASE \(name)")
    return url(name)
  }

  /// Runs what blocks on a thread of its own, since those of the shared pool are few:
  /// `try await PostgresServer.aside { try server.start() }`.
  package static func aside<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
      Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
    }
  }

  /// Runs a statement, and answers what psql prints.
  @discardableResult
  package func sql(_ statement: String, database: String = "hero") throws -> String {
    try Self.output(
      "timeout", ["300", "psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement, url(database)])
  }

  private static func run(_ arguments: [String], environment: [String: String] = [:]) throws {
    // The script waits ten minutes for what takes long; what hangs otherwise is ended a little later.
    _ = try output("timeout", ["900", script] + arguments, environment: environment)
  }

  /// By posix_spawn(3), and with files for what it writes: a pipe's end may be inherited by another test's child, and then
  /// stays open as long as that lives.
  static func output(
    _ program: String, _ arguments: [String], environment added: [String: String] = [:]
  ) throws -> String {
    let base = "\(NSTemporaryDirectory())/hero-postgres-\(UUID().uuidString)"
    let (output, errors) = ("\(base).out", "\(base).err")
    defer { for path in [output, errors] { unlink(path) } }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output, O_WRONLY | O_CREAT, 0o600)
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, errors, O_WRONLY | O_CREAT, 0o600)
    let words = ([program] + arguments).map { strdup($0) } + [nil]
    let variables = ProcessInfo.processInfo.environment.merging(["POSTGRES_OWNER": "\(getpid())"]) { $1 }
      .merging(added) { $1 }
    let environment = variables.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for word in words + environment { free(word) } }
    var pid: pid_t = 0
    var status: Int32 = 0
    guard posix_spawnp(&pid, program, &actions, nil, words, environment) == 0 else {
      throw Failure(description: "cannot start \(program): errno \(errno)")
    }
    while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
    guard status == 0 else {
      let words = (try? String(contentsOfFile: errors, encoding: .utf8)) ?? ""
      throw Failure(description: "\(program) \(arguments.joined(separator: " ")): \(words)")
    }
    return try String(contentsOfFile: output, encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)
  }

  /// A port that nobody listens on just now, below those that the system gives to connections and to listeners that ask
  /// for any (ip(7), `ip_local_port_range`): nobody comes upon it while the server is down.
  package static func freePort() throws -> UInt16 {
    for _ in 0..<1000 {
      let port = UInt16.random(in: 10_000..<32_768)
      if isFree(port) { return port }
    }
    throw Failure(description: "no free port")
  }

  private static func isFree(_ port: UInt16) -> Bool {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
  }
}
