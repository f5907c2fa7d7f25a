import Distributed

// Calls about jobs of this node.

extension NodeSupervisor {
  distributed func create(_ job: Job) async throws {
    guard !isDraining else { throw SupervisorError.draining }
    try refuseIfMoving(job.id)
    try await runner(job.runner).create(job)
  }

  /// Creates, starts, and answers the result when the job has ended.
  distributed func run(_ job: Job) async throws -> JobResult {
    guard !isDraining else { throw SupervisorError.draining }
    try refuseIfMoving(job.id)
    return try await runner(job.runner).run(job).outcome
  }

  distributed func start(_ id: JobID, of scope: JobScope) async throws {
    guard !isDraining else { throw SupervisorError.draining }
    try await runner(ofJob: id, scope).start(id)
  }

  distributed func stop(_ id: JobID, of scope: JobScope) async throws { try await runner(ofJob: id, scope).stop(id) }

  /// Forgets a job that is not running; it needs no runner any more.
  distributed func delete(_ id: JobID, of scope: JobScope) async throws {
    let record = try await record(id)
    try scope.check(record.job)
    if let runner = runners[record.job.runner] { return try await runner.delete(id) }
    try refuseIfMoving(record)
    try await storing { () async throws(JobStoreError) in try await context.store.delete(id) }
  }

  distributed func summary(_ id: JobID) async throws -> JobSummary { JobSummary(try await record(id)) }

  /// Why the queue of a runner starts nothing at present, in words; `nil` if it may.
  distributed func holdReason(_ runner: RunnerName) async throws -> String? {
    guard let queue = runners[runner]?.queue else { return nil }
    return await context.gate.reason(of: queue.name)
  }

  /// Whether the job is in this node's store, or on its way to or from it.
  distributed func has(_ id: JobID) async throws -> Bool {
    do {
      _ = try await record(id)
      return true
    } catch SupervisorError.store(.notFound) {
      return false
    } catch SupervisorError.moving {
      return true
    }
  }

  /// Waits for the end.
  distributed func result(_ id: JobID, of scope: JobScope) async throws -> JobResult {
    if scope != .all { try scope.check(try await record(id).job) }
    let record: JobRecord
    do throws(JobStoreError) { record = try await context.store.finished(id) } catch {
      if case .notFound = error { try refuseIfMoving(id) }
      throw SupervisorError.store(error)
    }
    // Another job may have the id by now.
    try scope.check(record.job)
    return record.outcome
  }

  distributed func query(_ query: JobQuery) async throws -> JobPage {
    try await storing { () async throws(JobStoreError) in try await context.store.query(query) }
  }

  /// What a job wrote so far, and whether it may write more.
  distributed func output(_ id: JobID, of scope: JobScope) async throws -> LiveOutput {
    let record = try await record(id)
    try scope.check(record.job)
    if record.status.isFinal {
      let output = try await storing { () async throws(JobStoreError) in try await context.store.output(id) }
      return LiveOutput(output: output, attempt: record.attempt, isFinal: true)
    }
    let output = await context.held.holder(of: id)?.liveOutput(id) ?? JobOutput()
    return LiveOutput(output: output, attempt: record.attempt, isFinal: false)
  }

  private func record(_ id: JobID) async throws(SupervisorError) -> JobRecord {
    do throws(JobStoreError) { return try await context.store.record(id) } catch {
      if case .notFound = error { try refuseIfMoving(id) }
      throw .store(error)
    }
  }

  /// A job between two stores cannot be asked for.
  private func refuseIfMoving(_ id: JobID) throws(SupervisorError) {
    if incoming.count > 0, incoming.giver(of: id) != nil { throw .moving(id, to: context.settings.node) }
    if let receiver = outgoing.receiver(of: id) { throw .moving(id, to: receiver) }
  }

  /// The runner that a job here is for. A job that has ended needs none any more.
  private func runner(ofJob id: JobID, _ scope: JobScope) async throws(SupervisorError) -> Runner {
    let record = try await record(id)
    try scope.check(record.job)
    // What was running when the runner changed owner ends here.
    if record.status == .running, let holder = await context.held.holder(of: id) { return holder }
    if let runner = runners[record.job.runner] { return runner }
    if record.status.isFinal { throw .store(.wrongState(id, record.status)) }
    try refuseIfMoving(record)
    throw .runnerNotFound(record.job.runner)
  }

  /// A job that waits is the new owner's to start, stop and forget: it may have it already.
  private func refuseIfMoving(_ record: JobRecord) throws(SupervisorError) {
    guard !record.status.isFinal, let departure = departed[record.job.runner] else { return }
    throw .moving(record.job.id, to: departure.newOwner)
  }
}

extension JobRecord {
  /// Of a job that has ended.
  var outcome: JobResult { result ?? .error("the job is \(status.rawValue)") }
}
