import EventLoop
import Logging

// Which runners there are and where each lives: the entrance to the domain. Calls about jobs are in
// `RunnerRegistry+Jobs.swift`, the return after a crash in `RunnerRegistry+Recovery.swift`.

public actor RunnerRegistry {
  nonisolated let context: RunnerContext
  public nonisolated var unownedExecutor: UnownedSerialExecutor { context.loop.asUnownedSerialExecutor() }

  /// Settings of the runners that the configuration names.
  let configured: [RunnerName: RunnerSettings]
  var runners: [RunnerName: Runner] = [:]
  /// In the order of their registration.
  private(set) var names: [RunnerName] = []
  private var queues: [QueueName: JobQueue] = [:]
  /// Registrations whose record is being written, and who waits for that.
  private var registering: [RunnerName: [CheckedContinuation<Void, Never>]] = [:]
  public private(set) var isDraining = false

  public init(context: RunnerContext, configured: [RunnerSettings] = []) {
    self.context = context
    self.configured = Dictionary(configured.map { ($0.name, $0) }, uniquingKeysWith: { $1 })
  }

  /// The names of all runners.
  public var list: [RunnerName] { names }

  /// The runner of this name.
  public func owner(of name: RunnerName) throws(SupervisorError) -> Runner {
    guard let runner = runners[name] else { throw .runnerNotFound(name) }
    return runner
  }

  /// Makes this node the owner of a new runner, which starts by itself. The same name with the same queue again
  /// changes nothing.
  public func register(_ name: RunnerName, queue: QueueName) async throws(SupervisorError) {
    guard !isDraining else { throw .draining }
    while registering[name] != nil { await withCheckedContinuation { registering[name]!.append($0) } }
    if let present = runners[name] {
      guard present.settings.queue == queue else { throw .queueConflict(name, present.settings.queue) }
      return
    }
    registering[name] = []
    defer { for waiter in registering.removeValue(forKey: name)! { waiter.resume() } }
    try await storing { () async throws(JobStoreError) in
      try await context.store.save(RegisteredRunner(name: name, queue: queue))
    }
    await add(settings(for: name, queue: queue), isStopped: false)
    context.logger.info("runner registered", metadata: ["runner": "\(name)", "queue": "\(queue)"])
  }

  /// Stops it, fails its unfinished jobs with that reason, forgets it. Jobs of other runners in its queue stay.
  public func remove(_ name: RunnerName) async throws(SupervisorError) {
    let runner = try owner(of: name)
    try await storing { () async throws(JobStoreError) in try await context.store.forget(name) }
    guard runners[name] === runner else { throw .runnerNotFound(name) }
    runners[name] = nil
    names.removeAll { $0 == name }
    await runner.queue.remove(name)
    let reason = "its runner \(name) was removed"
    await runner.remove(reason)
    if await runner.queue.runnerNames.isEmpty { queues[runner.settings.queue] = nil }
    for status in [JobStatus.created, .queued, .running] { try await stopJobs(of: runner, status, reason) }
    try await runner.stopRunner(force: true, reason: reason)
    context.logger.info("runner removed", metadata: ["runner": "\(name)"])
  }

  public func start(_ name: RunnerName) async throws(SupervisorError) {
    guard !isDraining else { throw .draining }
    let runner = try owner(of: name)
    try await record(runner, isStopped: false)
    await runner.startRunner()
  }

  /// Returns when its running jobs have ended; with `force` it stops them. A restart of the node does not start it.
  public func stop(_ name: RunnerName, force: Bool) async throws(SupervisorError) {
    let runner = try owner(of: name)
    // Stopping works even while the disk refuses writes; only then is the caller told that it will not last.
    try await runner.stopRunner(force: force)
    try await record(runner, isStopped: true)
  }

  public func status(_ name: RunnerName) async throws(SupervisorError) -> RunnerStatus {
    try await owner(of: name).status()
  }

  public func statuses() async -> [RunnerStatus] {
    var statuses: [RunnerStatus] = []
    for name in names { if let runner = runners[name] { statuses.append(await runner.status()) } }
    return statuses
  }

  /// The node is stopping: nothing starts any more; running jobs have this long to end.
  public func drain(for time: Duration) async {
    isDraining = true
    for queue in queues.values { await queue.drain() }
    await withDiscardingTaskGroup { group in
      for runner in runners.values { group.addTask { await runner.drain(for: time) } }
    }
  }

  // MARK: Parts

  /// What a runner is told: the configuration's entry of that name, or the defaults.
  func settings(for name: RunnerName, queue: QueueName) -> RunnerSettings {
    if let settings = configured[name], settings.queue == queue { return settings }
    return RunnerSettings(name: name, queue: queue)
  }

  @discardableResult
  func add(_ settings: RunnerSettings, isStopped: Bool, isOpen: Bool = true) async -> Runner {
    let queue = queues[settings.queue] ?? JobQueue(name: settings.queue, loop: context.loop)
    queues[settings.queue] = queue
    let runner = Runner(settings, queue: queue, context: context, isStopped: isStopped)
    runners[settings.name] = runner
    names.append(settings.name)
    await queue.add(runner, concurrency: settings.concurrency, isOpen: isOpen && !isStopped)
    return runner
  }

  /// Writes whether it is stopped, so that a restart finds it as it was.
  private func record(_ runner: Runner, isStopped: Bool) async throws(SupervisorError) {
    let entry = RegisteredRunner(name: runner.name, queue: runner.settings.queue, isStopped: isStopped)
    try await storing { () async throws(JobStoreError) in try await context.store.save(entry) }
  }

  /// Ends all jobs of a runner that are in this state, wherever they wait or run.
  private func stopJobs(
    of runner: Runner, _ status: JobStatus, _ reason: String
  ) async throws(SupervisorError) {
    var query = JobQuery(limit: 256)
    query.runner = runner.name
    query.status = status
    while true {
      let asked = query
      let page = try await storing { () async throws(JobStoreError) in try await context.store.query(asked) }
      await withDiscardingTaskGroup { group in
        // One that has meanwhile ended stays as it is.
        for record in page.jobs { group.addTask { try? await runner.stop(record.job.id, reason: reason) } }
      }
      guard let next = page.next else { return }
      query.cursor = next
    }
  }

  /// Fails many jobs, several in one commit. One that has meanwhile ended stays as it is.
  func fail(_ ids: [JobID], _ reason: String) async throws(SupervisorError) {
    let store = context.store
    var next = ids.startIndex
    while next < ids.endIndex {
      let part = ids[next..<min(next + 256, ids.endIndex)]
      next = part.endIndex
      await withDiscardingTaskGroup { group in
        for id in part {
          group.addTask { _ = try? await store.transition(id, .finish(.failed, .error(reason), nil, at: .now)) }
        }
      }
    }
  }
}
