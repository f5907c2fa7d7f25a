/// Where jobs live. What a call answers is on disk (fsync) before it returns, and reads answer only what is on disk.
///
/// Steps of one job are applied in the order in which they were asked for. All calls may be made from any actor.
public protocol JobStore: Sendable {
  /// Records a job in its first state, usually `created` or `queued`; a job that an in-process executor already ran
  /// may come finished, with its `output`.
  ///
  /// - Returns: `.created` with the record as it was written, or `.existed` with the present one when the same job was
  ///   created before.
  /// - Throws: `conflict` when the id belongs to a job with other fields; `unavailable` when it cannot be written
  ///   (nothing was recorded then).
  func create(_ record: JobRecord, output: JobOutput?) async throws(JobStoreError) -> JobCreation

  /// Applies one step (`JobTransition.apply`).
  ///
  /// While the disk refuses writes, `finish`, `requeue`, `putBack` and `spawned` are kept in memory and written when it accepts
  /// them again (the call waits for that); every other step fails with `unavailable` and has no effect.
  /// - Parameter accepted: called on the store's loop, at most once, when the step has its place in the order of writing:
  ///   what is asked for from then on is written with it or after it, never before. It may be refused all the same.
  /// - Throws: `notFound`, `wrongState`, `unavailable`.
  func transition(
    _ id: JobID, _ step: JobTransition, accepted: (@Sendable () -> Void)?
  ) async throws(JobStoreError) -> JobRecord

  /// The record as it is on disk.
  /// - Throws: `notFound`, `unavailable`.
  func record(_ id: JobID) async throws(JobStoreError) -> JobRecord

  /// Waits, without polling, until the job has its final result, and answers the record.
  /// - Throws: `notFound` (also when it is deleted while waiting), `unavailable`; `cancelled` when the calling task is
  ///   cancelled, which leaves no waiter behind.
  func finished(_ id: JobID) async throws(JobStoreError) -> JobRecord

  /// What a finished job wrote.
  /// - Throws: `notFound`, `unavailable`.
  func output(_ id: JobID) async throws(JobStoreError) -> JobOutput

  /// Forgets a job that is not running.
  /// - Throws: `notFound`, `wrongState` when it is running, `unavailable`.
  func delete(_ id: JobID) async throws(JobStoreError)

  /// The queued and running jobs, in the order in which they were queued. A running job that was
  /// never finished because its node died comes first, in the order of its first queueing.
  func unfinished() async throws(JobStoreError) -> [UnfinishedJob]

  /// Jobs that match, newest first, a page at a time.
  func query(_ query: JobQuery) async throws(JobStoreError) -> JobPage

  /// Every job with its output, a page at a time, in the order of `ExportPart`: for a copy of the store.
  ///
  /// - Parameters:
  ///   - limit: jobs in a page, at least 1.
  ///   - maximumBytes: a page ends once its payloads, results and outputs exceed this (it holds at least one job).
  /// - Throws: `invalidCursor` for a position of another kind of store; `unavailable`.
  func export(
    from position: ExportPosition, limit: Int, maximumBytes: Int
  ) async throws(JobStoreError) -> ExportPage

  /// Runners that were registered and not removed, in the order of their registration.
  func registeredRunners() async throws(JobStoreError) -> [RegisteredRunner]
  /// Records a registration or its new state.
  func save(_ runner: RegisteredRunner) async throws(JobStoreError)
  func forget(_ runner: RunnerName) async throws(JobStoreError)

  /// Whether writes are accepted at present; `nil`, or the reason in words.
  func unavailability() async -> String?
}

extension JobStore {
  /// Applies one step (`JobTransition.apply`).
  public func transition(_ id: JobID, _ step: JobTransition) async throws(JobStoreError) -> JobRecord {
    try await transition(id, step, accepted: nil)
  }
}

/// What `JobStore.create` did.
public enum JobCreation: Hashable, Sendable {
  case created(JobRecord)
  case existed(JobRecord)

  public var isNew: Bool { if case .created = self { true } else { false } }
}

/// What a queue must know of a job; the payload stays in the store until the job starts.
public struct UnfinishedJob: Hashable, Sendable {
  public let id: JobID
  public let runner: RunnerName
  public let executor: ExecutorName
  public let status: JobStatus
  public let attempt: Int
  public let process: ProcessIdentity?
  /// Its place among the jobs that wait (`JobRecord.position`).
  public let position: Int64

  public init(
    id: JobID, runner: RunnerName, executor: ExecutorName, status: JobStatus, attempt: Int,
    process: ProcessIdentity?, position: Int64
  ) {
    self.id = id
    self.runner = runner
    self.executor = executor
    self.status = status
    self.attempt = attempt
    self.process = process
    self.position = position
  }
}

/// Which jobs to list. A `nil` field matches all.
public struct JobQuery: Hashable, Sendable {
  public var runner: RunnerName?
  /// Of one of these, at least one; looked at only without a `runner`.
  public var runners: Set<RunnerName>?
  public var status: JobStatus?
  public var callerID: String?
  public var contextID: String?
  /// Created at or after this instant.
  public var createdFrom: Timestamp?
  /// Created before this instant.
  public var createdBefore: Timestamp?
  /// What the page before answered as `next`.
  public var cursor: String?
  /// Jobs in a page, at least 1.
  public var limit: Int
  /// Stop a page early once what is read of its jobs exceeds this many bytes (a page holds at least one job).
  public var maximumBytes: Int
  /// What is read of each job beside its names, state and times; the rest of its record is empty.
  public var parts: JobParts

  public init(limit: Int = 100, maximumBytes: Int = 4 << 20, parts: JobParts = .all) {
    self.limit = limit
    self.maximumBytes = maximumBytes
    self.parts = parts
  }

  /// The runners whose jobs match, by name, if there are few: a store lists the jobs of each from its index, and merges the
  /// lists. `nil` for more, and for all.
  public var fewRunners: [RunnerName]? {
    if let runner { return [runner] }
    guard let runners, runners.count <= 16 else { return nil }
    return runners.sorted()
  }
}

/// What may be large in a job, and is read for a list only when it is asked for.
public struct JobParts: OptionSet, Hashable, Sendable {
  public let rawValue: UInt8

  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let payload = JobParts(rawValue: 1)
  public static let environment = JobParts(rawValue: 2)
  public static let result = JobParts(rawValue: 4)
  public static let all: JobParts = [.payload, .environment, .result]
}

/// One page of jobs.
public struct JobPage: Hashable, Sendable {
  public let jobs: [JobRecord]
  /// For each job the cursor of what comes after it.
  public let positions: [String]
  /// Whether nothing comes after it.
  public let isLast: Bool

  public init(jobs: [JobRecord], positions: [String], isLast: Bool) {
    self.jobs = jobs
    self.positions = positions
    self.isLast = isLast
  }

  /// The cursor of the next page, `nil` on the last.
  public var next: String? { isLast ? nil : positions.last }
}

/// Why a store refused.
public enum JobStoreError: Error, Hashable, Sendable {
  /// No job of this id.
  case notFound(JobID)
  /// The id belongs to a job with other fields.
  case conflict(JobID)
  /// The step is not legal from the job's present status.
  case wrongState(JobID, JobStatus)
  /// The store cannot be written or read now; the reason in words. Worth another try after `retryAfterMilliseconds`.
  case unavailable(String, retryAfterMilliseconds: Int)
  /// A cursor that no page answered.
  case invalidCursor(String)
  /// The calling task was cancelled while it waited.
  case cancelled
  /// Another node owns the job's runner, or runs the job; nothing was done.
  case fenced(JobID)
}
