import Cluster
import Distributed
import EventLoop
import Logging

// What one node does itself: its runners and the jobs in its store. A distributed actor, so that any node asks the owner
// of a runner by the same call, whether that is another node or itself; which one it is, `RunnerRegistry` knows. Calls
// about jobs are in `NodeSupervisor+Jobs.swift`, the return after a crash in `NodeSupervisor+Recovery.swift`, the way of
// jobs to a new owner in `NodeSupervisor+Departure.swift` and `NodeSupervisor+Arrival.swift`.

public distributed actor NodeSupervisor {
  public typealias ActorSystem = ClusterSystem
  public nonisolated var unownedExecutor: UnownedSerialExecutor { actorSystem.loop.asUnownedSerialExecutor() }

  let context: RunnerContext
  /// Settings of the runners that the configuration names.
  let configured: [RunnerName: RunnerSettings]
  var runners: [RunnerName: Runner] = [:]
  var queues: [QueueName: JobQueue] = [:]
  /// Runners that have another owner now, and of which jobs remain here.
  var departed: [RunnerName: Departure] = [:]
  /// What goes to other nodes, and what comes from them (`JobTransfer.swift`).
  var outgoing = OutgoingTransfers()
  var incoming = IncomingTransfers()
  /// Asks former owners of runners for their jobs.
  var pulls: [Backlog.Transfer: (runner: Runner, task: Task<Void, Never>)] = [:]
  /// Asks for answers that were lost.
  var resolving: Task<Void, Never>?
  /// Grows whenever something has happened that a transfer may wait for.
  var transferChange: UInt64 = 0
  /// Who waits for progress of departures and transfers.
  let departures: Waiters
  var isClosing = false
  private(set) var isDraining = false
  /// Why this node must not run jobs at present, if so.
  var leaseLoss: String?
  /// Reads what waits for a runner that has come back (`NodeSupervisor+Departure.swift`).
  var returning: [RunnerName: Task<Void, Never>] = [:]
  /// Waits for the end of jobs that run elsewhere and take slots here (`NodeSupervisor+Shared.swift`).
  var elsewhere: [JobID: Task<Void, Never>] = [:]
  /// Decides for this node what concerns others as well; it made this actor and outlives it.
  unowned let registry: RunnerRegistry

  init(
    context: RunnerContext, configured: [RunnerName: RunnerSettings], registry: RunnerRegistry,
    actorSystem: ClusterSystem
  ) {
    self.context = context
    self.configured = configured
    self.registry = registry
    departures = Waiters(on: context.loop)
    self.actorSystem = actorSystem
  }

  /// The runner of this name that lives here.
  func runner(_ name: RunnerName) throws(SupervisorError) -> Runner {
    if let runner = runners[name] { return runner }
    if let leaseLoss { throw .store(.unavailable(leaseLoss, retryAfterMilliseconds: 1000)) }
    throw .runnerNotFound(name)
  }

  // MARK: Calls about runners

  /// Registers a runner on a queue that lives here, or shall.
  distributed func register(_ name: RunnerName, queue: QueueName) async throws {
    try await registry.registerHere(name, queue: queue)
  }

  /// Stops it, fails its unfinished jobs with that reason, forgets it. Jobs of other runners in its queue stay.
  distributed func remove(_ name: RunnerName) async throws { try await registry.removeHere(name) }

  distributed func startRunner(_ name: RunnerName) async throws {
    let runner = try runner(name)
    guard !isDraining else { throw SupervisorError.draining }
    try await record(runner, isStopped: false)
    await runner.startRunner()
    await registry.publish(runner, isStopped: false)
  }

  /// Returns when its running jobs have ended; with `force` it stops them. A restart of the node does not start it.
  distributed func stopRunner(_ name: RunnerName, force: Bool) async throws {
    let runner = try runner(name)
    // Stopping works even while the disk refuses writes; only then is the caller told that it will not last.
    try await runner.stopRunner(force: force)
    try await record(runner, isStopped: true)
    await registry.publish(runner, isStopped: true)
  }

  distributed func status(_ name: RunnerName) async throws -> RunnerStatus { try await runner(name).status() }

  distributed func statuses() async -> [RunnerStatus] {
    var statuses: [RunnerStatus] = []
    for runner in runners.values { statuses.append(await runner.status()) }
    return statuses
  }

  // MARK: Calls about ownership

  /// Takes over runners that another node gives up; each with the epoch that it has from now on.
  distributed func takeOver(_ runners: [RegisteredRunner], from giver: NodeName) async throws {
    try await registry.takeOver(runners, from: giver)
  }

  /// Gives the runners of a queue that lives here to another node; returns when the jobs that wait are there, too.
  distributed func move(_ queue: QueueName, to node: NodeName) async throws {
    try await registry.moveHere(queue, to: node)
  }

  /// Gives all runners to others and takes none, or takes some again.
  distributed func drainNode(undo: Bool) async throws { try await registry.drainHere(undo: undo) }

  // MARK: Hosting

  /// What a runner is told: the configuration's entry of that name, or the defaults.
  func settings(for name: RunnerName, queue: QueueName) -> RunnerSettings {
    if let settings = configured[name], settings.queue == queue { return settings }
    return RunnerSettings(name: name, queue: queue)
  }

  /// This node owns these runners from now on: on disk, then in fact.
  /// - Returns: those that it really owns; where the nodes share a store, the store decides.
  /// - Parameter giver: their present owner, which agrees.
  func host(_ entries: [RegisteredRunner], from giver: NodeName?) async throws(SupervisorError) -> [RegisteredRunner] {
    if let shared = context.shared { return try await host(entries, consented: giver != nil, in: shared) }
    let store = context.store
    // Before the runner is written as this node's own, so that the end of a departure cannot come after it.
    var formers: [RunnerName: Departure] = [:]
    for entry in entries { formers[entry.name] = await endDeparture(entry.name) }
    do throws(SupervisorError) {
      try await storing { () async throws(JobStoreError) in
        try await withEach(entries) { (entry) async throws(JobStoreError) in try await store.save(entry) }
      }
    } catch {
      for former in formers.values { depart(former.entry, runner: former.runner, isRecorded: former.isRecorded) }
      throw error
    }
    for entry in entries where runners[entry.name] == nil {
      let former = formers[entry.name]
      let settings = settings(for: entry.name, queue: entry.queue)
      let runner = await add(
        settings, isStopped: entry.isStopped, epoch: entry.epoch, isRead: former == nil && giver == nil)
      if let giver {
        await beginPull(runner, from: giver)
        if former == nil { await runner.queue.setRead(runner.name) }
      }
      if let former { await takeBack(runner, from: former) }
    }
    return entries
  }

  @discardableResult
  func add(
    _ settings: RunnerSettings, isStopped: Bool, epoch: UInt64, isOpen: Bool = true, isRead: Bool = true
  ) async -> Runner {
    let queue = queues[settings.queue] ?? JobQueue(name: settings.queue, loop: context.loop)
    queues[settings.queue] = queue
    let runner = Runner(settings, queue: queue, context: context, isStopped: isStopped, epoch: epoch)
    runners[settings.name] = runner
    await queue.add(runner, isOpen: isOpen && !isStopped, isRead: isRead)
    return runner
  }

  /// Forgets a runner and ends its jobs.
  func forget(_ name: RunnerName) async throws(SupervisorError) {
    let runner = try runner(name)
    try await storing { () async throws(JobStoreError) in try await context.store.forget(name) }
    guard runners[name] === runner else { throw .runnerNotFound(name) }
    runners[name] = nil
    await runner.queue.remove(name)
    let reason = "its runner \(name) was removed"
    await runner.remove(reason)
    await dropIfUnused(runner.queue)
    for status in [JobStatus.created, .queued, .running] { try await stopJobs(of: runner, status, reason) }
    try await runner.stopRunner(force: true, reason: reason)
    context.logger.info("runner removed", metadata: ["runner": "\(name)"])
  }

  /// Forgets a queue without runners; nothing of it sleeps on the loop afterwards.
  func dropIfUnused(_ queue: JobQueue) async {
    guard await queue.runnerNames.isEmpty else { return }
    await queue.drain()
    queues[queue.name] = nil
  }

  /// Opens all runners that are not stopped: the node knows now what it owns.
  func open() async {
    for runner in runners.values where await runner.state == .running { await runner.startRunner() }
  }

  /// Whether these runners take jobs; those that are stopped stay so.
  func setOpen(_ names: [RunnerName], _ isOpen: Bool) async {
    for name in names {
      guard let runner = runners[name], await runner.state == .running else { continue }
      await runner.queue.setOpen(name, isOpen)
    }
  }

  /// The node is stopping: nothing starts any more.
  func stopStarting() async {
    isDraining = true
    for queue in queues.values { await queue.drain() }
  }

  /// Running jobs have this long to end.
  func drain(for time: Duration) async {
    await stopStarting()
    await withDiscardingTaskGroup { group in
      for runner in await context.held.runners { group.addTask { await runner.drain(for: time) } }
    }
  }

  // MARK: Parts

  /// Writes whether it is stopped, so that a restart finds it as it was.
  private func record(_ runner: Runner, isStopped: Bool) async throws(SupervisorError) {
    let entry = RegisteredRunner(
      name: runner.name, queue: runner.settings.queue, isStopped: isStopped, epoch: runner.epoch)
    try await storing { () async throws(JobStoreError) in try await context.store.save(entry) }
  }

  /// Ends all jobs of a runner that are in this state, wherever they wait or run.
  private func stopJobs(
    of runner: Runner, _ status: JobStatus, _ reason: String
  ) async throws(SupervisorError) {
    var query = JobQuery(limit: 256, parts: [])
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
    let context = self.context
    var next = ids.startIndex
    while next < ids.endIndex {
      let part = ids[next..<min(next + 256, ids.endIndex)]
      next = part.endIndex
      await withDiscardingTaskGroup { group in
        for id in part {
          group.addTask {
            let step = JobTransition.finish(.failed, .error(reason), nil, at: .now)
            if let record = try? await context.store.transition(id, step) { context.logEnd(of: record, reason: reason) }
          }
        }
      }
    }
  }
}

/// Does the same for all, at the same time, so that they share what it costs; throws what failed first.
func withEach<Element: Sendable, Failure: Error>(
  _ elements: [Element], _ body: @escaping @Sendable (Element) async throws(Failure) -> Void
) async throws(Failure) {
  let failures = await withTaskGroup(of: Failure?.self) { group in
    for element in elements {
      group.addTask {
        do throws(Failure) {
          try await body(element)
          return nil
        } catch {
          return error
        }
      }
    }
    var first: Failure?
    for await failure in group where first == nil { first = failure }
    return first
  }
  if let failure = failures { throw failure }
}
