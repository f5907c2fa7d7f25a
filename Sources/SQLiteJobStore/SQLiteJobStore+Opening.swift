import EventLoop
import Foundation
import GRDB
import Glibc
import Logging
import Supervisor

// Opening: the lock, the pragmas, the migrations, and a look at the file when the last process did not close it.

/// What opening found; handed to the actor.
struct OpenedDatabase: Sendable {
  let pool: DatabasePool
  /// `nil` when it was opened for reading only.
  let lock: FileLock?
  let instance: String
  let nextOrder: Int64
  /// As the file has it.
  let clock: StoreClock
  let bootID: String
}

extension SQLiteJobStore {
  /// A file up to this size is checked (`PRAGMA quick_check`) before it is used after a crash; it reads all of it.
  private static let checkedBytes = 64 << 20

  /// Opens the file, or makes it.
  public static func open(
    path: String, loop: EventLoop, options: Options = Options(), logger: Logger
  ) async throws -> SQLiteJobStore {
    let opened = try await loop.blocking { try open(path) }
    let store = SQLiteJobStore(opened, loop: loop, options: options, logger: logger)
    await store.startRetention()
    return store
  }

  private nonisolated static func open(_ path: String) throws -> OpenedDatabase {
    let lock: FileLock
    do throws(FileLock.Failure) { lock = try FileLock(path: "\(path).lock") } catch {
      switch error {
      case .inUse(let holder): throw SQLiteJobStoreError.inUse(by: holder)
      case .cannotOpen(let reason): throw SQLiteJobStoreError.cannotOpen(reason)
      }
    }
    do {
      makePrivate(path)
      var configuration = GRDB.Configuration()
      configuration.maximumReaderCount = maximumReaders
      configuration.prepareDatabase { database in
        // 512 KiB of page cache a connection: the records that are asked for again are in `RecordCache`.
        try database.execute(sql: "PRAGMA cache_size = -512; PRAGMA temp_store = MEMORY")
      }
      let pool = try DatabasePool(path: path, configuration: configuration)
      return try pool.writeWithoutTransaction { database in
        try database.execute(sql: "PRAGMA synchronous = FULL")
        try Schema.migrate(database)
        try check(database, path)
        try database.execute(sql: "INSERT OR REPLACE INTO meta VALUES ('is_open', '1')")
        let last = try Int64.fetchOne(
          database, sql: "SELECT max(queue_order & \(QueuePosition.orderMask)) FROM jobs WHERE status IN (1, 2)")
        let instance = try String.fetchOne(database, sql: "SELECT value FROM meta WHERE key = 'instance'")
        let clock = try String.fetchOne(database, sql: "SELECT value FROM meta WHERE key = 'clock'")
        let lastEnd = try Int64.fetchOne(database, sql: "SELECT max(ended) FROM jobs WHERE status >= 3")
        return OpenedDatabase(
          pool: pool, lock: lock, instance: instance ?? "", nextOrder: (last ?? 0) + 1,
          clock: StoreClock(clock, atLeast: lastEnd ?? 0), bootID: ProcessTable.bootID())
      }
    } catch {
      lock.release()
      throw openingError(error)
    }
  }

  /// What SQLite says about a file, in our words.
  nonisolated static func openingError(_ error: any Error) -> any Error {
    guard let failure = error as? DatabaseError else { return error }
    return switch failure.resultCode {
    case .SQLITE_NOTADB: SQLiteJobStoreError.foreignFile
    case .SQLITE_CORRUPT: SQLiteJobStoreError.corrupt(failure.message ?? "SQLite cannot read it")
    default: SQLiteJobStoreError.cannotOpen(reason(failure))
    }
  }

  /// Payloads and results are the node's alone, whatever the umask; SQLite gives its other files the same mode. A
  /// file that cannot be made is SQLite's to complain about.
  private nonisolated static func makePrivate(_ path: String) {
    let descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { return }
    fchmod(descriptor, 0o600)
    Glibc.close(descriptor)
  }

  /// After a crash only: a store that was closed was whole.
  private nonisolated static func check(_ database: Database, _ path: String) throws {
    guard try String.fetchOne(database, sql: "SELECT value FROM meta WHERE key = 'is_open'") != nil else { return }
    let pages = try Int.fetchOne(database, sql: "PRAGMA page_count") ?? 0
    let size = try Int.fetchOne(database, sql: "PRAGMA page_size") ?? 0
    guard pages * size <= checkedBytes else { return }
    let finding = try String.fetchOne(database, sql: "PRAGMA quick_check(1)")
    if let finding, finding != "ok" { throw SQLiteJobStoreError.corrupt(finding) }
  }
}
