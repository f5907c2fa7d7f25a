import GRDB
import Supervisor

// Jobs that come from other nodes' stores, or go there.

extension SQLiteJobStore: EmbeddedJobStore {
  public func keep(_ jobs: [IncomingJob]) async throws(JobStoreError) { try await submit(jobs.map { .keep($0) }) }

  public func drop(_ transfers: [TransferID]) async throws(JobStoreError) {
    try await submit(transfers.map { .drop($0) })
  }

  public func forgetMoved(_ transfers: [TransferID]) async throws(JobStoreError) {
    try await submit(transfers.map { .forgetMoved($0) })
  }

  public func move(_ job: MovedJob, from status: JobStatus, attempt: Int) async throws(JobStoreError) {
    _ = try await submit(job.job, .move(job, status, attempt: attempt)).get()
  }

  public func admit(_ job: IncomingJob) async throws(JobStoreError) -> JobCreation {
    try await create(job.record.job, by: .admit(job))
  }

  public func waiting(of runner: RunnerName, limit: Int) async throws(JobStoreError) -> [JobID] {
    try await reading { database in
      try String.fetchAll(
        database.cachedStatement(
          sql: "SELECT id FROM jobs WHERE status IN (1, 2) AND status = 1 AND runner = ? ORDER BY queue_order LIMIT ?"),
        arguments: [runner.rawValue, limit]
      ).map { JobID(trusted: $0) }
    }
  }

  public func forgetDeparted(_ runner: RunnerName) async throws(JobStoreError) {
    try await submit([.forgetDeparted(runner)])
  }

  public func transfers() async throws(JobStoreError) -> (incoming: [IncomingJob], moved: [MovedJob]) {
    try await reading { database in
      let incoming = try Row.fetchAll(database, sql: "SELECT \(JobRow.columns), transfer, giver FROM incoming").map {
        try IncomingJob(
          transfer: TransferID(trusted: $0["transfer"]), record: JobRow.record($0),
          giver: NodeName(trusted: $0["giver"]))
      }
      let moved = try Row.fetchAll(database, sql: "SELECT transfer, id, runner, receiver FROM moved").map {
        MovedJob(
          transfer: TransferID(trusted: $0["transfer"]), job: JobID(trusted: $0["id"]),
          runner: RunnerName(trusted: $0["runner"]), receiver: NodeName(trusted: $0["receiver"]))
      }
      return (incoming, moved)
    }
  }
}
