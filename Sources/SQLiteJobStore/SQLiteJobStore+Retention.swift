import EventLoop
import GRDB
import Supervisor

// Finished jobs are not kept for ever. They are deleted a few at a time, in the order in which they ended, so that a commit
// never waits long; the pages that they leave are used again. How old they are says the store's clock (`StoreClock`).

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
      await self.saveClock()
      let before = await self.statistics.expiredJobs
      while await self.retainOnce() {}
      await self.retained(since: before)
      await self.retentionEnded()
    }
  }

  private func retained(since before: Int) {
    let count = statistics.expiredJobs - before
    guard count > 0 else { return }
    logger.info("deleted finished jobs, as the retention says", metadata: ["jobs": "\(count)"])
  }

  /// Whether there may be more.
  private func retainOnce() async -> Bool {
    guard !isClosed else { return false }
    let pool = self.pool
    if !isCounted { await countFinished() }
    let excess = max(0, finishedCount - options.retentionMaximumJobs)
    let limit = Self.jobsAtOnce
    let oldest = options.retentionDays > 0 ? readClock() - Int64(options.retentionDays * 86_400_000) : Int64.min
    let deleted: [JobID]
    do {
      deleted = try await loop.blocking { try Self.delete(excess: excess, before: oldest, limit: limit, from: pool) }
    } catch {
      logger.warning("cannot delete old jobs", metadata: ["reason": "\(Self.reason(error))"])
      return false
    }
    finishedCount -= deleted.count
    statistics.expiredJobs += deleted.count
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

  /// Deletes the oldest finished jobs: `excess` of them, and those that ended before a time of the store's clock.
  private nonisolated static func delete(
    excess: Int, before oldest: Int64, limit: Int, from pool: DatabasePool
  ) throws -> [JobID] {
    let expired = try pool.read { database in
      try Row.fetchAll(
        database,
        sql: "SELECT seq, id, ended FROM jobs WHERE status >= 3 ORDER BY ended, completed_at, seq LIMIT \(limit)"
      ).enumerated().filter { $0.offset < excess || ($0.element["ended"] as Int64) < oldest }
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

  // MARK: The clock

  /// Lets the time pass that has passed, and says so when the date did not move with it.
  /// - Returns: the store's time.
  func readClock() -> Int64 {
    switch clock.advance(to: options.reading(bootID)) {
    case .leapt(let leap):
      logger.warning(
        """
        the date has leapt, or this machine was off: finished jobs are kept for as much longer, since retention counts \
        the time that has certainly passed
        """, metadata: ["seconds": "\(leap.milliseconds / 1000)"])
    case .returned: logger.notice("the date is back where it was before its leap")
    case .confirmed: logger.notice("the date has been steady for a day since its leap, and is taken for right")
    case nil: break
    }
    return clock.time
  }

  /// By how much the date has leapt, in milliseconds, as long as nobody has confirmed it.
  public var unconfirmedLeap: Int64? {
    _ = readClock()
    return clock.leap?.milliseconds
  }

  /// Takes the date for right.
  /// - Returns: how far it had leapt, in milliseconds; 0 when there was no doubt.
  public func confirmClock() async -> Int64 {
    guard let leap = unconfirmedLeap, clock.confirm() else { return 0 }
    logger.notice("an operator has confirmed the date after its leap", metadata: ["seconds": "\(leap / 1000)"])
    if !isClosed {
      uses += 1
      await saveClock()
      uses -= 1
    }
    return leap
  }

  private func saveClock() async {
    _ = readClock()
    let (pool, clock) = (self.pool, self.clock)
    // What cannot be noted now is noted later; until then less time counts.
    try? await loop.blocking { try pool.writeWithoutTransaction { try Self.save(clock, in: $0) } }
  }

  nonisolated static func save(_ clock: StoreClock, in database: Database) throws {
    try database.execute(sql: "INSERT OR REPLACE INTO meta VALUES ('clock', ?)", arguments: [clock.text])
  }
}
