import DequeModule
import EventLoop
import Foundation
import GRDB
import Logging
import Supervisor

// The embedded store: one SQLite file (WAL, synchronous=FULL) in the data directory.
//
// Group commit: a step is checked against the newest state in memory and joins the pending ones; while one transaction is
// written, the next gathers. So the cost of fsync is shared by all callers, and nobody is answered before it.
//
// Three states of a job matter: what is on disk (`onDisk`, answered to readers), what is being written, and the newest
// (`newest`, checked by new steps). A job that has no step under way is in none of these tables, at most in the cache.

public actor SQLiteJobStore: JobStore {
  public struct Options: Sendable {
    /// Finished jobs older than this are deleted; 0 keeps them.
    public var retentionDays: Double = 7
    /// The newest finished jobs that are kept.
    public var retentionMaximumJobs = 1_000_000
    /// How often a store in which little happens looks for jobs that are too old, and notes its clock.
    public var retentionInterval = Duration.seconds(600)
    /// Memory for records that are on disk.
    public var cacheBytes = 4 << 20
    /// The clocks of this machine, by its boot's name; tests have their own.
    var reading: @Sendable (_ bootID: String) -> StoreClock.Reading = { .now(bootID: $0) }

    public init() {}
  }

  nonisolated let loop: EventLoop
  public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  /// Identity of this database, random, made with it.
  public nonisolated let instance: String

  nonisolated let pool: DatabasePool
  nonisolated let logger: Logger
  let options: Options
  private let lock: FileLock?

  /// A job with steps that are not on disk yet.
  struct Active {
    /// `nil`: no such job.
    var onDisk: JobRecord?
    var newest: JobRecord?
    var steps: Int
  }

  var active: [JobID: Active] = [:]
  var cache: RecordCache
  private var pending: [PendingStep] = []
  private var pendingRows: [PendingRow] = []
  private var isCommitScheduled = false
  private var isCommitting = false
  private(set) var isClosed = false
  /// Why the last commit failed.
  private var outage: String?
  /// Who waits for the end of commits, retention and other uses of the file.
  private let progress: Waiters
  /// Uses of the file that are under way besides commits and retention; the file is closed after them.
  var uses = 0 {
    didSet { if uses == 0 { progress.resumeAll() } }
  }
  /// Reads that wait for a connection, and how many have one.
  var reads: Deque<@Sendable () -> Void> = []
  var readers = 0
  static let maximumReaders = 2
  /// The next attempt of an outage, at most one.
  private var retry: Task<Void, Never>?
  private var nextOrder: Int64
  /// Reads under way, by job. No step of such a job is under way: steps wait for the read.
  var loads: [JobID: Load] = [:]
  var nextLoad: UInt64 = 0
  var finishWaiters: [JobID: [ObjectIdentifier: Promise<Result<JobRecord, JobStoreError>>]] = [:]
  /// How old finished jobs are (`SQLiteJobStore+Retention.swift`).
  var clock: StoreClock
  let bootID: String
  /// Rows of finished jobs, once `retain` has counted them.
  var finishedCount = 0
  var isCounted = false
  /// Calls `retain` now and then, also when nothing happens.
  var retaining: Task<Void, Never>?
  var finishedSinceRetention = 0
  var isRetaining = false
  /// Asked for while it was under way, which may have been too late for it.
  var isRetentionDue = false
  public internal(set) var statistics = Statistics()

  /// Counts since the store was opened.
  public struct Statistics: Sendable {
    public var commits = 0
    public var steps = 0
    public var failedCommits = 0
    public var lastCommitMilliseconds: UInt64 = 0
    /// Finished jobs that retention has deleted.
    public var expiredJobs = 0
  }

  typealias LoadResult = Result<JobRecord?, JobStoreError>

  init(_ opened: OpenedDatabase, loop: EventLoop, options: Options, logger: Logger) {
    self.loop = loop
    self.options = options
    self.logger = logger
    pool = opened.pool
    lock = opened.lock
    instance = opened.instance
    nextOrder = opened.nextOrder
    clock = opened.clock
    bootID = opened.bootID
    cache = RecordCache(maximumBytes: options.cacheBytes)
    progress = Waiters(on: loop)
  }

  /// Writes what is pending, waits for reads and retention that are under way, and lets go of the file. Whoever calls
  /// from now on, or still waits for a job's end, gets `closed`.
  public func close() async {
    isClosed = true
    retaining?.cancel()
    await retaining?.value
    await progress.wait(while: { isCommitting || isCommitScheduled || isRetaining || uses > 0 })
    retry?.cancel()
    await retry?.value
    // The last chance for what an outage holds back.
    commit()
    await progress.wait(while: { isCommitting })
    let error = Self.closed
    for step in pending { step.continuation.resume(returning: .failure(error)) }
    pending = []
    for id in Array(finishWaiters.keys) { wake(id, .failure(error)) }
    let pool = self.pool
    let isOurs = lock != nil
    _ = readClock()
    let clock = self.clock
    do {
      try await loop.blocking {
        guard isOurs else { return try pool.close() }
        // A full disk leaves it marked as open: the next start looks at it more closely, no more.
        pool.writeWithoutTransaction { database in
          try? Self.save(clock, in: database)
          try? database.execute(sql: "DELETE FROM meta WHERE key = 'is_open'")
          try? database.execute(sql: "PRAGMA wal_checkpoint(TRUNCATE)")
        }
        // The log is removed by the last connection that closes, if it may write.
        pool.invalidateReadOnlyConnections()
        try pool.close()
      }
    } catch {
      logger.error("cannot close the store", metadata: ["reason": "\(Self.reason(error))"])
    }
    lock?.release()
  }

  static var closed: JobStoreError { .unavailable("the store is closed", retryAfterMilliseconds: 1000) }

  // MARK: Steps

  public func create(_ record: JobRecord, output: JobOutput?) async throws(JobStoreError) -> JobCreation {
    try await create(record.job, by: .create(record, output))
  }

  /// Applies a step that makes a job, unless the same job is there.
  func create(_ job: Job, by step: PendingStep.Kind) async throws(JobStoreError) -> JobCreation {
    while true {
      switch await submit(job.id, step) {
      case .success(let created): return .created(created)
      case .failure(.conflict): if let present = try await present(job) { return .existed(present) }
      case .failure(let error): throw error
      }
    }
  }

  /// The record of a job that was created before, as it is on disk; `nil` when another creation of this id was under
  /// way, or its deletion, so that the caller should try again.
  private func present(_ job: Job) async throws(JobStoreError) -> JobRecord? {
    if isReplacing(job.id) {
      await progress.wait(while: { isReplacing(job.id) })
      return nil
    }
    guard let present = try await load(job.id) else { return nil }
    guard present.job == job else { throw .conflict(job.id) }
    return present
  }

  private func isReplacing(_ id: JobID) -> Bool {
    active[id].map { $0.onDisk?.job != $0.newest?.job } ?? false
  }

  public func transition(
    _ id: JobID, _ step: JobTransition, accepted: (@Sendable () -> Void)?
  ) async throws(JobStoreError) -> JobRecord {
    try await submit(id, .transition(step), accepted: accepted).get()
  }

  public func delete(_ id: JobID) async throws(JobStoreError) {
    _ = try await submit(id, .delete).get()
  }

  /// Checks a step against the newest state, and returns when it is on disk.
  func submit(
    _ id: JobID, _ kind: PendingStep.Kind, accepted: (@Sendable () -> Void)? = nil
  ) async -> Result<JobRecord, JobStoreError> {
    await withCheckedContinuation { continuation in
      let step = PendingStep(id: id, kind: kind, position: position(of: kind), continuation: continuation)
      guard !isClosed else { return continuation.resume(returning: .failure(Self.closed)) }
      whenLoaded(id) { loaded in self.add(step, to: loaded, accepted) }
    }
  }

  private func add(_ step: PendingStep, to loaded: LoadResult, _ accepted: (@Sendable () -> Void)?) {
    do throws(JobStoreError) {
      let onDisk = try loaded.get()
      guard !isClosed else { throw Self.closed }
      var job = active[step.id] ?? Active(onDisk: onDisk, newest: onDisk, steps: 0)
      job.newest = try step.apply(to: job.newest)
      job.steps += 1
      active[step.id] = job
      pending.append(step)
      accepted?()
      scheduleCommit()
    } catch {
      step.continuation.resume(returning: .failure(error))
    }
  }

  // MARK: Runners

  public func save(_ runner: RegisteredRunner) async throws(JobStoreError) { try await submit([.save(runner)]) }
  public func forget(_ runner: RunnerName) async throws(JobStoreError) { try await submit([.forget(runner)]) }

  func submit(_ changes: [Commit.RowChange]) async throws(JobStoreError) {
    let error = await withCheckedContinuation { (continuation: CheckedContinuation<JobStoreError?, Never>) in
      guard !isClosed else { return continuation.resume(returning: Self.closed) }
      pendingRows.append(PendingRow(changes: changes, continuation: continuation))
      scheduleCommit()
    }
    if let error { throw error }
  }

  // MARK: Group commit

  /// One commit for all steps of this turn of the loop, and of the time that the present commit takes.
  private func scheduleCommit() {
    guard !isCommitting, !isCommitScheduled else { return }
    isCommitScheduled = true
    loop.execute { self.assumeIsolated { $0.commit() } }
  }

  private func commit() {
    isCommitScheduled = false
    guard !isCommitting, !pending.isEmpty || !pendingRows.isEmpty else { return progress.resumeAll() }
    isCommitting = true
    let steps = pending
    let rows = pendingRows
    pending.removeAll(keepingCapacity: steps.count < 1024)
    pendingRows = []
    let commit = sum(steps, rows)
    let start = loop.nowMilliseconds
    write { [self] database in
      let failure: String?
      do {
        try commit.write(to: database)
        failure = nil
      } catch {
        failure = Self.reason(error)
      }
      loop.execute { self.assumeIsolated { $0.committed(steps, rows, commit, failure, since: start) } }
    }
  }

  /// Runs work on libuv's thread pool, whose threads are there since the node's start. GRDB's asynchronous calls may need
  /// another thread of Dispatch, and where the machine has no room for one, Dispatch waits for it on the thread that calls:
  /// the loop's.
  func onThreadPool(_ work: @escaping @Sendable () -> Void) {
    let loop = loop
    Task(executorPreference: loop) { try? await loop.blocking(work) }
  }

  /// Has the connection that writes to itself for a while; in which order two calls get it is not said.
  func write(_ work: @escaping @Sendable (Database) -> Void) {
    let pool = pool
    onThreadPool { pool.writeWithoutTransaction(work) }
  }

  /// The steps of each job as one change.
  private func sum(_ steps: [PendingStep], _ rows: [PendingRow]) -> Commit {
    var commit = Commit(at: readClock())
    var places: [JobID: Int] = [:]
    commit.changes.reserveCapacity(steps.count)
    for step in steps {
      let place: Int
      if let known = places[step.id] {
        place = known
      } else {
        place = commit.changes.count
        places[step.id] = place
        let onDisk = active[step.id]!.onDisk
        commit.changes.append(JobChange(id: step.id, exists: onDisk != nil, record: onDisk))
      }
      do throws(JobStoreError) {
        commit.changes[place].record = try step.apply(to: commit.changes[place].record)
      } catch {
        preconditionFailure("a pending step is not legal any more: \(error)")
      }
      switch step.kind {
      case .create(_, let output):
        commit.changes[place].output = output
        commit.changes[place].replaces = commit.changes[place].exists
        commit.changes[place].record?.position = step.position
      case .transition(.enqueue): commit.changes[place].record?.position = step.position
      case .move(let moved, _, _): commit.rows.append(.moved(moved))
      case .admit(let incoming):
        commit.changes[place].replaces = commit.changes[place].exists
        commit.rows.append(.drop(incoming.transfer))
      case .transition(.finish(_, _, let output?, _)): commit.changes[place].output = output
      default: break
      }
    }
    commit.rows += rows.flatMap(\.changes)
    return commit
  }

  private func position(of kind: PendingStep.Kind) -> Int64? {
    switch kind {
    case .create(let record, _) where record.status == .queued:
      (record.position ?? 0) & ~QueuePosition.orderMask | takeOrders(1)
    case .transition(.enqueue(_, let generation)): QueuePosition.first(of: generation) | takeOrders(1)
    default: nil
    }
  }

  /// - Returns: the first of so many places at the end of the line, within a generation.
  func takeOrders(_ count: Int) -> Int64 {
    defer { nextOrder += Int64(count) }
    return nextOrder
  }

  private func committed(
    _ steps: [PendingStep], _ rows: [PendingRow], _ commit: Commit, _ failure: String?, since start: UInt64
  ) {
    isCommitting = false
    statistics.lastCommitMilliseconds = loop.nowMilliseconds - start
    if let failure {
      statistics.failedCommits += 1
      rollBack(steps, rows, failure)
    } else {
      statistics.commits += 1
      statistics.steps += steps.count
      if outage != nil { logger.notice("the store accepts writes again") }
      outage = nil
      publish(steps, commit)
      for row in rows { row.continuation.resume(returning: nil) }
    }
    progress.resumeAll()
    if outage == nil && (!pending.isEmpty || !pendingRows.isEmpty) { self.commit() }
  }

  /// What was written is what readers see from now on.
  private func publish(_ steps: [PendingStep], _ commit: Commit) {
    for change in commit.changes {
      let id = change.id
      let wasFinal = active[id]!.onDisk?.status.isFinal == true
      let isFinal = change.record?.status.isFinal == true
      finishedCount += (isFinal ? 1 : 0) - (wasFinal ? 1 : 0)
      active[id]!.onDisk = change.record
      if change.replaces { wake(id, .failure(.notFound(id))) }
      if let record = change.record {
        cache.insert(record)
        if isFinal {
          finishedSinceRetention += 1
          wake(id, .success(record))
        }
      } else {
        cache.remove(id)
        wake(id, .failure(.notFound(id)))
      }
    }
    for step in steps {
      active[step.id]!.steps -= 1
      let job = active[step.id]!
      if job.steps == 0 { active[step.id] = nil }
      // A later step of the same transaction may have gone further; the caller gets the state that is on disk.
      switch (step.kind, job.onDisk) {
      case (.create(var record, _), _):
        record.position = job.onDisk?.position
        step.continuation.resume(returning: .success(record))
      case (_, let record?): step.continuation.resume(returning: .success(record))
      case (_, nil): step.continuation.resume(returning: .success(Self.deleted(step.id)))
      }
    }
    if finishedSinceRetention >= 1000 { retain() }
  }

  /// Stands for the record of a job that the same transaction deleted; nobody looks at it.
  private static func deleted(_ id: JobID) -> JobRecord {
    JobRecord(
      job: Job(
        id: id, callerID: "", contextID: "", payload: "", runner: RunnerName(trusted: "-"),
        executor: ExecutorName(trusted: "-")), createdAt: .now)
  }

  // MARK: Outage

  /// The disk refused. Essential steps stay and are tried again; all others have no effect, nor have those that were
  /// built on them.
  private func rollBack(_ steps: [PendingStep], _ rows: [PendingRow], _ reason: String) {
    if outage == nil { logger.error("the store refuses writes", metadata: ["reason": "\(reason)"]) }
    outage = reason
    let error = JobStoreError.unavailable(reason, retryAfterMilliseconds: 1000)
    for row in rows + pendingRows { row.continuation.resume(returning: error) }
    pendingRows = []
    let all = steps + pending
    pending = []
    for id in Set(all.map(\.id)) {
      active[id]!.newest = active[id]!.onDisk
      active[id]!.steps = 0
    }
    for step in all {
      guard step.isEssential, let next = try? step.apply(to: active[step.id]!.newest) else {
        step.continuation.resume(returning: .failure(error))
        continue
      }
      active[step.id]!.newest = next
      active[step.id]!.steps += 1
      pending.append(step)
    }
    for id in Set(all.map(\.id)) where active[id]!.steps == 0 { active[id] = nil }
    if !pending.isEmpty && !isClosed { retryLater() }
  }

  private func retryLater() {
    guard retry == nil else { return }
    retry = Task(executorPreference: loop) { [self] in
      let isDue = (try? await loop.sleep(for: .milliseconds(200))) != nil
      await endRetry(isDue: isDue)
    }
  }

  private func endRetry(isDue: Bool) {
    retry = nil
    if isDue && !isCommitting { commit() }
  }

  func retentionEnded() {
    isRetaining = false
    if isRetentionDue {
      isRetentionDue = false
      retain()
    }
    progress.resumeAll()
  }

  /// Whether the last write was refused. A store that is asked while it is out tries by itself.
  public func unavailability() async -> String? {
    if outage != nil && !isCommitting && !isClosed {
      let pool = self.pool
      uses += 1
      defer { uses -= 1 }
      let reason: String? =
        (try? await loop.blocking {
          do {
            try pool.writeWithoutTransaction { database in
              try database.inTransaction(.immediate) {
                try database.execute(sql: "INSERT OR REPLACE INTO meta VALUES ('probe', lower(hex(randomblob(2048))))")
                return .commit
              }
            }
            return nil
          } catch {
            return Self.reason(error)
          }
        }) ?? nil
      if outage != nil && reason == nil { logger.notice("the store accepts writes again") }
      outage = reason
    }
    return outage
  }

  /// SQLite's error in words for an operator.
  nonisolated static func reason(_ error: any Error) -> String {
    guard let error = error as? DatabaseError else { return "\(error)" }
    return switch error.resultCode {
    case .SQLITE_FULL: "the disk is full"
    case .SQLITE_READONLY, .SQLITE_CANTOPEN, .SQLITE_PERM: "the data directory cannot be written"
    case .SQLITE_IOERR: "the disk reports an input/output error"
    case .SQLITE_CORRUPT, .SQLITE_NOTADB: "the database file is damaged"
    default: error.message ?? "SQLite error \(error.resultCode.rawValue)"
    }
  }
}
