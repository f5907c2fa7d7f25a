import Cluster
import Distributed
import EventLoop
import Logging

// What is different for a node whose store all nodes share: the store says what it owns, jobs need no way from one node
// to another, and without a lease nothing may run.

extension NodeSupervisor {
  /// Jobs that are put in line together.
  private static var page: Int { 2000 }

  /// Nothing of a former life runs any more before the lease of that life ends. What this node owns is found later.
  func recover(_ shared: any SharedJobStore) async throws(SupervisorError) {
    try await clearRemains([])
    try await storing { () async throws(JobStoreError) in try await shared.begin() }
  }

  /// Takes runners over with their jobs: what ran on nodes that are gone is queued again or fails, what waits stands in
  /// line before anything new does, then they open.
  func host(
    _ entries: [RegisteredRunner], consented: Bool, in shared: any SharedJobStore
  ) async throws(SupervisorError) -> [RegisteredRunner] {
    let owned = try await storing { () async throws(JobStoreError) in
      try await shared.claim(entries, consented: consented)
    }
    let fresh = owned.filter { runners[$0.name] == nil && leaseLoss == nil }
    guard !fresh.isEmpty else { return owned }
    // Nobody stands in line before those who were there: the lines are closed before the runners are known.
    let lines = Set(fresh.map(\.queue)).map { name in
      let queue = queues[name] ?? JobQueue(name: name, loop: context.loop)
      queues[name] = queue
      return queue
    }
    for queue in lines { await queue.beginLoading() }
    var added: [Runner] = []
    for entry in fresh {
      _ = await endDeparture(entry.name)
      let settings = settings(for: entry.name, queue: entry.queue)
      added.append(await add(settings, isStopped: entry.isStopped, epoch: entry.epoch, isOpen: false))
      unread.insert(entry.name)
    }
    do throws(SupervisorError) { try await takeJobs(of: added, in: shared) } catch {
      // The store has just gone. They take no jobs until their lines were read.
      context.logger.warning("cannot read the jobs of runners yet", metadata: ["reason": "\(error)"])
    }
    for queue in lines { await queue.endLoading() }
    return owned
  }

  /// Recovers what ran on nodes that are gone, puts what waits in line, and opens the runners.
  private func takeJobs(of runners: [Runner], in shared: any SharedJobStore) async throws(SupervisorError) {
    guard !runners.isEmpty else { return }
    let settings = runners.map(\.settings)
    try await storing { () async throws(JobStoreError) in try await shared.recoverRunning(settings) }
    let lines = Dictionary(runners.map { ($0.name, $0.queue) }, uniquingKeysWith: { $1 })
    let queues = Dictionary(runners.map { ($0.queue.name, $0.queue) }, uniquingKeysWith: { $1 }).values
    for queue in queues { await queue.beginLoading() }
    let result: Result<Void, SupervisorError>
    do throws(SupervisorError) {
      var position = Int64.min
      while true {
        let after = position
        let page = try await storing { () async throws(JobStoreError) in
          try await shared.waiting(Array(lines.keys), after: after, limit: Self.page)
        }
        for job in page { await lines[job.runner]?.load(job.id, executor: job.executor) }
        guard page.count == Self.page, let last = page.last else { break }
        position = last.position
      }
      result = .success(())
    } catch {
      result = .failure(error)
    }
    for queue in queues { await queue.endLoading() }
    try result.get()
    for runner in runners where unread.remove(runner.name) != nil {
      if self.runners[runner.name] === runner, !isDraining, await runner.state == .running {
        await runner.queue.setOpen(runner.name, true)
      }
    }
  }

  /// Looks at the lines of these runners again, as far as they live here; of all when there is no name.
  func takeJobsAgain(of names: [RunnerName]?) async {
    guard let shared = context.shared, leaseLoss == nil else { return }
    let found = names.map { $0.compactMap { runners[$0] } } ?? Array(runners.values)
    do throws(SupervisorError) { try await takeJobs(of: found, in: shared) } catch {
      context.logger.warning("cannot read the jobs of runners yet", metadata: ["reason": "\(error)"])
    }
  }

  /// Finds what no news told of: jobs in line that this node does not know, jobs of nodes that are gone, lines that could
  /// not be read.
  func takeMissedJobs() async {
    guard let shared = context.shared, leaseLoss == nil, !runners.isEmpty else { return }
    guard let check = try? await shared.check() else { return }
    var names = unread.union(check.lost)
    for job in check.first {
      guard let runner = runners[job.runner] else { continue }
      if await !runner.queue.knows(job.id) { names.insert(job.runner) }
    }
    if !names.isEmpty { await takeJobsAgain(of: Array(names)) }
  }

  /// A runner has a new owner, who has its jobs already; what runs here ends here.
  func depart(_ entry: RegisteredRunner, _ runner: Runner) {
    departed[entry.name] = Departure(entry: entry, runner: runner, isRecorded: true, isIdle: true)
    departed[entry.name]!.task = Task(executorPreference: context.loop) { await self.leave(entry.name, runner) }
  }

  private func leave(_ name: RunnerName, _ runner: Runner) async {
    await runner.idle()
    if departed[name]?.runner === runner { departed[name] = nil }
    resumeDepartureWaiters()
  }

  /// This node may not run jobs any more, at once: it gives up all its runners, and kills what runs.
  func stopAtOnce(_ reason: String) async {
    leaseLoss = reason
    let stopped = Array(runners.values)
    runners = [:]
    queues = [:]
    unread = []
    for runner in stopped {
      await runner.queue.drain()
      let entry = RegisteredRunner(
        name: runner.name, queue: runner.settings.queue, epoch: runner.epoch, newOwner: context.settings.node)
      depart(entry, runner)
      await runner.killAll(reason)
    }
    for departure in departed.values { await departure.runner?.killAll(reason) }
  }
}
