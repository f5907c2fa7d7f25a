import Cluster
import Distributed
import EventLoop
import Logging

// Jobs of a runner that another node had before come to this one: the receiver's part of `JobTransfer.swift`. Until all
// that waits there has come, nothing starts here that is behind it; what still runs there takes slots here.

extension NodeSupervisor {
  /// How long a giver that is there and cannot be asked keeps the jobs of this node from starting.
  private static var patience: Duration { .seconds(30) }

  /// A node that had this runner before has jobs of it. Returns when they are here, and none runs there any more.
  distributed func receive(_ name: RunnerName, epoch: UInt64, from giver: NodeName) async throws {
    guard !isDraining else { throw SupervisorError.draining }
    let runner = try runner(name)
    guard runner.epoch >= epoch else { throw SupervisorError.runnerNotFound(name) }
    await beginPull(runner, from: giver)
    let transfer = Backlog.Transfer(runner: name, giver: giver)
    await departures.waitUnlessCancelled(while: { pulls[transfer] != nil })
  }

  /// Begins to ask a giver for what it has of a runner.
  func beginPull(_ runner: Runner, from giver: NodeName) async {
    let transfer = Backlog.Transfer(runner: runner.name, giver: giver)
    if let pull = pulls[transfer], pull.runner !== runner {
      // Of an earlier life of the runner here.
      pull.task.cancel()
      await pull.task.value
    }
    guard runners[runner.name] === runner else { return }
    await runner.queue.begin(transfer)
    guard pulls[transfer] == nil else { return }
    let task = Task(executorPreference: context.loop) {
      await self.pull(runner, transfer)
      await self.endPull(runner, transfer)
    }
    pulls[transfer] = (runner, task)
  }

  private func endPull(_ runner: Runner, _ transfer: Backlog.Transfer) async {
    await runner.queue.setRunning([], at: transfer)
    await runner.queue.end(transfer)
    if pulls[transfer]?.runner === runner { pulls[transfer] = nil }
    transferChanged()
  }

  private func pull(_ runner: Runner, _ transfer: Backlog.Transfer) async {
    let (giver, queue) = (transfer.giver, runner.queue)
    var request = ReleaseRequest(runner: runner.name, epoch: runner.epoch, receiver: context.settings.node)
    var pause = Duration.milliseconds(20)
    var deadline: ContinuousClock.Instant?
    while runners[runner.name] === runner, !Task.isCancelled {
      do throws(SupervisorError) {
        let asked = request
        let release = try await registry.ask(giver, within: nil, "the jobs of runner \(runner.name)") {
          try await $0.release(asked)
        }
        (request.settled, request.refused, request.known) = ([], [], nil)
        deadline = nil
        if release.activity.waits {
          await queue.begin(transfer)
          if let first = release.offers.first?.record.position { await queue.expect(first, of: transfer) }
        }
        await queue.setRunning(Set(release.activity.running), at: transfer)
        if !release.activity.waits { await queue.end(transfer) }
        if !release.offers.isEmpty {
          try await take(release.offers, from: transfer, runner, &request)
          // A giver that can decide nothing at present is not asked without a pause.
          if request.settled.isEmpty {
            guard (try? await context.loop.sleep(for: pause)) != nil else { return }
            pause = min(pause * 2, .seconds(2))
          } else {
            pause = .milliseconds(20)
          }
        } else if !release.activity.waits && release.activity.running.isEmpty {
          return
        } else {
          request.known = release.activity
        }
      } catch {
        // It asks this node again when it is back.
        guard await registry.isPresent(giver) else { return }
        let now = ContinuousClock.now
        if let deadline, deadline < now {
          context.logger.warning(
            "jobs start although a former owner of their runner cannot be asked what it has",
            metadata: ["runner": "\(runner.name)", "node": "\(giver)", "reason": "\(error)"])
          await queue.end(transfer)
        }
        if deadline.map({ $0 < now }) ?? true { deadline = now + Self.patience }
        guard await registry.change(within: pause) else { return }
        pause = min(pause * 2, .seconds(2))
      }
    }
  }

  /// Keeps jobs that are offered, asks for the giver's decision, and makes what was moved this node's own.
  private func take(
    _ offers: [OfferedJob], from transfer: Backlog.Transfer, _ runner: Runner, _ request: inout ReleaseRequest
  ) async throws(SupervisorError) {
    guard let store = context.embedded else { return }
    var jobs: [IncomingJob] = []
    for offer in offers {
      if let present = try? await context.store.record(offer.record.job.id), present.job != offer.record.job {
        request.refused.append(offer.record.job.id)
      } else {
        jobs.append(IncomingJob(transfer: offer.transfer, record: offer.record, giver: transfer.giver))
      }
    }
    guard !jobs.isEmpty else { return }
    let kept = jobs
    try await storing { () async throws(JobStoreError) in try await store.keep(kept) }
    incoming.keep(kept)
    planResolving()
    let ids = kept.map(\.transfer)
    let verdicts = try await registry.ask(transfer.giver, "jobs of runner \(runner.name)") { try await $0.claim(ids) }
    try await resolve(ids, verdicts)
    request.settled = zip(ids, verdicts).filter(\.1).map(\.0)
    // Up to the first that was not moved nothing is missing.
    let arrived = zip(kept, verdicts).prefix { $0.1 }.compactMap(\.0.record.position).last
    if let arrived, request.refused.isEmpty { await runner.queue.advance(transfer, to: arrived) }
  }

