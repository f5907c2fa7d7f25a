import Supervisor

// The tables, as an append-only list of migrations: the row of `hero_schema` counts those that a database has.
//
// Several nodes may start at once: each migrates in one transaction, behind an advisory lock where the database has such
// locks, and behind the row of `hero_schema` everywhere. Only statements are used that CockroachDB and YugabyteDB
// document as well (docs/operations.md); where a database ends the transaction before each of them, IF NOT EXISTS lets the
// next node go on.
//
// `seq` and `queue_order` come from one sequence, taken once a transaction and spread over its rows (`order_base`), so
// that they are unique and grow. Payloads, results and what callers name themselves are BYTEA, so that any byte survives.
//
// Each index is one that a filter, a queue or the retention needs. Lists go by (`created_at`, `seq`), and a list without a
// status is merged of those of each status. A planner may think that a list of all jobs, filtered row by row, is cheaper
// than the jobs of one runner, since its rows lie side by side; it is wrong by seconds when the newest jobs are others'. So
// no index has all jobs by time, and the one by status alone is used only by those who write `status + 0`.

enum Schema {
  struct Migration {
    let statements: [String]
    /// Whether nodes that do not know it may still write.
    let allowsOlderWriters: Bool
  }

  static let migrations = [
    Migration(
      statements: [
        "CREATE SEQUENCE IF NOT EXISTS hero_order",
        """
        CREATE TABLE IF NOT EXISTS hero_nodes (
          session BIGINT PRIMARY KEY,
          name TEXT NOT NULL,
          instance TEXT NOT NULL,
          address TEXT,
          writer BIGINT NOT NULL,
          lease_until TIMESTAMPTZ NOT NULL
        )
        """,
        """
        CREATE TABLE IF NOT EXISTS hero_runners (
          name TEXT PRIMARY KEY,
          seq BIGINT NOT NULL,
          queue TEXT NOT NULL,
          is_stopped BOOLEAN NOT NULL,
          epoch BIGINT NOT NULL,
          owner TEXT NOT NULL,
          session BIGINT NOT NULL
        )
        """,
        """
        CREATE TABLE IF NOT EXISTS hero_jobs (
          id TEXT PRIMARY KEY,
          seq BIGINT NOT NULL,
          runner TEXT NOT NULL,
          executor TEXT NOT NULL,
          caller_id BYTEA NOT NULL,
          context_id BYTEA NOT NULL,
          payload BYTEA NOT NULL,
          timeout DOUBLE PRECISION NOT NULL,
          environment BYTEA,
          status BIGINT NOT NULL,
          attempt BIGINT NOT NULL,
          created_at TIMESTAMPTZ NOT NULL,
          updated_at TIMESTAMPTZ NOT NULL,
          started_at TIMESTAMPTZ,
          completed_at TIMESTAMPTZ,
          queue_order BIGINT,
          result BYTEA,
          pid BIGINT,
          start_ticks BIGINT,
          boot_id TEXT,
          step BIGINT NOT NULL,
          session BIGINT,
          node TEXT,
          stdout BYTEA,
          stderr BYTEA,
          stdout_dropped BIGINT,
          stderr_dropped BIGINT
        )
        """,
        "CREATE INDEX IF NOT EXISTS hero_jobs_unfinished ON hero_jobs (runner, queue_order) WHERE status IN (1, 2)",
        "CREATE INDEX IF NOT EXISTS hero_jobs_expiry ON hero_jobs (completed_at) WHERE status IN (3, 4, 5)",
        "CREATE INDEX IF NOT EXISTS hero_jobs_by_status ON hero_jobs ((status + 0), created_at, seq)",
        "CREATE INDEX IF NOT EXISTS hero_jobs_by_runner ON hero_jobs (runner, status, created_at, seq)",
        "CREATE INDEX IF NOT EXISTS hero_jobs_by_caller ON hero_jobs (caller_id, status, created_at, seq)",
        "CREATE INDEX IF NOT EXISTS hero_jobs_by_context ON hero_jobs (context_id, status, created_at, seq)",
      ], allowsOlderWriters: false),
    // Leases without a clock (docs/decisions/0016).
    Migration(
      statements: [
        "ALTER TABLE hero_nodes ADD COLUMN IF NOT EXISTS beat BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE hero_nodes ADD COLUMN IF NOT EXISTS length DOUBLE PRECISION NOT NULL DEFAULT 600",
        "ALTER TABLE hero_nodes ADD COLUMN IF NOT EXISTS is_over BOOLEAN NOT NULL DEFAULT false",
        "ALTER TABLE hero_nodes DROP COLUMN IF EXISTS lease_until",
      ], allowsOlderWriters: false),
  ]

