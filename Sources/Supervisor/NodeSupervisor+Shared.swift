import Cluster
import Distributed
import EventLoop
import Logging

// What is different for a node whose store all nodes share: the store says what it owns, jobs need no way from one node
// to another, and without a lease nothing may run.

extension NodeSupervisor {
  /// Waiting jobs that are read together.
  private static var page: Int { 2000 }

  /// What a lease of this node is worth, as a peer wants to know that would take over its runners.
  distributed func leaseState(_ session: Int) async -> LeaseState {
    guard let shared = context.shared, Int64(session) == shared.session else { return .unknown }
    // In this order: a renewal that is sent after the first has another beat than the peer has read.
    guard await shared.sayLeaseOver() else { return .inForce }
    for runner in await context.held.runners where await !runner.isStillNow { return .inForce }
    return .over
  }

  /// A node has lost its lease, and nothing runs there any more.
  distributed func leaseIsOver(_ session: Int) async {
    await registry.leaseIsOver(Int64(session))
  }

  /// Nothing of a former life runs any more before the lease of that life ends. What this node owns is found later.
  func recover(_ shared: any SharedJobStore) async throws(SupervisorError) {
    await clearRemains([])
    try await storing { () async throws(JobStoreError) in try await shared.begin() }
  }

  /// Takes runners over with their jobs: what ran on nodes that are gone is queued again or fails, and what waits is in the
  /// backlog before anything starts.
  func host(
    _ entries: [RegisteredRunner], consented: Bool, in shared: any SharedJobStore
  ) async throws(SupervisorError) -> [RegisteredRunner] {
    let owned = try await storing { () async throws(JobStoreError) in
      try await shared.claim(entries, consented: consented)
    }
    var fresh: [RegisteredRunner] = []
    for entry in owned where leaseLoss == nil && runners[entry.name]?.epoch != entry.epoch {
      // It was another node's meanwhile, and this one has not heard of it.
      if runners[entry.name] != nil { await giveUp(entry.name, to: context.settings.node, epoch: entry.epoch) }
      fresh.append(entry)
      await endDeparture(entry.name)
      let settings = settings(for: entry.name, queue: entry.queue)
      await add(settings, isStopped: entry.isStopped, epoch: entry.epoch, isRead: false)
    }
    await takeJobsAgain(of: fresh.map(\.name))
    return owned
  }

  /// Reads the unfinished jobs of runners: recovers what ran on nodes that are gone, inserts what waits, and takes account
  /// of what runs elsewhere.
  private func takeJobs(of runners: [Runner], in shared: any SharedJobStore) async throws(SupervisorError) {
    let names = runners.map(\.name)
    var readings: [(queue: JobQueue, runners: [RunnerName], number: Int)] = []
    for (queue, group) in Dictionary(grouping: runners, by: { ObjectIdentifier($0.queue) }).values.map({
      ($0[0].queue, $0.map(\.name))
    }) {
      readings.append((queue, group, await queue.beginReading()))
    }
    let found: SharedBacklog
    var waiting: [WaitingJob]
    do throws(SupervisorError) {
      found = try await recovered(runners.map(\.settings), in: shared)
      waiting = found.waiting
      // A runner whose jobs are here needs only those that were queued again, which stand at the beginning.
      let areNew = await areUnread(readings.map(\.queue))
      var page = found.waiting.count
      while page == Self.page, let last = waiting.last {
        if !areNew, await !isAnyUnknown(waiting.suffix(page)) { break }
        let next = try await storing { () async throws(JobStoreError) in
          try await shared.waiting(names, after: last.position, limit: Self.page)
        }
        page = next.count
        waiting += next
      }
    } catch {
      for reading in readings { await reading.queue.cancelReading(reading.number) }
      throw error
    }
    let waitingOf = Dictionary(grouping: waiting, by: \.runner)
    let runningOf = Dictionary(grouping: found.running, by: \.runner)
    for reading in readings {
      let snapshot = Backlog.Snapshot(
        waiting: reading.runners.flatMap { waitingOf[$0] ?? [] }.map { Backlog.Ticket($0) },
        running: reading.runners.flatMap { runningOf[$0] ?? [] }.map { ($0.id, $0.runner) })
      let elsewhere = await reading.queue.apply(snapshot, of: reading.runners, since: reading.number)
      awaitEnds(of: elsewhere, in: shared)
    }
  }

  private func areUnread(_ queues: [JobQueue]) async -> Bool {
    for queue in queues where await !queue.unread.isEmpty { return true }
    return false
  }

