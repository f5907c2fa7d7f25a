import Cluster
import Distributed
import EventLoop
import Logging

// A runner has another owner now. What is running here ends here; what waits goes to the new owner, in order: it is
// committed there first, then forgotten here, and the id makes a repeated hand-over harmless. Before the first job goes,
// this node has written down that the runner is no longer its own, so that not even a crash lets it start one that went.

/// A runner on its way out.
struct Departure: Sendable {
  var entry: RegisteredRunner
  /// Present unless the runner was lost while this node was down.
  let runner: Runner?
  /// Whether the store knows.
  var isRecorded: Bool
  /// Whether nothing waits here any more.
  var isIdle = false
  var task: Task<Void, Never>?

  var newOwner: NodeName { entry.newOwner! }
}

extension NodeSupervisor {
  /// Jobs that travel together, and the bytes of their payloads.
  private static var batchJobs: Int { 64 }
  private static var batchBytes: Int { 4 << 20 }

  /// Takes over jobs of a runner that lives here, each once.
  /// - Returns: those whose id another job has here; they remain with the sender.
  distributed func accept(_ records: [JobRecord]) async throws -> [JobID] {
    guard !isDraining else { throw SupervisorError.draining }
    let store = context.store
    for record in records { _ = try runner(record.job.runner) }
    let outcomes = await withTaskGroup(of: (Int, Result<JobCreation, JobStoreError>).self) { group in
      for (index, record) in records.enumerated() {
        group.addTask {
          // Bound before the tuple is made: Swift 6.3.1 with -O loses the index when it awaits inside the tuple.
          let creation: JobCreation
          do throws(JobStoreError) { creation = try await store.create(record, output: nil) } catch {
            return (index, .failure(error))
          }
          return (index, .success(creation))
        }
      }
      var outcomes = [Result<JobCreation, JobStoreError>?](repeating: nil, count: records.count)
      for await (index, outcome) in group { outcomes[index] = outcome }
      return outcomes
    }
    var refused: [JobID] = []
    for (record, outcome) in zip(records, outcomes) {
      switch outcome {
      case .success(.created(let created)):
        let runner = try runner(record.job.runner)
        if let ticket = Backlog.Ticket(created) { await runner.queue.enqueue(ticket) }
      case .success(.existed): continue
      case .failure(.conflict(let id)): refused.append(id)
      case .failure(let error): throw SupervisorError.store(error)
      case nil: continue
      }
    }
    return refused
  }

  // MARK: Giving up

  /// Another node owns this runner.
  func giveUp(_ name: RunnerName, to node: NodeName, epoch: UInt64) async {
    guard let runner = runners.removeValue(forKey: name) else { return retarget(name, to: node, epoch: epoch) }
    let entry = RegisteredRunner(
      name: name, queue: runner.settings.queue, isStopped: await runner.state != .running, epoch: epoch, newOwner: node)
    await runner.queue.setOpen(name, false)
    await runner.queue.remove(name)
    await dropIfUnused(runner.queue)
    context.logger.info(
      "runner has a new owner", metadata: ["runner": "\(name)", "node": "\(node)", "epoch": "\(epoch)"])
    if context.shared == nil { depart(entry, runner: runner, isRecorded: false) } else { depart(entry, runner) }
  }

  /// Begins to hand over what there is; also after a restart.
  func depart(_ entry: RegisteredRunner, runner: Runner?, isRecorded: Bool) {
    departed[entry.name] = Departure(entry: entry, runner: runner, isRecorded: isRecorded, task: nil)
    departed[entry.name]!.task = Task(executorPreference: context.loop) { await self.handOver(entry.name) }
  }

  /// The new owner has a new owner.
  private func retarget(_ name: RunnerName, to node: NodeName, epoch: UInt64) {
    guard departed[name] != nil, departed[name]!.entry.epoch < epoch else { return }
    departed[name]!.entry.newOwner = node
    departed[name]!.entry.epoch = epoch
    departed[name]!.isRecorded = false
  }

  /// The runner comes back to this node.
  /// - Returns: what was on its way out, of which jobs may be here; `nil` when nothing was.
  @discardableResult
  func endDeparture(_ name: RunnerName) async -> Departure? {
    guard let departure = departed.removeValue(forKey: name) else { return nil }
    departure.task?.cancel()
    // With a shared store it ends with the runner's last job, which nobody waits for.
    if context.shared == nil { await departure.task?.value }
    departures.resumeAll()
    return departure
  }

  /// A runner has come back: what waits here waits for it again, and what its former life still runs takes slots until it
  /// has ended. Nothing of the queue starts before what waits is known.
  func takeBack(_ runner: Runner, from departure: Departure) async {
    var running: [JobID] = []
    if let former = departure.runner {
      for id in await former.running.keys where await !runner.queue.knows(id) {
        running.append(id)
        await runner.queue.occupy(id, of: runner.name)
      }
    }
    let occupied = running
    returning[runner.name] = Task(executorPreference: context.loop) {
      await self.takeWaiting(of: runner)
      await runner.queue.setRead(runner.name)
      guard let former = departure.runner, await former.isBusy else { return await self.vacate(occupied, of: runner) }
      await former.idle()
      // What it queued again meanwhile goes first.
      await self.takeWaiting(of: runner)
      await self.vacate(occupied, of: runner)
    }
  }

