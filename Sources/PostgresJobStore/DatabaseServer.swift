/// Which of several servers a connection is to, so that reads and writes are of the same one.
///
/// After a failover the old primary may still be up, and answer what it knew: "no such job" for one that was acknowledged
/// by the new primary. Addresses tell servers apart badly (one server has several, a proxy has one for many), and a
/// standby has its primary's system identifier. The instant at which the server was started is its own, to a microsecond.
struct DatabaseServer: Sendable {
  /// Host and port that libpq chose from the connection string, for logs.
  let name: String
  /// Microseconds since 2000; `nil` of a database that does not say (CockroachDB, where every node is the same database).
  let started: Int64?
  /// Process of the connection's session at the server; `nil` of a database that does not say.
  let session: Int64?
  /// Whether it took no writes when the connection was made: a standby, or a primary that was set to refuse them.
  let isReadOnly: Bool

  /// Whether the two are certainly not the same server.
  func differs(from other: DatabaseServer?) -> Bool {
    guard let started, let other = other?.started else { return false }
    return started != other
  }

  /// Asks a fresh connection.
  static func ask(_ connection: PostgresConnection) async throws(PostgresError) -> DatabaseServer {
    let name = connection.hostAndPort
    let query = Statement(
      sql: """
        SELECT pg_postmaster_start_time(), current_setting('transaction_read_only') = 'on', pg_backend_pid()::bigint
        """)
    switch await connection.run([query], within: .seconds(5)) {
    case .success(let results):
      let row = results[0].first
      return DatabaseServer(
        name: name, started: row?.int(0), session: row?.int(2), isReadOnly: row?.bool(1) ?? false)
    // A function that is not there, or must not be called.
    case .failure(.refused(let state, _)) where state.hasPrefix("42") || state == "0A000":
      return DatabaseServer(name: name, started: nil, session: nil, isReadOnly: false)
    case .failure(let error): throw error
    }
  }
}
