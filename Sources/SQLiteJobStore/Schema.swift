import GRDB

// The tables, as an append-only list of migrations: `PRAGMA user_version` counts those that a file has.
//
// `seq` is the order of creation; `queue_order` the order of queueing (`QueuePosition` and a count in
// its lower bits), kept when a job is queued again, and on its way to another node. Status is a small
// integer (`JobRow.number`). Payloads and outputs are blobs, so that any byte survives. Each index costs an insert about a
// microsecond; these are the ones that a filter or a start needs.

enum Schema {
  /// "Hero" in ASCII, so that file(1) and we know the file again.
  static let applicationID = 0x4865_726F

  static let migrations = [
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    INSERT INTO meta VALUES ('instance', lower(hex(randomblob(16))));

    CREATE TABLE runners (
      seq INTEGER PRIMARY KEY,
      name TEXT NOT NULL UNIQUE,
      queue TEXT NOT NULL,
      is_stopped INTEGER NOT NULL
    );

    CREATE TABLE jobs (
      seq INTEGER PRIMARY KEY,
      id TEXT NOT NULL UNIQUE,
      runner TEXT NOT NULL,
      executor TEXT NOT NULL,
      caller_id TEXT NOT NULL,
      context_id TEXT NOT NULL,
      payload BLOB NOT NULL,
      timeout REAL NOT NULL,
      environment BLOB,
      status INTEGER NOT NULL,
      attempt INTEGER NOT NULL,
      created_at INTEGER NOT NULL,
      updated_at INTEGER NOT NULL,
      started_at INTEGER,
      completed_at INTEGER,
      queue_order INTEGER,
      result BLOB,
      pid INTEGER,
      start_ticks INTEGER,
      boot_id TEXT
    );
    CREATE INDEX jobs_unfinished ON jobs (queue_order) WHERE status IN (1, 2);
    CREATE INDEX jobs_by_runner ON jobs (runner);
    CREATE INDEX jobs_by_status ON jobs (status);
    CREATE INDEX jobs_by_caller ON jobs (caller_id);
    CREATE INDEX jobs_by_context ON jobs (context_id);

    CREATE TABLE outputs (
      seq INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
      stdout BLOB,
      stderr BLOB NOT NULL,
      stdout_dropped INTEGER NOT NULL,
      stderr_dropped INTEGER NOT NULL
    );
    """,
    // Runners change their owner; `new_owner` is set while jobs of one that was lost remain here.
    """
    ALTER TABLE runners ADD COLUMN epoch INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE runners ADD COLUMN new_owner TEXT;
    """,
    // Lists go by (`created_at`, `seq`), and `seq`, the rowid, is the last column of every index. `query` merges the
    // statuses where none is asked for, so that each index serves its filter with a status and without.
    """
    DROP INDEX jobs_by_runner;
    DROP INDEX jobs_by_status;
    DROP INDEX jobs_by_caller;
    DROP INDEX jobs_by_context;
    CREATE INDEX jobs_by_time ON jobs (created_at);
    CREATE INDEX jobs_by_status ON jobs (status, created_at);
    CREATE INDEX jobs_by_runner ON jobs (runner, status, created_at);
    CREATE INDEX jobs_by_caller ON jobs (caller_id, status, created_at);
    CREATE INDEX jobs_by_context ON jobs (context_id, status, created_at);
    """,
    // Jobs on their way from one node's store to another's (`Supervisor/JobTransfer.swift`).
    """
    CREATE TABLE incoming (
      seq INTEGER PRIMARY KEY,
      transfer TEXT NOT NULL UNIQUE,
      giver TEXT NOT NULL,
      id TEXT NOT NULL,
      runner TEXT NOT NULL,
      executor TEXT NOT NULL,
      caller_id TEXT NOT NULL,
      context_id TEXT NOT NULL,
      payload BLOB NOT NULL,
      timeout REAL NOT NULL,
      environment BLOB,
      status INTEGER NOT NULL,
      attempt INTEGER NOT NULL,
      created_at INTEGER NOT NULL,
      updated_at INTEGER NOT NULL,
      started_at INTEGER,
      completed_at INTEGER,
      queue_order INTEGER,
      result BLOB,
      pid INTEGER,
      start_ticks INTEGER,
      boot_id TEXT
    );
    CREATE TABLE moved (
      transfer TEXT PRIMARY KEY,
      id TEXT NOT NULL,
      runner TEXT NOT NULL,
      receiver TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
    // When a job ended by the time that the store counts (`StoreClock`), for the retention. Jobs that ended before this
    // migration count as if they had ended with it.
    """
    ALTER TABLE jobs ADD COLUMN ended INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX jobs_by_end ON jobs (ended, completed_at) WHERE status >= 3;
    """,
  ]

  /// Brings a file to the present version, or refuses it. Within one transaction a migration.
  static func migrate(_ database: Database) throws {
    let version = try version(of: database)
    for number in version..<migrations.count {
      try database.inTransaction(.immediate) {
        try database.execute(sql: migrations[number])
        try database.execute(sql: "PRAGMA application_id = \(applicationID); PRAGMA user_version = \(number + 1)")
        return .commit
      }
    }
  }

  /// Refuses a file that is not of the present version.
  static func check(_ database: Database) throws {
    let version = try version(of: database)
    guard version == migrations.count else {
      throw SQLiteJobStoreError.olderVersion(found: version, known: migrations.count)
    }
  }

  /// How many migrations a file has; 0 of an empty one.
  private static func version(of database: Database) throws -> Int {
    let application = try Int.fetchOne(database, sql: "PRAGMA application_id") ?? 0
    let version = try Int.fetchOne(database, sql: "PRAGMA user_version") ?? 0
    let isEmpty = try Int.fetchOne(database, sql: "SELECT count(*) FROM sqlite_master") == 0
    guard application == applicationID || (isEmpty && application == 0) else { throw SQLiteJobStoreError.foreignFile }
    guard version <= migrations.count else {
      throw SQLiteJobStoreError.newerVersion(found: version, known: migrations.count)
    }
    return version
  }
}
