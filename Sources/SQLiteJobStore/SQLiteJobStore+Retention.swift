import EventLoop
import GRDB
import Supervisor

// Finished jobs are not kept for ever. They are deleted a few at a time, oldest first, so that a commit never waits long;
// the pages that they leave are used again.

extension SQLiteJobStore {
  private static var jobsAtOnce: Int { 200 }

  /// Deletes what is beyond the limits, at most once at a time. Called at start and after every 1,000 finished jobs.
  func retain() {
    guard !isRetaining else { return }
    isRetaining = true
    finishedSinceRetention = 0
    Task {
      while await retainOnce() {}
      retentionEnded()
    }
  }

  /// Whether there may be more.
  private func retainOnce() async -> Bool {
    let pool = self.pool
    if !isCounted {
      // What is created while it counts is counted twice at worst; the next start counts anew.
      isCounted = true
      jobCount +=
        (try? await loop.blocking { try pool.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM jobs") } }) ?? 0
    }
    let excess = max(0, jobCount - options.retentionMaximumJobs)
    let limit = Self.jobsAtOnce
    let oldest =
      options.retentionDays > 0 ? Timestamp.now.milliseconds - Int64(options.retentionDays * 86_400_000) : Int64.min
    let deleted: [String]
    do {
      deleted = try await loop.blocking { try Self.delete(excess: excess, before: oldest, limit: limit, from: pool) }
    } catch {
      logger.warning("cannot delete old jobs", metadata: ["reason": "\(Self.reason(error))"])
      return false
    }
    jobCount -= deleted.count
    for id in deleted { cache.remove(JobID(trusted: id)) }
    return deleted.count == limit
  }

  /// Deletes the oldest finished jobs: `excess` of them, and those that ended before an instant (milliseconds).
  private nonisolated static func delete(
    excess: Int, before oldest: Int64, limit: Int, from pool: DatabasePool
  ) throws -> [String] {
    let expired = try pool.read { database in
      try Row.fetchAll(
        database, sql: "SELECT id, completed_at FROM jobs WHERE status >= 3 ORDER BY seq LIMIT \(limit)"
      ).enumerated().filter { $0.offset < excess || ($0.element["completed_at"] as Int64) < oldest }
        .map { $0.element["id"] as String }
    }
    guard !expired.isEmpty else { return [] }
    try pool.writeWithoutTransaction { database in
      try database.inTransaction(.immediate) {
        let statement = try database.cachedStatement(sql: "DELETE FROM jobs WHERE id = ? AND status >= 3")
        for id in expired { try statement.execute(arguments: [id]) }
        return .commit
      }
    }
    return expired
  }
}
