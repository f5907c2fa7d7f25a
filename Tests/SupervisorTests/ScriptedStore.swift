import EventLoop

@testable import Supervisor

/// A store of jobs in memory that refuses what a test says, holds back what it wants to look at, and notes the order of
/// the steps that it was asked for.
actor ScriptedStore: JobStore {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  private var records: [JobID: JobRecord] = [:]
  private var lastPosition: Int64 = 0
  private let changes: Waiters
  /// The steps that were asked for, as "start a", in order.
  private(set) var steps: [String] = []
  /// Answers to the next steps of that name, before the store does anything.
  private var refusals: [String: [JobStoreError]] = [:]
  private var recordIsUnreadable = false
  private var endsAreHeldBack = false

  init(on loop: EventLoop) {
    self.loop = loop
    changes = Waiters(on: loop)
  }

  func refuse(_ step: String, _ error: JobStoreError, times: Int = 1) {
    refusals[step, default: []] += Array(repeating: error, count: times)
  }
  func setUnreadable(_ isUnreadable: Bool) { recordIsUnreadable = isUnreadable }
  /// Whether ends are accepted and not written, as while a transaction is under way.
  func holdBackEnds(_ areHeldBack: Bool) {
    endsAreHeldBack = areHeldBack
    changes.resumeAll()
  }
  func status(_ id: String) -> JobStatus? { records[JobID(trusted: id)]?.status }
  func waitForStep(_ step: String) async { await changes.wait(while: { !steps.contains(step) }) }

  func create(_ record: JobRecord, output: JobOutput?) async throws(JobStoreError) -> JobCreation {
    if let present = records[record.job.id] { return .existed(present) }
    var record = record
    if record.status == .queued { record.position = nextPosition() }
    records[record.job.id] = record
    return .created(record)
  }

  private func nextPosition() -> Int64 {
    lastPosition += 1
    return lastPosition
  }

  func transition(
    _ id: JobID, _ step: JobTransition, accepted: (@Sendable () -> Void)?
  ) async throws(JobStoreError) -> JobRecord {
    let name =
      switch step {
      case .enqueue: "enqueue"
      case .start: "start"
      case .spawned: "spawned"
      case .requeue: "requeue"
      case .putBack: "put back"
      case .finish: "finish"
      }
    steps.append("\(name) \(id)")
    changes.resumeAll()
    if refusals["\(name) \(id)"]?.isEmpty == false { throw refusals["\(name) \(id)"]!.removeFirst() }
    guard let record = records[id] else { throw .notFound(id) }
    var next = try step.apply(to: record)
    accepted?()
    if name == "finish" { await changes.wait(while: { endsAreHeldBack }) }
    if name == "enqueue" { next.position = nextPosition() }
    records[id] = next
    changes.resumeAll()
    return next
  }

  func record(_ id: JobID) async throws(JobStoreError) -> JobRecord {
    if recordIsUnreadable { throw .unavailable("not now", retryAfterMilliseconds: 1) }
    guard let record = records[id] else { throw .notFound(id) }
    return record
  }

  func finished(_ id: JobID) async throws(JobStoreError) -> JobRecord {
    await changes.wait(while: { records[id]?.status.isFinal == false })
    return try await record(id)
  }

  // What these tests do not ask for.
  func output(_ id: JobID) async throws(JobStoreError) -> JobOutput { throw .notFound(id) }
  func delete(_ id: JobID) async throws(JobStoreError) { throw .notFound(id) }
  func unfinished() async throws(JobStoreError) -> [UnfinishedJob] { [] }
  func query(_ query: JobQuery) async throws(JobStoreError) -> JobPage {
    JobPage(jobs: [], positions: [], isLast: true)
  }
  func export(
    from position: ExportPosition, limit: Int, maximumBytes: Int
  ) async throws(JobStoreError) -> ExportPage { throw .invalidCursor("none") }
  func registeredRunners() async throws(JobStoreError) -> [RegisteredRunner] { [] }
  func save(_ runner: RegisteredRunner) async throws(JobStoreError) {}
  func forget(_ runner: RunnerName) async throws(JobStoreError) {}
  func unavailability() async -> String? { nil }
}