  /// Two numbers that no other program is likely to lock: "Hero", "schm".
  private static let lock = "SELECT pg_advisory_xact_lock(1214607983, 1935894637)"

  /// What a database has.
  struct State {
    var version: Int
    /// Nodes that know fewer migrations than this must not write.
    var oldestWriter: Int
    /// Whether a node of this version may write.
    var isWritable: Bool { version >= migrations.count && oldestWriter <= migrations.count }
  }

  /// Brings a database to the present version, if it is older.
  static func migrate(_ connection: PostgresConnection) async throws(PostgresError) -> State {
    if let state = try await read(connection), state.version >= migrations.count { return state }
    // Databases without advisory locks refuse the function; there the table's row keeps the order.
    var locks = [Statement(sql: lock)]
    if case .failure(.refused(let state, _)) = await connection.run([.begin] + locks + [.commit], within: .seconds(600))
    {
      guard state == "42883" || state == "0A000" else {
        throw PostgresError.refused(state: state, message: "cannot lock")
      }
      locks = []
    }
    _ = try await run(
      connection,
      [.begin] + locks + [
        Statement(
          sql: """
            CREATE TABLE IF NOT EXISTS hero_schema (
              id BIGINT PRIMARY KEY, version BIGINT NOT NULL, oldest_writer BIGINT NOT NULL)
            """),
        Statement(sql: "INSERT INTO hero_schema VALUES (1, 0, 0) ON CONFLICT (id) DO NOTHING"), .commit,
      ])
    while true {
      guard let state = try await read(connection) else {
        throw .refused(state: "42P01", message: "the table hero_schema is not there")
      }
      guard state.version < migrations.count else { return state }
      let next = migrations[state.version]
      let version = Int64(state.version + 1)
      let oldest = next.allowsOlderWriters ? Int64(state.oldestWriter) : version
      // Whoever comes second waits for the row, finds it changed, is refused, and looks again.
      let take = Statement.fence(
        "another node migrates",
        unless: "SELECT 1 FROM hero_schema WHERE id = 1 AND version = $1 FOR UPDATE", [.int(Int64(state.version))])
      let note = Statement(
        sql: "UPDATE hero_schema SET version = $1, oldest_writer = $2 WHERE id = 1",
        parameters: [.int(version), .int(oldest)])
      let answer = await connection.run(
        [.begin] + locks + [take] + next.statements.map { Statement(sql: $0) } + [note, .commit], within: .seconds(600))
      switch answer {
      case .success: continue
      // Also where another node made the same table at the same time, outside of a transaction.
      case .failure(let error)
      where error.isFenced || error.isConflict || error.state == "23505" || error.state == "42P07":
        continue
      case .failure(let error): throw error
      }
    }
  }

  /// `nil` when there is nothing yet.
  static func read(_ connection: PostgresConnection) async throws(PostgresError) -> State? {
    let query = Statement(sql: "SELECT version, oldest_writer FROM hero_schema WHERE id = 1")
    switch await connection.run([query]) {
    case .success(let results):
      return results[0].first.map { State(version: Int($0.int(0)!), oldestWriter: Int($0.int(1)!)) }
    case .failure(let error) where error.isForeignSchema: return nil
    case .failure(let error): throw error
    }
  }

  private static func run(
    _ connection: PostgresConnection, _ statements: [Statement]
  ) async throws(PostgresError) -> [QueryResult] {
    while true {
      switch await connection.run(statements, within: .seconds(600)) {
      case .success(let results): return results
      // Two that create the same table at once, in a database without locks.
      case .failure(let error) where error.isConflict || error.state == "23505" || error.state == "42P07": continue
      case .failure(let error): throw error
      }
    }
  }
}