  private func vacate(_ jobs: [JobID], of runner: Runner) async {
    for id in jobs { await runner.queue.vacate(id, of: runner.name) }
  }

  private func takeWaiting(of runner: Runner) async {
    while runners[runner.name] === runner, !isDraining, !Task.isCancelled {
      do {
        for job in try await context.store.unfinished() where job.runner == runner.name && job.status == .queued {
          await runner.queue.enqueue(Backlog.Ticket(job))
        }
        return
      } catch {
        context.logger.warning("cannot read the jobs of a runner yet", metadata: ["runner": "\(runner.name)"])
        try? await context.loop.sleep(for: .milliseconds(200))
      }
    }
  }

  /// Waits until no job of these runners waits here any more.
  func departuresEnded(_ names: [RunnerName]) async {
    await departures.waitUnlessCancelled(while: { names.contains { departed[$0]?.isIdle == false } })
  }

  /// A runner that this node has lost was removed by its new owner.
  func abandon(_ name: RunnerName) async throws(SupervisorError) {
    guard await endDeparture(name) != nil, context.shared == nil else { return }
    let store = context.store
    let ids = try await storing { () async throws(JobStoreError) in try await store.unfinished() }
      .filter { $0.runner == name && $0.status == .queued }.map(\.id)
    try await fail(ids, "its runner \(name) was removed")
    try await storing { () async throws(JobStoreError) in try await store.forget(name) }
  }

  /// Nothing is handed over any more.
  func close() async {
    for task in Array(elsewhere.values) + Array(returning.values) { task.cancel() }
    // It may sleep before it reads again, and nothing sleeps on the loop beyond the end of the node.
    for task in returning.values { await task.value }
    for name in Array(departed.keys) { await endDeparture(name) }
  }

  // MARK: The way

  private func handOver(_ name: RunnerName) async {
    var pause = Duration.milliseconds(50)
    while !Task.isCancelled, let departure = departed[name] {
      do {
        if !departure.isRecorded {
          try await context.store.save(departure.entry)
          if departed[name]?.entry == departure.entry { departed[name]!.isRecorded = true }
          continue
        }
        let (batch, isMore) = try await waiting(of: departure)
        if batch.isEmpty && !isMore {
          departed[name]?.isIdle = true
          departures.resumeAll()
          // What still runs here may be queued again, and a call that found the runner may just be writing a job.
          if let runner = departure.runner, await runner.isBusy {
            await runner.idle()
            continue
          }
          guard departed[name]?.entry == departure.entry else { continue }
          departed[name] = nil
          try? await context.store.forget(name)
          return departures.resumeAll()
        }
        departed[name]?.isIdle = false
        if batch.isEmpty {
          // Another runner of the queue has just taken them.
          try await context.loop.sleep(for: pause)
        } else {
          try await send(batch, to: departure.newOwner)
          pause = .milliseconds(50)
        }
      } catch {
        guard !Task.isCancelled else { return }
        context.logger.debug(
          "jobs wait for their runner's new owner",
          metadata: ["runner": "\(name)", "node": "\(departure.newOwner)", "reason": "\(error)"])
        try? await context.loop.sleep(for: pause)
        pause = min(pause * 2, .seconds(2))
      }
    }
  }

  /// The first jobs in line that are not running; also those that nobody started yet.
  /// - Returns: also whether there are others that wait.
  private func waiting(of departure: Departure) async throws -> (batch: [JobRecord], isMore: Bool) {
    let store = context.store
    let name = departure.entry.name
    var ids = try await store.unfinished().filter { $0.runner == name && $0.status == .queued }.map(\.id)
    if ids.isEmpty {
      var query = JobQuery(limit: Self.batchJobs)
      query.runner = name
      query.status = .created
      ids = try await store.query(query).jobs.reversed().map(\.job.id)
    }
    var records: [JobRecord] = []
    var bytes = 0
    for id in ids.prefix(Self.batchJobs) where bytes < Self.batchBytes {
      // From here on no runner of the queue can start it.
      if await context.held.contains(id) { continue }
      await departure.runner?.queue.withdraw(id)
      guard let record = try? await store.record(id), record.status == .queued || record.status == .created else {
        continue
      }
      records.append(record)
      bytes += record.job.payload.utf8.count
    }
    return (records, !ids.isEmpty)
  }

  private func send(_ records: [JobRecord], to node: NodeName) async throws {
    let refused = Set(try await registry.supervisor(of: node).accept(records))
    try await fail(Array(refused), "its id belongs to another job at \(node)")
    let store = context.store
    let sent = records.map(\.job.id).filter { !refused.contains($0) }
    try await withEach(sent) { (id) async throws(JobStoreError) in
      do throws(JobStoreError) { try await store.delete(id) } catch .notFound {}
    }
  }
}
