/// What a session sets for itself, whatever the server, the database or the role has as its default.
enum SessionSettings: Sendable {
  case writer, reader, control, migration

  /// For how long a statement that only reads is worked on.
  static let readingTime = Duration.seconds(30)

  private var pairs: [(name: String, value: String)] {
    // Sessions of a node that has vanished, or stands still, hold nothing that others wait for. A session that waits for
    // work is none of those.
    let common: [(name: String, value: String)] = [
      ("idle_session_timeout", "0"), ("idle_in_transaction_session_timeout", "5s"), ("transaction_timeout", "0"),
      ("client_connection_check_interval", "2s"), ("tcp_keepalives_idle", "5"), ("tcp_keepalives_interval", "2"),
      ("tcp_keepalives_count", "3"), ("tcp_user_timeout", "10000"),
      // Guards wait for the locks of others, and then see what those have changed.
      ("default_transaction_isolation", "read committed"),
    ]
    // A statement that waits for somebody else's lock is ended by the server, so that its session is free again.
    switch self {
    // A COMMIT may wait for its standby.
    case .writer: return common + [("lock_timeout", "3s"), ("statement_timeout", "0")]
    // Only a renewal writes there.
    case .reader:
      let time = "\(SessionSettings.readingTime.components.seconds)s"
      return common + [("lock_timeout", "2s"), ("statement_timeout", time), ("synchronous_commit", "local")]
    case .migration: return common + [("lock_timeout", "0"), ("statement_timeout", "0")]
    // Neither the lease nor a notification needs the standby: a standby that takes over counts leases anew, and whoever
    // has a connection to it asks what has changed. So a standby that is lost makes no lease end.
    case .control:
      return common + [("lock_timeout", "1s"), ("statement_timeout", "0"), ("synchronous_commit", "local")]
    }
  }

  /// Sets them; what a database does not know, or refuses, stays as it is.
  func apply(to connection: PostgresConnection) async {
    let all = Statement(
      sql: """
        SELECT set_config(s.name, x.value, false) FROM unnest($1::text[], $2::text[]) AS x(name, value)
        JOIN pg_settings AS s ON s.name = x.name
        """, parameters: [.texts(pairs.map(\.name)), .texts(pairs.map(\.value))])
    guard case .failure(.refused) = await connection.run([all], within: .seconds(5)) else { return }
    for (name, value) in pairs {
      let one = Statement(sql: "SELECT set_config($1, $2, false)", parameters: [.text(name), .text(value)])
      _ = await connection.run([one], within: .seconds(5))
    }
  }
}
