// Calls about jobs: each finds the owner of the job's runner and asks it.

extension RunnerRegistry {
  public func create(_ job: Job) async throws(SupervisorError) {
    guard !isDraining else { throw .draining }
    try await owner(of: job.runner).create(job)
  }

  /// Creates, starts, and answers the record when the job has ended.
  public func run(_ job: Job) async throws(SupervisorError) -> JobRecord {
    guard !isDraining else { throw .draining }
    return try await owner(of: job.runner).run(job)
  }

  public func start(_ id: JobID) async throws(SupervisorError) {
    guard !isDraining else { throw .draining }
    try await owner(ofJob: id).start(id)
  }

  public func stop(_ id: JobID) async throws(SupervisorError) { try await owner(ofJob: id).stop(id) }

  /// Forgets a job that is not running; it needs no runner any more.
  public func delete(_ id: JobID) async throws(SupervisorError) {
    let record = try await record(id)
    guard let runner = runners[record.job.runner] else {
      return try await storing { () async throws(JobStoreError) in try await context.store.delete(id) }
    }
    try await runner.delete(id)
  }

  public func record(_ id: JobID) async throws(SupervisorError) -> JobRecord {
    try await storing { () async throws(JobStoreError) in try await context.store.record(id) }
  }

  /// Waits for the end.
  public func result(_ id: JobID) async throws(SupervisorError) -> JobRecord {
    try await storing { () async throws(JobStoreError) in try await context.store.finished(id) }
  }

  public func query(_ query: JobQuery) async throws(SupervisorError) -> JobPage {
    try await storing { () async throws(JobStoreError) in try await context.store.query(query) }
  }

  /// What a job wrote so far, and whether it may write more.
  public func output(_ id: JobID) async throws(SupervisorError) -> (output: JobOutput, isFinal: Bool) {
    let record = try await record(id)
    if record.status.isFinal {
      return (try await storing { () async throws(JobStoreError) in try await context.store.output(id) }, true)
    }
    let live = try? await owner(ofJob: id).liveOutput(id)
    return (live ?? JobOutput(), false)
  }

  /// The owner of a job's runner. A job that has ended needs none any more.
  private func owner(ofJob id: JobID) async throws(SupervisorError) -> Runner {
    let record = try await record(id)
    if let runner = runners[record.job.runner] { return runner }
    if record.status.isFinal { throw .store(.wrongState(id, record.status)) }
    throw .runnerNotFound(record.job.runner)
  }
}
