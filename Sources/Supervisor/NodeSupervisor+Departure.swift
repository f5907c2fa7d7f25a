import Cluster
import Distributed
import EventLoop
import Logging

// A runner has another owner now. What is running here ends here; what waits goes to the new owner, who asks for it
// (`JobTransfer.swift`): this is the giver's part. Before the first job goes, this node has written down that the runner
// is no longer its own.

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
    guard context.shared == nil else { return depart(entry, runner) }
    await runner.observe { [weak self] in self?.assumeIsolated { $0.transferChanged() } }
    depart(entry, runner: runner, isRecorded: false)
  }

  /// Begins to hand over what there is; also after a restart.
  func depart(_ entry: RegisteredRunner, runner: Runner?, isRecorded: Bool) {
    departed[entry.name] = Departure(
      entry: entry, runner: runner, isRecorded: isRecorded,
      task: Task(executorPreference: context.loop) { await self.handOver(entry.name) })
  }

  /// The new owner has a new owner.
  private func retarget(_ name: RunnerName, to node: NodeName, epoch: UInt64) {
    guard let departure = departed[name], departure.entry.epoch <= epoch,
      departure.entry.epoch < epoch || departure.newOwner != node
    else { return }
    departed[name]!.entry.newOwner = node
    departed[name]!.entry.epoch = epoch
    departed[name]!.isRecorded = false
    guard context.shared == nil else { return }
    outgoing.withdraw(name)
    departure.task?.cancel()
    departed[name]!.task = Task(executorPreference: context.loop) {
      await departure.task?.value
      await self.handOver(name)
    }
    transferChanged()
  }

  /// The runner comes back to this node.
  /// - Returns: what was on its way out, of which jobs may be here; `nil` when nothing was.
  @discardableResult
  func endDeparture(_ name: RunnerName) async -> Departure? {
    guard let departure = departed.removeValue(forKey: name) else { return nil }
    outgoing.withdraw(name)
    departure.task?.cancel()
    transferChanged()
    // With a shared store it ends with the runner's last job, which nobody waits for.
    if context.shared == nil { await departure.task?.value }
    return departure
  }

  /// A runner has come back: what waits here waits for it again, and what its former life still runs takes slots until it
  /// has ended. Nothing of the queue starts before what waits is known.
  func takeBack(_ runner: Runner, from departure: Departure) async {
    // It may have had several lives here.
    var lives = await context.held.runners.filter { $0.name == runner.name && $0 !== runner }
    if let former = departure.runner, !lives.contains(where: { $0 === former }) { lives.append(former) }
    var running: [(life: Runner, jobs: [JobID])] = []
    for life in lives {
      var jobs: [JobID] = []
      for id in await life.running.keys where await !runner.queue.knows(id) {
        jobs.append(id)
        await runner.queue.occupy(id, of: runner.name)
      }
      running.append((life, jobs))
    }
    let former = running
    returning[runner.name] = Task(executorPreference: context.loop) {
      await self.takeWaiting(of: runner)
      await runner.queue.setRead(runner.name)
      await withDiscardingTaskGroup { group in
        for (life, jobs) in former {
          group.addTask {
            await life.idle()
            // What it queued again meanwhile goes first.
            await self.whenLocal {
              await $0.takeWaiting(of: runner)
              await $0.vacate(jobs, of: runner)
            }
          }
        }
      }
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
    let ids = try await storing { () async throws(JobStoreError) in
      try await context.store.unfinished().filter { $0.runner == name && $0.status == .queued }.map(\.id)
    }
    try await fail(ids, "its runner \(name) was removed")
    try await storing { () async throws(JobStoreError) in try await context.embedded?.forgetDeparted(name) }
  }

  /// Nothing is handed over any more.
  func close() async {
    isClosing = true
    resolving?.cancel()
    let tasks = Array(elsewhere.values) + Array(returning.values) + pulls.values.map(\.task)
    for task in tasks { task.cancel() }
    // One may sleep before it looks again, and nothing sleeps on the loop beyond the end of the node.
    for task in Array(returning.values) + pulls.values.map(\.task) { await task.value }
    await resolving?.value
    for name in Array(departed.keys) { await endDeparture(name) }
    transferChanged()
  }

  /// Something has happened that a transfer may wait for; on the loop.
  func transferChanged() {
    transferChange += 1
    departures.resumeAll()
  }

  // MARK: The giver

  /// Asks the new owner to receive what there is, until there is nothing.
  private func handOver(_ name: RunnerName) async {
    var pause = Duration.milliseconds(50)
    while !Task.isCancelled, let departure = departed[name] {
      do {
        if !departure.isRecorded {
          try await context.store.save(departure.entry)
          if departed[name]?.entry == departure.entry { departed[name]!.isRecorded = true }
          continue
        }
        let change = transferChange
        let isWriting = await departure.runner?.activity.isWriting == true
        let hasWaiting = try await !waiting(of: name, limit: 1).isEmpty
        let waits = isWriting || hasWaiting
        guard departed[name]?.entry == departure.entry else { continue }
        departed[name]!.isIdle = !waits
        departures.resumeAll()
        if !waits, await context.held.jobs(of: name).isEmpty {
          // A call that found the runner may just have written a job.
          guard transferChange == change else { continue }
          if outgoing.isUnderWay(name) || incoming.contains(name) {
            // `resolveAll` asks the other nodes.
            await departures.waitUnlessCancelled(while: { transferChange == change })
            continue
          }
          departed[name] = nil
          try? await context.embedded?.forgetDeparted(name)
          return transferChanged()
        }
        let (owner, epoch, node) = (departure.newOwner, departure.entry.epoch, context.settings.node)
        try await registry.ask(owner, within: nil, "the jobs of runner \(name)") {
          try await $0.receive(name, epoch: epoch, from: node)
        }
        // Usually nothing is left; what is, may be so for long.
        try await context.loop.sleep(for: pause)
        pause = min(pause * 2, .seconds(2))
      } catch {
        guard !Task.isCancelled else { return }
        context.logger.debug(
          "jobs wait for their runner's new owner",
          metadata: ["runner": "\(name)", "node": "\(departure.newOwner)", "reason": "\(error)"])
        guard await registry.change(within: pause) else { return }
        pause = min(pause * 2, .seconds(2))
      }
    }
  }

  /// The first jobs of a runner that wait here, in order; without any, some that nobody started yet.
  private func waiting(of name: RunnerName, limit: Int) async throws(SupervisorError) -> [JobID] {
    guard let store = context.embedded else { return [] }
    return try await storing { () async throws(JobStoreError) in
      let queued = try await store.waiting(of: name, limit: limit)
      if !queued.isEmpty { return queued }
      var query = JobQuery(limit: limit, parts: [])
      query.runner = name
      query.status = .created
      return try await store.query(query).jobs.reversed().map(\.job.id)
    }
  }

  /// Offers the first jobs that wait to the new owner of their runner, and tells what runs here. Waits while there is
  /// nothing to offer, and nothing that the receiver does not know.
  distributed func release(_ request: ReleaseRequest) async throws -> Release {
    try await forgetMoved(request.settled)
    try await fail(request.refused, of: request.runner, "its id belongs to another job at \(request.receiver)")
    while true {
      let change = transferChange
      guard let departure = departed[request.runner] else {
        guard runners[request.runner] == nil else { throw notReleased(request.runner) }
        return Release(offers: [], activity: GiverActivity(running: [], waits: false))
      }
      let ids = try await waiting(of: request.runner, limit: Self.batchJobs)
      let records = await firstRecords(of: ids, departure)
      guard departed[request.runner]?.entry == departure.entry, departure.isRecorded,
        departure.newOwner == request.receiver, departure.entry.epoch == request.epoch
      else { throw notReleased(request.runner) }
      let isWriting = await departure.runner?.activity.isWriting == true
      let running = await context.held.jobs(of: request.runner)
      // In order, so that it can be compared.
      let activity = GiverActivity(running: running.sorted(), waits: !ids.isEmpty || isWriting)
      if !activity.waits {
        departed[request.runner]!.isIdle = true
        departures.resumeAll()
      }
      if !records.isEmpty || activity != request.known {
        let offers = records.map { record in
          let id = TransferID.random()
          outgoing.offer(record, to: request.receiver, as: id)
          return OfferedJob(transfer: id, record: record)
        }
        return Release(offers: offers, activity: activity)
      }
      guard await departures.waitUnlessCancelled(while: { transferChange == change }) else {
        throw SupervisorError.store(.cancelled)
      }
    }
  }

  private func notReleased(_ name: RunnerName) -> SupervisorError {
    .nodeUnavailable(context.settings.node, "it has not heard of the new owner of runner \(name)")
  }

  private func firstRecords(of ids: [JobID], _ departure: Departure) async -> [JobRecord] {
    var records: [JobRecord] = []
    var bytes = 0
    for id in ids.prefix(Self.batchJobs) where bytes < Self.batchBytes {
      // From here on no runner of the queue can start it.
      await departure.runner?.queue.withdraw(id)
      if await context.held.contains(id) { break }
      guard let record = try? await context.store.record(id), record.status == .queued || record.status == .created
      else { continue }
      records.append(record)
      bytes += record.job.bytes
    }
    return records
  }

  /// The receiver has these on its disk. Writes the decision for each that is still as it was offered.
  /// - Returns: for each whether it was moved; if not, it never will be under this id.
  distributed func claim(_ ids: [TransferID]) async throws -> [Bool] {
    let decisions = ids.compactMap { id in
      if case .decide(let offer) = outgoing.claim(id) { (id, offer) } else { nil }
    }
    await withDiscardingTaskGroup { group in
      for (id, offer) in decisions { group.addTask { await self.whenLocal { await $0.decide(id, offer) } } }
    }
    await departures.wait(while: { ids.contains { outgoing.isMoved($0) == nil } })
    planResolving()
    transferChanged()
    return ids.map { outgoing.isMoved($0)! }
  }

  private func decide(_ id: TransferID, _ offer: OutgoingTransfers.Offer) async {
    let job = MovedJob(transfer: id, job: offer.job, runner: offer.runner, receiver: offer.receiver)
    let isMoved: Bool
    do {
      try await context.embedded?.move(job, from: offer.status, attempt: offer.attempt)
      isMoved = context.embedded != nil
    } catch {
      isMoved = false
    }
    outgoing.decided(id, isMoved: isMoved)
    if isMoved { await runners[offer.runner]?.queue.withdraw(offer.job) }
    departures.resumeAll()
  }

  /// The receiver has them for good.
  func forgetMoved(_ ids: [TransferID]) async throws(SupervisorError) {
    let known = outgoing.settled(ids)
    guard !known.isEmpty, let store = context.embedded else { return }
    try await storing { () async throws(JobStoreError) in try await store.forgetMoved(known) }
    outgoing.forget(known)
    transferChanged()
  }

  private func fail(_ ids: [JobID], of runner: RunnerName, _ reason: String) async throws(SupervisorError) {
    var waiting: [JobID] = []
    for id in ids {
      guard let record = try? await context.store.record(id), record.job.runner == runner, !record.status.isFinal,
        record.status != .running
      else { continue }
      waiting.append(id)
    }
    guard !waiting.isEmpty else { return }
    try await fail(waiting, reason)
    transferChanged()
  }
}

extension Job {
  /// About what it takes on its way, beside a few numbers and names.
  fileprivate var bytes: Int {
    environment.reduce(payload.utf8.count + callerID.utf8.count + contextID.utf8.count) {
      $0 + $1.key.rawValue.utf8.count + $1.value.utf8.count
    }
  }
}
