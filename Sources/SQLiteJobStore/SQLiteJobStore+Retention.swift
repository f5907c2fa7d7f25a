import EventLoop
import GRDB
import Supervisor

// Finished jobs are not kept for ever. They are deleted a few at a time, oldest first, so that a commit never waits long;
// the pages that they leave are used again.

extension SQLiteJobStore {
  private static var jobsAtOnce: Int { 200 }

  /// Retains now, and from then on at every interval.
  func startRetention() {
    retain()
    retaining = Task(executorPreference: loop) { [self] in
      while (try? await loop.sleep(for: options.retentionInterval)) != nil { await retain() }
    }
  }

  /// Deletes what is beyond the limits, at most once at a time. Called at start, at every interval, and after every 1,000
  /// finished jobs.
  func retain() {
    guard !isClosed else { return }
    guard !isRetaining else {
      isRetentionDue = true
      return
    }
    isRetaining = true
    finishedSinceRetention = 0
    Task(executorPreference: loop) {
      while await self.retainOnce() {}
      await self.retentionEnded()
    }
  }

  /// Whether there may be more.
  private func retainOnce() async -> Bool {
    guard !isClosed else { return false }
    let pool = self.pool
    if !isCounted { await countFinished() }
    let excess = max(0, finishedCount - options.retentionMaximumJobs)
    let limit = Self.jobsAtOnce
    let oldest =
      options.retentionDays > 0 ? Timestamp.now.milliseconds - Int64(options.retentionDays * 86_400_000) : Int64.min
    let deleted: [JobID]
    do {
      deleted = try await loop.blocking { try Self.delete(excess: excess, before: oldest, limit: limit, from: pool) }
    } catch {
      logger.warning("cannot delete old jobs", metadata: ["reason": "\(Self.reason(error))"])
      return false
    }
    finishedCount -= deleted.count
    for id in deleted {
      cache.remove(id)
      // A read that began before the deletion would answer the past.
      loaded(id, .success(nil))
    }
    return deleted.count == limit
  }

  /// Between two commits, and told in the order of commits, so that none is counted twice or not at all.
  private func countFinished() async {
    await withCheckedContinuation { continuation in
      write { [self] database in
        let count = try? Int.fetchOne(database, sql: "SELECT count(*) FROM jobs WHERE status >= 3")
        loop.execute {
          self.assumeIsolated {
            $0.isCounted = count != nil
            $0.finishedCount = count ?? 0
          }
          continuation.resume()
        }
      }
    }
  }

  /// Deletes the oldest finished jobs: `excess` of them, and those that ended before an instant (milliseconds).
  private nonisolated static func delete(
    excess: Int, before oldest: Int64, limit: Int, from pool: DatabasePool
  ) throws -> [JobID] {
    let expired = try pool.read { database in
      try Row.fetchAll(
        database, sql: "SELECT seq, id, completed_at FROM jobs WHERE status >= 3 ORDER BY seq LIMIT \(limit)"
      ).enumerated().filter { $0.offset < excess || ($0.element["completed_at"] as Int64) < oldest }
        .map { (seq: $0.element["seq"] as Int64, id: JobID(trusted: $0.element["id"])) }
    }
    guard !expired.isEmpty else { return [] }
    return try pool.writeWithoutTransaction { database in
      var deleted: [JobID] = []
      try database.inTransaction(.immediate) {
        // Someone may have deleted one since, and even created it anew.
        let statement = try database.cachedStatement(sql: "DELETE FROM jobs WHERE seq = ? AND id = ? AND status >= 3")
        for job in expired {
          try statement.execute(arguments: [job.seq, job.id.rawValue])
          if database.changesCount > 0 { deleted.append(job.id) }
        }
        return .commit
      }
      return deleted
    }
  }
}
