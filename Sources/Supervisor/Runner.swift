import EventLoop
import Gossip
import Logging

// A runner executes jobs of its queue, `concurrency` at a time. What it does with one process job is in
// `Runner+Process.swift`.

public actor Runner {
  public nonisolated let settings: RunnerSettings
  public nonisolated var name: RunnerName { settings.name }
  public nonisolated var unownedExecutor: UnownedSerialExecutor { context.loop.asUnownedSerialExecutor() }
  nonisolated let context: RunnerContext
  nonisolated let queue: JobQueue
  /// Grows with each change of owner.
  nonisolated let epoch: UInt64

  /// A job from the moment it leaves the queue until its end is on disk.
  struct RunningJob {
    var process: JobProcess?
    /// Set when it is to be stopped.
    var stopReason: String?
    /// Its end is about to be written: too late to stop it.
    var isEnding = false
    /// No process of it is there any more.
    var isGone = false
    /// It is queued again instead of failing, whatever becomes of the others: the lease was over before it had a process.
    var handsBack = false
  }

  public private(set) var state: RunnerState
  var running: [JobID: RunningJob] = [:]
  /// The node is stopping: what is killed now goes back to the queue instead of failing.
  var handsBack = false
  /// Set once it was removed: what a call that found it before writes after that has nobody to run it.
  private(set) var removal: String?
  /// Calls that are writing a job which may wait for this runner then.
  private var writes = 0
  private var observer: (@Sendable () -> Void)?
  private var counts: [JobStatus: Int] = [:]
  private let changes: Waiters

  init(_ settings: RunnerSettings, queue: JobQueue, context: RunnerContext, isStopped: Bool, epoch: UInt64 = 1) {
    self.settings = settings
    self.queue = queue
    self.context = context
    self.epoch = epoch
    changes = Waiters(on: context.loop)
    state = isStopped ? .stopped : .running
  }

  /// Whether it is allowed to use this executor.
  nonisolated func mayUse(_ executor: ExecutorName) -> Bool { allowedExecutors?.contains(executor) ?? true }

  /// `nil` for all that the node knows.
  nonisolated var allowedExecutors: Set<ExecutorName>? { settings.executors ?? context.executors.unnamed }

  /// The executors that its jobs may name.
  nonisolated var executors: [ExecutorName] { context.executors.names.filter(mayUse) }

  /// What its node says of it to others.
  var claim: RunnerClaim {
    RunnerClaim(
      runner: name.rawValue, queue: settings.queue.rawValue, owner: context.settings.node.member, epoch: epoch,
      revision: RunnerRegistry.revision, state: state == .running ? .running : .stopped)
  }

  // MARK: Jobs

  /// Records a job for this runner without queueing it.
  public func create(_ job: Job) async throws(SupervisorError) {
    _ = try check(job)
    writes += 1
    defer { wrote() }
    _ = try await owning { () async throws(JobStoreError) in
      try await context.store.create(JobRecord(job: job, createdAt: .now), output: nil)
    }
    await failIfRemoved(job.id)
  }

  /// Queues a created job. A job that is queued or running already stays as it is, so that a client may repeat the call.
  public func start(_ id: JobID) async throws(SupervisorError) {
    writes += 1
    defer { wrote() }
    do {
      let generation = await queue.generation
      await enqueue(try await context.store.transition(id, .enqueue(at: .now, generation: generation)))
    } catch .wrongState(_, .queued) {
      // Queued by a call whose answer was lost. It counts as started only once it waits here.
      await enqueue(try await storing { () async throws(JobStoreError) in try await context.store.record(id) })
    } catch .wrongState(_, .running) {
      // Started by a call whose answer was lost.
    } catch .fenced {
      throw .runnerNotFound(name)
    } catch {
      throw .store(error)
    }
  }

  /// What a shared store refuses because another node owns this runner, this node does not have.
  private func owning<Value>(
    _ body: () async throws(JobStoreError) -> Value
  ) async throws(SupervisorError) -> Value {
    do { return try await body() } catch .fenced { throw .runnerNotFound(name) } catch { throw .store(error) }
  }

  /// Creates, starts and waits for the end; the same job again waits for the one that is there.
  public func run(_ job: Job) async throws(SupervisorError) -> JobRecord {
    if let record = try await createAndStart(job) { return record }
    return try await storing { () async throws(JobStoreError) in try await context.store.finished(job.id) }
  }

  /// - Returns: the record if the job has ended already.
  private func createAndStart(_ job: Job) async throws(SupervisorError) -> JobRecord? {
    writes += 1
    defer { wrote() }
    let now = Timestamp.now
    var first = JobRecord(job: job, status: .queued, createdAt: now)
    first.position = QueuePosition.first(of: await queue.generation)
    var output: JobOutput?
    // What the node does itself, and can do at once, has no state between its beginning and its end.
    if case .echo = try check(job), await queue.isFree(for: name) {
      output = JobOutput(stdout: Array(job.payload.utf8))
      first.status = .completed
      first.attempt = 1
      first.startedAt = now
      first.completedAt = now
      first.result = .success(job.payload)
    }
    let record = first
    let written = output
    switch try await owning({ () async throws(JobStoreError) in
      try await context.store.create(record, output: written)
    }) {
    case .created(let record) where record.status.isFinal:
      counts[.completed, default: 0] += 1
      context.logEnd(of: record)
      return record
    case .created(let record): await enqueue(record)
    case .existed(let present) where present.status.isFinal:
      return present
    case .existed(let present):
      if present.status == .created { try await start(job.id) }
      // Queued by a call whose answer was lost.
      if present.status == .queued { await enqueue(present) }
    }
    return nil
  }

  private func wrote() {
    writes -= 1
    if !isBusy { changes.resumeAll() }
    observer?()
  }

  /// - Parameter observer: called on the loop whenever a job that may have to be transferred has come or gone.
  func observe(_ observer: @escaping @Sendable () -> Void) { self.observer = observer }

  /// The jobs that run here, and whether others may be about to wait.
  var activity: (running: Set<JobID>, isWriting: Bool) { (Set(running.keys), writes > 0) }

  /// Whether jobs run, or may be about to wait.
  var isBusy: Bool { !running.isEmpty || writes > 0 }

  /// Returns when it is busy no more, or the task is cancelled.
  func idle() async {
    await changes.waitUnlessCancelled(while: { isBusy })
  }

  private func enqueue(_ record: JobRecord) async {
    guard removal == nil else { return await failIfRemoved(record.job.id) }
    if let ticket = Backlog.Ticket(record) { await queue.enqueue(ticket) }
  }

  /// A job that was written after its runner's jobs were ended shares their end.
  private func failIfRemoved(_ id: JobID) async {
    guard let removal else { return }
    // The removal itself may have been faster.
    let step = JobTransition.finish(.failed, .error(removal), nil, at: .now)
    if let record = try? await context.store.transition(id, step) { context.logEnd(of: record, reason: removal) }
  }

  /// The registry knows it no more; before its jobs are ended.
  func remove(_ reason: String) { removal = reason }

  /// Ends an unfinished job as `failed` with the error `stopped`; returns when that is on disk.
  public func stop(_ id: JobID, reason: String = "stopped") async throws(SupervisorError) {
    // From here on no runner of the queue can start it.
    await queue.withdraw(id)
    if let holder = await context.held.holder(of: id), await holder.end(id, reason: reason) {
      _ = try await storing { () async throws(JobStoreError) in try await context.store.finished(id) }
    } else {
      // Once accepted this step is not lost: while the disk refuses writes, it waits.
      let step = JobTransition.finish(.failed, .error(reason), nil, at: .now)
      let record = try await storing { () async throws(JobStoreError) in try await context.store.transition(id, step) }
      context.logEnd(of: record, reason: reason)
    }
  }

  /// Forgets a job that is not running.
  public func delete(_ id: JobID) async throws(SupervisorError) {
    try await storing { () async throws(JobStoreError) in try await context.store.delete(id) }
    await queue.withdraw(id)
  }

  /// What a job that is running here has written so far; `nil` when it is not running here.
  public func liveOutput(_ id: JobID) async -> JobOutput? {
    await running[id]?.process?.output
  }

  /// Tells a running job to end.
  /// - Returns: whether it will; one whose end is about to be written has ended by itself.
  @discardableResult
  func end(_ id: JobID, reason: String) async -> Bool {
    guard let job = running[id], !job.isEnding else { return false }
    if job.stopReason == nil { running[id]!.stopReason = reason }
    await job.process?.stop(reason)
    return true
  }

  // MARK: State

  public func startRunner() async {
    state = .running
    await queue.setOpen(name, true)
    changes.resumeAll()
  }

  /// Takes no more jobs and returns when the running ones have ended; with `force` it stops them.
  public func stopRunner(force: Bool, reason: String = "stopped") async throws(SupervisorError) {
    if state == .running { state = .stopping }
    await queue.setOpen(name, false)
    if force { for id in Array(running.keys) { await end(id, reason: reason) } }
    await changes.wait(while: { state == .stopping && !running.isEmpty })
    guard state != .running else { throw .runnerState(name, state, "it was started again while it was stopping") }
    state = .stopped
  }

  /// The node is stopping: waits for the running jobs until the deadline, then kills the rest and queues them again as
  /// `onNodeLoss` says.
  func drain(for time: Duration) async {
    let deadline = Task(executorPreference: context.loop) { [loop = context.loop] in
      try? await loop.sleep(for: time)
      if !Task.isCancelled { await self.handBack() }
    }
    await changes.wait(while: { !running.isEmpty })
    deadline.cancel()
  }

  private func handBack() async {
    handsBack = true
    for id in Array(running.keys) { await end(id, reason: "the node was stopped") }
  }

  /// The node may not run jobs any more: they are killed at once, and queued again as `onNodeLoss` says.
  func killAll(_ reason: String) async {
    handsBack = true
    for (id, job) in running {
      if job.stopReason == nil { running[id]!.stopReason = reason }
      await job.process?.kill(reason)
    }
  }

  /// Whether nothing of its jobs runs, nor will: what only waits to be written does not.
  var isStillNow: Bool {
    running.values.allSatisfy { $0.isGone || $0.process == nil && $0.stopReason != nil }
  }

  /// Returns when nothing of its jobs runs, or the task is cancelled.
  func becomeStill() async {
    await changes.waitUnlessCancelled(while: { !isStillNow })
  }

  /// The processes of a job have ended.
  func gone(_ id: JobID) {
    running[id]?.isGone = true
    changes.resumeAll()
  }

  public func status() async -> RunnerStatus {
    RunnerStatus(
      name: name, queue: settings.queue, node: context.settings.node, state: state, epoch: epoch,
      concurrency: settings.concurrency, queued: await queue.count, running: running.count,
      completed: counts[.completed] ?? 0, failed: counts[.failed] ?? 0, timeout: counts[.timeout] ?? 0)
  }

  // MARK: Execution

  /// A job left the queue for this runner; `execute` follows.
  func take(_ id: JobID) {
    running[id] = RunningJob()
    context.held.assumeIsolated { $0.add(id, self) }
  }

  /// One job, handed over by the queue, from its start to its end on disk.
  func execute(_ ticket: Backlog.Ticket) async {
    let id = ticket.id
    do throws(NotExecuted) {
      switch context.executors[ticket.executor] {
      case .echo: try await echo(ticket)
      case .process(let process): try await execute(ticket, by: process)
      case nil: await finish(id, .failed, "this node has no executor \"\(ticket.executor)\"")
      }
      dropped(id)
      await queue.drop(id)
      await context.gate.started(queue)
    } catch {
      dropped(id)
      switch error {
      case .gone: await queue.drop(id)
      case .waits(let cause, let reason, let pause):
        await queue.putBack(ticket)
        await context.gate.failed(queue, id, cause, reason, pause: pause)
      case .runsElsewhere: await queue.occupy(id, of: ticket.runner)
      }
      await context.gate.idle(queue)
    }
    if running.isEmpty { changes.resumeAll() }
  }

  private func dropped(_ id: JobID) {
    running[id] = nil
    context.held.assumeIsolated { $0.remove(id, self) }
    observer?()
  }

  private func echo(_ ticket: Backlog.Ticket) async throws(NotExecuted) {
    let id = ticket.id
    let record = try await started(ticket)
    if let reason = running[id]?.stopReason { return await end(record, .stopped(reason), of: nil) }
    let payload = record.job.payload
    await finish(id, .completed, .success(payload), JobOutput(stdout: Array(payload.utf8)))
  }

  /// Records the start.
  func started(_ ticket: Backlog.Ticket) async throws(NotExecuted) -> JobRecord {
    do {
      let record = try await context.store.transition(ticket.id, .start(at: .now))
      // What waits behind it may be transferred now.
      observer?()
      return record
    } catch .unavailable(let reason, let milliseconds) {
      throw .waits(.store, reason: reason, pause: .milliseconds(milliseconds))
    } catch .wrongState(_, .running) {
      throw .runsElsewhere
    } catch {
      throw .gone
    }
  }

  /// Called when the end of a job, or its return to the backlog, has its place in the order of writing: the next job's
  /// start is written with it or after it.
  func releasing(_ id: JobID) -> @Sendable () -> Void {
    { [self] in
      assumeIsolated { $0.running[id]?.isEnding = true }
      queue.assumeIsolated { $0.release(id) }
    }
  }

  /// Whether a later runner of this node has the job by now: another node recovered it, and the runner came back. Nothing of
  /// the earlier attempt counts any more; the store could not tell it from the later one.
  func isOvertaken(_ id: JobID) -> Bool {
    let isOvertaken = context.held.assumeIsolated { $0.holder(of: id) } !== self
    if isOvertaken { context.logger.warning("a later attempt of a job runs already", metadata: ["job": "\(id)"]) }
    return isOvertaken
  }

  /// Records the end of a job that did not complete.
  /// - Parameter explanation: what the job wrote last, to stand behind the reason in its error, and in no log.
  func finish(
    _ id: JobID, _ status: JobStatus, _ reason: String, explanation: String = "", exitStatus: Int64? = nil,
    _ output: JobOutput? = nil
  ) async {
    await finish(id, status, .error(reason + explanation), output, exitStatus: exitStatus, reason: reason)
  }

  func finish(
    _ id: JobID, _ status: JobStatus, _ result: JobResult, _ output: JobOutput?, exitStatus: Int64? = nil,
    reason: String? = nil
  ) async {
    if isOvertaken(id) { return }
    let record: JobRecord
    do {
      record = try await context.store.transition(
        id, .finish(status, result, output, at: .now), accepted: releasing(id))
    } catch .fenced {
      return context.logger.warning("another node has taken a job over", metadata: ["job": "\(id)"])
    } catch {
      context.logger.error("cannot record a job's end", metadata: ["job": "\(id)", "error": "\(error)"])
      return
    }
    counts[status, default: 0] += 1
    context.logEnd(of: record, exitStatus: exitStatus, reason: reason)
  }

  /// The executor of a job that a client hands over, if this runner may and can run it.
  private func check(_ job: Job) throws(SupervisorError) -> Executor {
    guard mayUse(job.executor), let executor = context.executors[job.executor] else {
      throw .executorNotAllowed(job.executor, name, allowed: executors)
    }
    if case .process(let process) = executor { try process.check(job, environment(of: job, process)) }
    return executor
  }
}

/// Why a job that left the backlog for a runner was not executed.
enum NotExecuted: Error {
  /// It was stopped or deleted while it waited, or its runner has another owner now.
  case gone
  /// The store or the machine cannot have it run now: it waits where it was, and its queue is on hold (`StartGate`).
  case waits(StartHolds.Cause, reason: String, pause: Duration? = nil)
  /// The store calls it running: an earlier life of this runner started it, and is about to end it or to queue it again.
  case runsElsewhere
}
