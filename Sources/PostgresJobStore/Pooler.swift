/// Whether a pooler between node and database keeps a connection's session together.
///
/// What a node sets for its session, what it has prepared and what it listens to is of no use where each transaction goes to
/// any session that is free. Such a pooler would take the node's calls one by one and refuse them later, so it is refused
/// at the start.
enum Pooler {
  /// - Parameters:
  ///   - first: a connection in no transaction.
  ///   - another: makes a second one.
  /// - Throws: `notConnected`, in one sentence that says what to do.
  static func refuse(
    behind first: PostgresConnection, another: () async throws(PostgresError) -> PostgresConnection
  ) async throws(PostgresError) {
    let token = "\(UInt64.random(in: .min ... .max))"
    let mark = Statement(
      sql: "SELECT pg_backend_pid()::bigint, set_config('hero.session', $1, false)", parameters: [.text(token)])
    // A database that does not know these is none of PostgreSQL's, nor has its poolers.
    guard let row = try? await first.run([mark], within: .seconds(5)).get()[0].first, let session = row.int(0),
      session != first.announcedSession
    else { return }
    let second = try await another()
    defer { second.close() }
    let look = Statement(sql: "SELECT coalesce(current_setting('hero.session', true), '')")
    // The second is in a transaction, and has a session to itself: the first one's, if that is not kept for the first.
    switch await second.run([.begin, look], within: .seconds(5)) {
    case .success(let results): if results[1].first?.text(0) == token { throw inTransactionMode }
    case .failure(.unanswered):
      throw .notConnected(
        "the pooler before the database gives this node no second connection; its pool must have room for all connections"
          + " of all nodes (default_pool_size of PgBouncer)")
    case .failure(let error): throw error
    }
    for _ in 0..<3 {
      guard case .success(let results) = await first.run([look], within: .seconds(5)),
        results[0].first?.text(0) == token
      else { throw inTransactionMode }
    }
  }

  private static let inTransactionMode = PostgresError.notConnected(
    "the connection goes through a pooler that does not keep sessions together; let it keep them (pool_mode = session of"
      + " PgBouncer), or name the server itself in store.postgres.url")
}