  private func resolve(_ ids: [TransferID], _ verdicts: [Bool]) async throws(SupervisorError) {
    guard ids.count == verdicts.count else { throw .nodeUnavailable(nil, "it answered for another number of jobs") }
    defer { transferChanged() }
    try await withEach(Array(zip(ids, verdicts))) { (id, isMoved) async throws(SupervisorError) in
      try await self.end(id, isMoved: isMoved)
    }
  }

  /// The giver moved them here.
  distributed func confirm(_ ids: [TransferID]) async throws {
    guard await registry.state != .joining else { throw SupervisorError.joining }
    try await resolve(ids, ids.map { _ in true })
  }

  /// The decision about a job that is kept is known; returns when that is on disk.
  private func end(_ id: TransferID, isMoved: Bool) async throws(SupervisorError) {
    guard let job = incoming[id], let store = context.embedded else { return }
    guard incoming.beginEnd(id) else {
      await departures.wait(while: { incoming.isEnding(id) })
      guard incoming[id] == nil else {
        throw .store(.unavailable("a job could not be moved", retryAfterMilliseconds: 100))
      }
      return
    }
    do throws(SupervisorError) {
      if isMoved {
        try await admit(job, in: store)
      } else {
        try await storing { () async throws(JobStoreError) in try await store.drop([id]) }
      }
      incoming.end(id, isWritten: true)
      departures.resumeAll()
    } catch {
      incoming.end(id, isWritten: false)
      departures.resumeAll()
      if case .store(.conflict(let id)) = error {
        context.logger.error(
          "a job that was moved here has the id of another, and waits until that one is deleted",
          metadata: ["job": "\(id)", "node": "\(job.giver)"])
      }
      throw error
    }
  }

  private func admit(_ job: IncomingJob, in store: any EmbeddedJobStore) async throws(SupervisorError) {
    let name = job.record.job.runner
    let isRemoved = try await expectOwner(of: name)
    let creation = try await storing { () async throws(JobStoreError) in try await store.admit(job) }
    let record: JobRecord
    switch creation {
    case .created(let created): record = created
    case .existed(var present):
      if present.status == .created, job.record.status == .queued {
        // Created here again, and started there: that was acknowledged.
        let generation = await runners[name]?.queue.generation ?? 0
        present = try await storing { () async throws(JobStoreError) in
          try await store.transition(present.job.id, .enqueue(at: .now, generation: generation))
        }
      }
      try await storing { () async throws(JobStoreError) in try await store.drop([job.transfer]) }
      record = present
    }
    if let runner = runners[name] {
      if let ticket = Backlog.Ticket(record) { await runner.queue.enqueue(ticket) }
    } else if isRemoved, departed[name] == nil {
      try await fail([record.job.id], "its runner \(name) was removed")
    }
  }

  /// A job of a runner that is not here goes on to its owner: this is on disk before the job is.
  /// - Returns: whether the runner was removed.
  private func expectOwner(of name: RunnerName) async throws(SupervisorError) -> Bool {
    guard runners[name] == nil, departed[name] == nil else { return false }
    guard let claim = await registry.ownership.claims[name] else {
      if await registry.ownership.isRemoved(name) { return true }
      throw .runnerNotFound(name)
    }
    let owner = NodeName(trusted: claim.owner.rawValue)
    guard owner != context.settings.node else { throw .runnerNotFound(name) }
    let entry = RegisteredRunner(
      name: name, queue: QueueName(trusted: claim.queue), isStopped: claim.state == .stopped, epoch: claim.epoch,
      newOwner: owner)
    try await storing { () async throws(JobStoreError) in try await context.store.save(entry) }
    if runners[name] == nil, departed[name] == nil { depart(entry, runner: nil, isRecorded: true) }
    return false
  }

  // MARK: Answers that were lost

  /// Asks again, as long as needed: givers for their decision about what is kept here, receivers whether they have what was
  /// moved to them. Usually all is answered before this begins.
  func planResolving() {
    guard resolving == nil, !isClosing, incoming.count > 0 || !outgoing.moved.isEmpty else { return }
    resolving = Task(executorPreference: context.loop) { await self.resolveAll() }
  }

  private func resolveAll() async {
    var pause = Duration.milliseconds(500)
    while incoming.count > 0 || !outgoing.moved.isEmpty {
      guard (try? await context.loop.sleep(for: pause)) != nil, !isClosing else { break }
      pause = min(pause * 2, .seconds(2))
      if await registry.state == .joining { continue }
      for giver in incoming.givers.sorted() {
        let ids = incoming.unknown(from: giver)
        do {
          try await resolve(ids, try await registry.ask(giver, "its decision") { try await $0.claim(ids) })
        } catch {
          context.logger.debug(
            "a node that may have moved jobs here cannot be asked",
            metadata: ["node": "\(giver)", "reason": "\(error)"])
        }
      }
      for (receiver, jobs) in Dictionary(grouping: outgoing.moved, by: \.receiver) {
        let ids = jobs.map(\.transfer)
        do {
          try await registry.ask(receiver, "jobs that were moved") { try await $0.confirm(ids) }
          try await forgetMoved(ids)
        } catch {
          context.logger.debug(
            "a node to which jobs were moved cannot be asked", metadata: ["node": "\(receiver)", "reason": "\(error)"])
        }
      }
    }
    resolving = nil
  }
}
