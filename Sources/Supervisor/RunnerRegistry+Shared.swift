import Cluster
import Distributed
import EventLoop
import Gossip
import Logging

// Ownership where the nodes share a store. Gossip says who looks dead; the store decides who owns. A runner is taken from
// a node without its consent when that node's lease was ended: since it says itself that it does not work any more, since
// it is not there and was silent for a whole lease, or since its process is certainly gone.

extension RunnerRegistry {
  /// How often the store is asked for runners without a live owner, beside the news that ask for it.
  private static var interval: Duration { .seconds(3) }

  /// Listens to the store. Once, before it begins.
  func watch(_ shared: any SharedJobStore) async {
    await shared.observe { [weak self] event in self?.assumeIsolated { $0.happened(event) } }
  }

  /// Begins to look at the store now and then.
  func beginPolling() { chore { await self.pollShared() } }

  /// A member is gone, or is there again.
  func noticed(_ member: Member) {
    guard context.shared != nil, member.state == .failed else { return }
    chore { await self.endLease(of: member) }
  }

  /// Does something beside the calls, and not longer than the node lives.
  func chore(_ body: @escaping @Sendable () async -> Void) {
    nextChore += 1
    let number = nextChore
    chores[number] = Task(executorPreference: context.loop) {
      await body()
      await self.choreEnded(number)
    }
  }

  private func choreEnded(_ number: UInt64) { chores[number] = nil }

  /// Nothing of this waits on the loop afterwards.
  func endChores() async {
    for task in chores.values { task.cancel() }
    while let task = chores.values.first {
      await task.value
    }
  }

  private func happened(_ event: SharedStoreEvent) {
    switch event {
    case .leaseHeld(let end):
      let processes = context.processes
      chore { await processes.expectLife(until: end) }
    case .leaseLost(let reason):
      leaseLoss = reason
      changed()
      chore {
        await self.stopAtOnce(reason)
        await self.tellLeaseOver()
      }
    case .leaseRegained:
      leaseLoss = nil
      chore { await self.goOn() }
    case .queued(let names):
      chore { await self.takeJobsAgain(of: names) }
    case .recovered:
      chore { await self.takeJobsAgain(of: nil) }
    }
  }

  private func stopAtOnce(_ reason: String) async { await local?.whenLocal { await $0.stopAtOnce(reason) } }

  private func goOn() async {
    await local?.whenLocal { $0.leaseLoss = nil }
    planReview()
  }

  private func takeJobsAgain(of names: [RunnerName]?) async {
    await local?.whenLocal { await $0.takeJobsAgain(of: names) }
  }

  /// Looks for runners without a live owner now and then, until the node stops.
  func pollShared() async {
    while (try? await context.loop.sleep(for: Self.interval)) != nil, state != .draining { planReview() }
  }

  // MARK: Owners

  /// Takes over what the store knows and gossip does not (yet).
  /// - Returns: all runners, as the store has them.
  @discardableResult
  func learnOwners(_ shared: any SharedJobStore) async throws(SupervisorError) -> [OwnedRunner] {
    let all = try await storing { () async throws(JobStoreError) in try await shared.ownedRunners() }
    var surplus: [(RunnerName, NodeName, UInt64)] = []
    let hosted = await local.whenLocal { Set($0.runners.keys) } ?? []
    for owned in all {
      let (name, epoch) = (owned.runner.name, owned.runner.epoch)
      if !owned.isMine, hosted.contains(name) { surplus.append((name, owned.owner, epoch)) }
      if let known = ownership.claims[name], known.epoch >= epoch { continue }
      guard ownership.nextEpoch(name) <= epoch || ownership.claims[name] != nil else { continue }
      ownership.learn(
        RunnerClaim(
          runner: name.rawValue, queue: owned.runner.queue.rawValue, owner: owned.owner.member, epoch: epoch,
          revision: 0, state: owned.runner.isStopped ? .stopped : .running))
    }
    // Taken by others while this node did not hear of it.
    for (name, owner, epoch) in surplus {
      await local.whenLocal { await $0.giveUp(name, to: owner, epoch: epoch) }
    }
    changed()
    return all
  }

  /// Takes runners whose owner has no lease any more, each by the node that rendezvous hashing picks among those that
  /// can; a queue stays together.
  func adoptShared(_ shared: any SharedJobStore) async {
    do throws(SupervisorError) {
      if leaseLoss == nil { await tryToEndLeases(shared) }
      let all = try await learnOwners(shared)
      // What is this node's, and does not live here, since its lease was lost or it has just started.
      let hosted = await local.whenLocal { Set($0.runners.keys) } ?? []
      let mine = all.filter { $0.isMine && !hosted.contains($0.runner.name) && !removing.contains($0.runner.name) }
      var taken = mine.map(\.runner)
      if !isNodeDrained {
        let orphans = all.filter { !$0.isAlive && !$0.isMine }
        if !orphans.isEmpty {
          let holders = try await storing { () async throws(JobStoreError) in try await shared.leaseholders() }
          let owners = Dictionary(
            all.filter { $0.isAlive && $0.owner != node || $0.isMine }.map { ($0.runner.queue, $0.owner) },
            uniquingKeysWith: { min($0, $1) })
          taken += orphans.map(\.runner).filter { runner in
            let keeper = owners[runner.queue].flatMap { ownership.isPresent($0.member) ? $0 : nil }
            return (keeper ?? ownership.place(runner.queue, among: holders)) == node
          }
        }
      }
      guard leaseLoss == nil else { return }
      await local.whenLocal { await $0.takeMissedJobs() }
      guard !taken.isEmpty else { return }
      let names = taken.map(\.name.rawValue).sorted().joined(separator: ", ")
      try await host(
        inParts: taken.map {
          RegisteredRunner(name: $0.name, queue: $0.queue, isStopped: $0.isStopped, epoch: $0.epoch + 1)
        })
      context.logger.notice("runners taken over", metadata: ["runners": "\(names)"])
    } catch {
      context.logger.debug("cannot look for runners to take over, trying again", metadata: ["reason": "\(error)"])
    }
  }

