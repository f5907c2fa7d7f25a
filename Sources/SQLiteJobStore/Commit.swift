import GRDB
import Supervisor

// What one transaction writes: many steps of many jobs, at most one row write a job.

/// One accepted step that is not on disk yet, with whoever waits for it.
struct PendingStep {
  enum Kind {
    case create(JobRecord, JobOutput?)
    case transition(JobTransition)
    case delete
    /// It goes to another node, if it still has this status and was started so often.
    case move(MovedJob, JobStatus, attempt: Int)
    /// It has come from another node.
    case admit(IncomingJob)
  }
  let id: JobID
  let kind: Kind
  /// Of a job that is queued by it: in the order in which steps are asked for, also where a record has to be read first.
  let position: Int64?
  let continuation: CheckedContinuation<Result<JobRecord, JobStoreError>, Never>

  /// Whether it is kept until the disk takes it: the end of a job cannot be refused.
  var isEssential: Bool {
    switch kind {
    case .transition(.finish), .transition(.requeue), .transition(.putBack), .transition(.spawned): true
    default: false
    }
  }

  /// The record after this step; `nil` when there is none any more.
  func apply(to record: JobRecord?) throws(JobStoreError) -> JobRecord? {
    switch (kind, record) {
    case (.create(let new, _), nil): return new
    case (.admit(let incoming), nil): return incoming.record
    case (.create, .some), (.admit, .some): throw .conflict(id)
    case (_, nil): throw .notFound(id)
    case (.transition(let step), .some(let record)): return try step.apply(to: record)
    case (.delete, .some(let record)):
      if record.status == .running { throw .wrongState(id, .running) }
      return nil
    case (.move(_, let status, let attempt), .some(let record)):
      guard record.status == status, record.attempt == attempt else { throw .wrongState(id, record.status) }
      return nil
    }
  }
}

/// Rows of other tables to write, with whoever waits for them.
struct PendingRow {
  let changes: [Commit.RowChange]
  let continuation: CheckedContinuation<JobStoreError?, Never>
}

/// The sum of one job's steps in a transaction.
struct JobChange: Sendable {
  let id: JobID
  /// Whether the row exists before the transaction.
  let exists: Bool
  /// `nil` deletes it.
  var record: JobRecord?
  var output: JobOutput?
  /// The row on disk is of a job that was deleted, then created anew.
  var replaces = false
}

/// Everything that one transaction writes.
struct Commit: Sendable {
  /// By the store's clock: when what ends by this transaction has ended.
  let time: Int64
  var changes: [JobChange] = []
  var rows: [RowChange] = []

  init(at time: Int64) { self.time = time }

  /// A change of a table other than that of the jobs.
  enum RowChange: Sendable {
    case save(RegisteredRunner)
    case forget(RunnerName)
    /// Only if another node owns it.
    case forgetDeparted(RunnerName)
    case keep(IncomingJob)
    case drop(TransferID)
    case moved(MovedJob)
    case forgetMoved(TransferID)
  }

  func write(to database: Database) throws {
    try database.inTransaction(.immediate) {
      try apply(to: database)
      return .commit
    }
  }

  /// As `write`, in a transaction that has begun.
  func apply(to database: Database) throws {
    for change in changes { try write(change, to: database) }
    for row in rows { try write(row, to: database) }
  }

  private func write(_ change: JobChange, to database: Database) throws {
    if change.exists && (change.record == nil || change.replaces) {
      try database.cachedStatement(sql: "DELETE FROM jobs WHERE id = ?").execute(arguments: [change.id.rawValue])
    }
    guard let record = change.record else { return }
    if change.exists && !change.replaces {
      let statement = try database.cachedStatement(sql: JobRow.update)
      statement.setUncheckedArguments(JobRow.updateArguments(record, at: time))
      try statement.execute()
    } else {
      let statement = try database.cachedStatement(sql: JobRow.insert)
      statement.setUncheckedArguments(JobRow.insertArguments(record, at: time))
      try statement.execute()
    }
    if let output = change.output, let arguments = JobRow.outputArguments(record, output) {
      try database.cachedStatement(sql: JobRow.insertOutput).execute(arguments: arguments)
    }
  }

  private func write(_ change: RowChange, to database: Database) throws {
    switch change {
    case .save(let runner):
      try database.execute(
        sql: """
          INSERT INTO runners (name, queue, is_stopped, epoch, new_owner) VALUES (?, ?, ?, ?, ?)
          ON CONFLICT (name) DO UPDATE SET queue = excluded.queue, is_stopped = excluded.is_stopped,
            epoch = excluded.epoch, new_owner = excluded.new_owner
          """,
        arguments: [
          runner.name.rawValue, runner.queue.rawValue, runner.isStopped, Int64(clamping: runner.epoch),
          runner.newOwner?.rawValue,
        ])
    case .forget(let name):
      try database.execute(sql: "DELETE FROM runners WHERE name = ?", arguments: [name.rawValue])
    case .forgetDeparted(let name):
      try database.execute(
        sql: "DELETE FROM runners WHERE name = ? AND new_owner IS NOT NULL", arguments: [name.rawValue])
    case .keep(let job):
      try database.cachedStatement(sql: JobRow.insertIncoming).execute(arguments: JobRow.incomingArguments(job))
    case .drop(let id):
      try database.cachedStatement(sql: "DELETE FROM incoming WHERE transfer = ?").execute(arguments: [id.rawValue])
    case .moved(let job):
      try database.cachedStatement(sql: "INSERT INTO moved (transfer, id, runner, receiver) VALUES (?, ?, ?, ?)")
        .execute(
          arguments: [job.transfer.rawValue, job.job.rawValue, job.runner.rawValue, job.receiver.rawValue])
    case .forgetMoved(let id):
      try database.cachedStatement(sql: "DELETE FROM moved WHERE transfer = ?").execute(arguments: [id.rawValue])
    }
  }
}