  private func isAnyUnknown(_ jobs: some Sequence<WaitingJob>) async -> Bool {
    for job in jobs where await runners[job.runner]?.queue.knows(job.id) == false { return true }
    return false
  }

  /// What the store says of runners, once nothing of it was left behind by processes that are gone, or by this one.
  private func recovered(
    _ settings: [RunnerSettings], in shared: any SharedJobStore
  ) async throws(SupervisorError) -> SharedBacklog {
    let names = settings.map(\.name)
    var attempts = 0
    while true {
      let found = try await storing { () async throws(JobStoreError) in
        try await shared.backlog(of: names, limit: Self.page)
      }
      let held = context.held
      let abandoned = found.running.filter { job in job.isMine && !held.assumeIsolated { $0.contains(job.id) } }
      attempts += 1
      guard !abandoned.isEmpty || found.running.contains(where: \.isLost), attempts < 5 else { return found }
      try await storing { () async throws(JobStoreError) in
        try await shared.recoverRunning(settings, abandoned: abandoned)
      }
    }
  }

  /// Frees the slot of each job that runs elsewhere when it has ended there. That one was queued again is told by the store.
  private func awaitEnds(of jobs: [RunnerName: Set<JobID>], in shared: any SharedJobStore) {
    for (runner, ids) in jobs {
      for id in ids where elsewhere[id] == nil { awaitEnd(of: id, runner, in: shared) }
    }
  }

  private func awaitEnd(of id: JobID, _ runner: RunnerName, in shared: any SharedJobStore) {
    context.logger.info(
      "a job runs elsewhere, and takes a slot of its runner here", metadata: ["job": "\(id)", "runner": "\(runner)"])
    elsewhere[id] = Task(executorPreference: context.loop) {
      let isOver: Bool
      do throws(JobStoreError) {
        _ = try await shared.finished(id)
        isOver = true
      } catch {
        // What a failure of the store hides is found by `takeMissedJobs`.
        isOver = error == .notFound(id)
      }
      await self.endedElsewhere(id, of: runner, isOver: isOver)
    }
  }

  private func endedElsewhere(_ id: JobID, of runner: RunnerName, isOver: Bool) async {
    elsewhere[id] = nil
    if isOver { await runners[runner]?.queue.vacate(id, of: runner) }
  }

  /// Looks at the jobs of these runners again, as far as they live here; of all when there is no name.
  func takeJobsAgain(of names: [RunnerName]?) async {
    guard let shared = context.shared, leaseLoss == nil else { return }
    let found = names.map { $0.compactMap { runners[$0] } } ?? Array(runners.values)
    guard !found.isEmpty else { return }
    do throws(SupervisorError) { try await takeJobs(of: found, in: shared) } catch {
      // The store has just gone. Until their jobs were read, runners that are new here take none.
      context.logger.warning("cannot read the jobs of runners yet", metadata: ["reason": "\(error)"])
    }
  }

  /// Finds what no news told of: waiting jobs that this node does not know, jobs of nodes that are gone, runners whose jobs
  /// could not be read, and jobs that do not run elsewhere any more.
  func takeMissedJobs() async {
    guard let shared = context.shared, leaseLoss == nil, !runners.isEmpty else { return }
    guard let check = try? await shared.check() else { return }
    var names = Set(check.lost)
    var elsewhere: [RunnerName: Set<JobID>] = [:]
    for queue in queues.values {
      names.formUnion(await queue.unread)
      elsewhere.merge(await queue.elsewhere) { $1 }
    }
    let held = context.held
    if !elsewhere.isEmpty, let now = try? await shared.backlog(of: Array(elsewhere.keys), limit: 1) {
      let running = Set(now.running.map(\.id))
      for (runner, jobs) in elsewhere where !jobs.isSubset(of: running) { names.insert(runner) }
      for job in now.running where job.isLost || job.isMine && !held.assumeIsolated({ $0.contains(job.id) }) {
        names.insert(job.runner)
      }
    }
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
    departures.resumeAll()
  }

  /// This node may not run jobs any more, at once: it gives up all its runners, and kills what runs.
  func stopAtOnce(_ reason: String) async {
    leaseLoss = reason
    let stopped = Array(runners.values)
    runners = [:]
    queues = [:]
    for task in elsewhere.values { task.cancel() }
    elsewhere = [:]
    for runner in stopped {
      await runner.queue.drain()
      let entry = RegisteredRunner(
        name: runner.name, queue: runner.settings.queue, epoch: runner.epoch, newOwner: context.settings.node)
      depart(entry, runner)
      await runner.killAll(reason)
    }
    for runner in await context.held.runners { await runner.killAll(reason) }
  }
}