  // MARK: Leases of others

  /// Ends the leases of nodes that do not work any more.
  /// - Parameter told: a lease of which its node has just said so.
  private func endLeases(_ shared: any SharedJobStore, told: Int64? = nil) async throws(SupervisorError) {
    // Read before anybody is asked: who says that its lease is over renews it with another beat afterwards.
    let leases = try await storing { () async throws(JobStoreError) in try await shared.peerLeases() }
    for lease in leases {
      var verdict = lease.verdict(isPresent: ownership.isPresent(lease.node.member), hasTold: lease.session == told)
      if case .ask = verdict {
        let answer = try? await ask(lease.node, within: .seconds(2), "the state of its lease") {
          try await $0.leaseState(Int(lease.session))
        }
        verdict = answer.map(lease.verdict(after:)) ?? .wait
      }
      guard case .end = verdict else { continue }
      let ended = try await storing { () async throws(JobStoreError) in
        try await shared.end([NodeLease(lease)])
      }
      if !ended.isEmpty {
        context.logger.notice(
          "the lease of a node is over", metadata: ["node": "\(lease.node)", "silent": "\(lease.silence)"])
      }
    }
  }

  /// What is known to be without a live owner does not wait for that.
  private func tryToEndLeases(_ shared: any SharedJobStore, told: Int64? = nil) async {
    do throws(SupervisorError) { try await endLeases(shared, told: told) } catch {
      context.logger.debug("cannot end leases, trying again", metadata: ["reason": "\(error)"])
    }
  }

  /// Nothing runs here any more, and the lease is lost: peers may have what this node owns at once.
  private func tellLeaseOver() async {
    guard let shared = context.shared, leaseLoss != nil else { return }
    for runner in await context.held.runners { await runner.becomeStill() }
    let session = Int(shared.session)
    guard leaseLoss != nil, !Task.isCancelled else { return }
    _ = await askAll(ownership.peers) { try await $0.leaseIsOver(session) }
  }

  /// Another node has lost its lease, and says so.
  func leaseIsOver(_ session: Int64) {
    guard let shared = context.shared, leaseLoss == nil, state == .open else { return }
    chore {
      await self.tryToEndLeases(shared, told: session)
      await self.planReview()
    }
  }

  // MARK: Certain deaths

  /// A member was called failed. If its machine says that nobody listens at its port any more, its process is gone, and
  /// its guard has killed what ran: its lease need not be waited for. Silence proves nothing.
  ///
  /// The leases are read before the question, so that the lease of a process that has just started is never ended: it
  /// counts only once its port was open.
  func endLease(of member: Member) async {
    guard let shared = context.shared, state == .open, member.name != node.member else { return }
    let name = NodeName(trusted: member.name.rawValue)
    do throws(SupervisorError) {
      let leases = try await storing { () async throws(JobStoreError) in
        try await shared.leases(of: name, at: member.profile.address.rawValue)
      }
      guard !leases.isEmpty, await isRefused(by: member) else { return planReview() }
      // The guard kills within some milliseconds; this long was never seen (docs/operations.md).
      try? await context.loop.sleep(for: .milliseconds(200))
      _ = try await storing { () async throws(JobStoreError) in try await shared.end(leases) }
      context.logger.notice("the process of a node is gone, its lease was ended", metadata: ["node": "\(name)"])
    } catch {
      context.logger.debug("cannot end a lease, waiting for its end", metadata: ["reason": "\(error)"])
    }
    planReview()
  }

  /// Whether the system at a member's address refuses connections to its port (RFC 9293, section 3.10.7.1: a segment for
  /// a port that is not open is answered by a reset).
  private func isRefused(by member: Member) async -> Bool {
    guard let address = try? SocketAddress(parsing: member.profile.address.rawValue) else { return false }
    let loop = context.loop
    let attempt = Task(executorPreference: loop) { () -> Bool in
      do throws(UVError) {
        let stream = try await TCPStream.connect(to: address, on: loop)
        stream.close()
        return false
      } catch {
        return error.code == UVError.connectionRefused
      }
    }
    let clock = Timer(on: loop)
    clock.schedule(after: .seconds(1)) { attempt.cancel() }
    defer { clock.close() }
    return await withTaskCancellationHandler {
      await attempt.value
    } onCancel: {
      attempt.cancel()
    }
  }
}
