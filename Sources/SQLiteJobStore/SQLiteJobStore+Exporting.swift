import EventLoop
import Foundation
import GRDB
import Glibc
import Logging
import Supervisor

// A copy of the store is read page by page, each in a transaction of its own, so that the log does not grow meanwhile;
// and by another process than the node's, if need be, which takes no lock and writes nothing.

extension SQLiteJobStore {
  /// Opens a file for reading beside the node that uses it, if one does. Every write is refused.
  /// - Throws: `SQLiteJobStoreError`.
  public static func openReadOnly(path: String, loop: EventLoop, logger: Logger) async throws -> SQLiteJobStore {
    let opened = try await loop.blocking { try openReadOnly(path) }
    return SQLiteJobStore(opened, loop: loop, options: Options(), logger: logger)
  }

  private nonisolated static func openReadOnly(_ path: String) throws -> OpenedDatabase {
    guard access(path, R_OK) == 0 else { throw SQLiteJobStoreError.cannotOpen(String(cString: strerror(errno))) }
    do {
      var configuration = GRDB.Configuration()
      configuration.readonly = true
      configuration.maximumReaderCount = 1
      let pool = try DatabasePool(path: path, configuration: configuration)
      let instance = try pool.read { database in
        try Schema.check(database)
        return try String.fetchOne(database, sql: "SELECT value FROM meta WHERE key = 'instance'")
      }
      return OpenedDatabase(
        pool: pool, lock: nil, instance: instance ?? "", nextOrder: 1, clock: StoreClock(at: 0), bootID: "")
    } catch {
      throw openingError(error)
    }
  }

  public func export(
    from position: ExportPosition, limit: Int, maximumBytes: Int
  ) async throws(JobStoreError) -> ExportPage {
    let part = position.part
    let place = part == .inLine ? ["queue_order"] : ["created_at", "seq"]
    guard position.place.isEmpty || position.place.count == place.count else { throw .invalidCursor("\(position)") }
    let order = place.joined(separator: ", ")
    // The sign keeps SQLite from another index than the one that gives the order.
    var filter =
      switch part {
      case .created: "status = 0"
      case .inLine: "status IN (1, 2)"
      case .ended: "+status >= 3"
      }
    if !position.place.isEmpty { filter += " AND (\(order)) > (\(place.map { _ in "?" }.joined(separator: ", ")))" }
    let sql = "SELECT \(JobRow.columns) FROM jobs WHERE \(filter) ORDER BY \(order) LIMIT \(limit + 1)"
    let after = position.place
    return try await reading { database in
      var jobs: [ExportedJob] = []
      var last = after
      var bytes = 0
      let rows = try Row.fetchCursor(database, sql: sql, arguments: StatementArguments(after))
      let outputs = try database.cachedStatement(
        sql: "SELECT stdout, stderr, stdout_dropped, stderr_dropped FROM outputs WHERE seq = ?")
      while let row = try rows.next() {
        if jobs.count == limit || bytes > maximumBytes {
          return ExportPage(jobs, of: part, isWhole: false, lastPlace: last)
        }
        let record = try JobRow.record(row)
        var output: JobOutput?
        if record.status.isFinal {
          let kept = try Row.fetchOne(outputs, arguments: [row["seq"] as Int64]).map(JobRow.keptOutput)
          output = JobRow.output(kept, of: record)
        }
        last = place.map { row[$0] }
        jobs.append(ExportedJob(record: record, output: output))
        bytes += Self.bytes(record, output)
      }
      return ExportPage(jobs, of: part, isWhole: true, lastPlace: last)
    }
  }

  private nonisolated static func bytes(_ record: JobRecord, _ output: JobOutput?) -> Int {
    let written = output.map { $0.stdout.count + $0.stderr.count } ?? 0
    return switch record.result {
    case .success(let text), .error(let text): 300 + record.job.payload.utf8.count + text.utf8.count + written
    case nil: 300 + record.job.payload.utf8.count + written
    }
  }
}
