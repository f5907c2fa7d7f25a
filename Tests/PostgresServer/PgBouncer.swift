import Foundation

/// A pooler before a server of the tests' own, as `scripts/pgbouncer` makes it.
package final class PgBouncer: Sendable {
  private let directory: String
  package let port: UInt16

  /// Whether `scripts/pgbouncer install` was run.
  package static let isInstalled = FileManager.default.isExecutableFile(
    atPath: "\(PostgresServer.scripts)/../.build/pgbouncer/usr/sbin/pgbouncer")

  /// - Parameter mode: `session`, `transaction` or `statement`.
  package init(before server: PostgresServer, mode: String) throws {
    directory = "\(NSTemporaryDirectory())/hero-pgbouncer-\(getpid())-\(UUID().uuidString.prefix(8))"
    port = try PostgresServer.freePort()
    _ = try PostgresServer.output(
      "timeout", ["60", "\(PostgresServer.scripts)/pgbouncer", "start", directory, "\(port)", "\(server.port)", mode])
  }

  package func remove() {
    _ = try? PostgresServer.output("timeout", ["60", "\(PostgresServer.scripts)/pgbouncer", "stop", directory])
  }
}
