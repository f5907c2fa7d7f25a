import Supervisor

// Jobs and steps for the checks. Instants are made up, so that a record can be compared whole.

extension Timestamp {
  /// Milliseconds after an instant of 2026.
  package static func at(_ milliseconds: Int64) -> Timestamp {
    Timestamp(milliseconds: 1_790_000_000_000 + milliseconds)
  }
}

extension Job {
  package static func sample(
    _ id: String, caller: String = "caller", context: String = "context", payload: String = "echo hello",
    runner: String = "runner", executor: String = "shell", timeout: Double = 1.5,
    environment: [VariableName: String] = ["KEY": "value", "EMPTY": ""]
  ) -> Job {
    Job(
      id: JobID(trusted: id), callerID: caller, contextID: context, payload: payload,
      runner: RunnerName(trusted: runner), executor: ExecutorName(trusted: executor), timeoutSeconds: timeout,
      environment: environment)
  }
}

extension JobRecord {
  package static func created(_ job: Job) -> JobRecord { JobRecord(job: job, createdAt: .at(0)) }
  /// As it is but for its place in the queue, which is the store's to give.
  package var unplaced: JobRecord {
    var record = self
    record.position = nil
    return record
  }
  package static func queued(_ job: Job) -> JobRecord { JobRecord(job: job, status: .queued, createdAt: .at(0)) }
}

extension ProcessIdentity {
  /// Its start is beyond what a signed integer holds.
  package static let sample = ProcessIdentity(
    pid: 4711, startTicks: UInt64.max - 1, bootID: "5f4b3a1e-0000-4000-8000-1")
}

extension JobTransition {
  package static func completed(_ text: String = "hello\n", at: Timestamp = .at(90)) -> JobTransition {
    .finish(.completed, .success(text), JobOutput(stdout: Array(text.utf8)), at: at)
  }
  package static func failed(_ text: String = "exit status 1", at: Timestamp = .at(90)) -> JobTransition {
    .finish(.failed, .error(text), JobOutput(), at: at)
  }
}

extension JobStore {
  package func create(_ record: JobRecord) async throws(JobStoreError) -> JobCreation {
    try await create(record, output: nil)
  }

  /// Brings a new job into a state by the shortest legal way, and answers its record.
  @discardableResult
  package func make(_ job: Job, _ status: JobStatus) async throws -> JobRecord {
    guard try await create(.created(job)).isNew else { throw JobStoreError.conflict(job.id) }
    switch status {
    case .created: return try await record(job.id)
    case .queued: return try await transition(job.id, .enqueue(at: .at(1)))
    case .running:
      _ = try await transition(job.id, .enqueue(at: .at(1)))
      return try await transition(job.id, .start(at: .at(2)))
    case .completed, .failed, .timeout:
      _ = try await transition(job.id, .enqueue(at: .at(1)))
      _ = try await transition(job.id, .start(at: .at(2)))
      let result: JobResult = status == .completed ? .success("done") : .error("not done")
      return try await transition(job.id, .finish(status, result, JobOutput(), at: .at(3)))
    }
  }
}
