import GRDB
import Supervisor

// Jobs of another store come in by transactions of their own: a creation looks the job up first, by one of two reader
// connections, so that creations which are asked for at once may be put in line in another order. An import must not.

extension SQLiteJobStore {
  /// Records jobs as another store had them, in one transaction; queued ones stand in line in this order.
  ///
  /// Nobody else may use the store meanwhile.
  /// - Returns: for each what `create` would have said; all `unavailable` when nothing was recorded.
  public func importJobs(_ jobs: [ExportedJob]) async -> [Result<JobCreation, JobStoreError>] {
    precondition(active.isEmpty && loads.isEmpty, "an import has the store to itself")
    guard !isClosed else { return jobs.map { _ in .failure(Self.closed) } }
    uses += 1
    defer { uses -= 1 }
    let first = takeOrders(jobs.count)
    let time = readClock()
    return await withCheckedContinuation { continuation in
      write { database in
        let results: [Result<JobCreation, JobStoreError>]
        do { results = try Self.record(jobs, firstOrder: first, at: time, in: database) } catch {
          let refusal = JobStoreError.unavailable(Self.reason(error), retryAfterMilliseconds: 1000)
          results = jobs.map { _ in .failure(refusal) }
        }
        continuation.resume(returning: results)
      }
    }
  }

  private nonisolated static func record(
    _ jobs: [ExportedJob], firstOrder: Int64, at time: Int64, in database: Database
  ) throws -> [Result<JobCreation, JobStoreError>] {
    var results: [Result<JobCreation, JobStoreError>] = []
    var commit = Commit(at: time)
    try database.inTransaction(.immediate) {
      let find = try database.cachedStatement(sql: "SELECT \(JobRow.columns) FROM jobs WHERE id = ?")
      for (number, job) in jobs.enumerated() {
        let (record, id) = (job.record, job.record.job.id)
        if let present = try Row.fetchOne(find, arguments: [id.rawValue]).map(JobRow.record) {
          results.append(present.job == record.job ? .success(.existed(present)) : .failure(.conflict(id)))
          continue
        }
        var created = record
        created.position = record.status == .queued ? firstOrder + Int64(number) : nil
        commit.changes = [JobChange(id: id, exists: false, record: created, output: job.output)]
        try commit.apply(to: database)
        results.append(.success(.created(created)))
      }
      return .commit
    }
    return results
  }
}
