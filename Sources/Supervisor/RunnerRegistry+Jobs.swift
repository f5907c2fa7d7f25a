// Calls about jobs: a new one goes to the owner of its runner; one that exists is looked for, and its node is asked.

extension RunnerRegistry {
  public func create(_ job: Job) async throws(SupervisorError) {
    try requireOpen()
    try await askOwner(of: job.runner) { try await $0.create(job) }
    remember(job)
  }

  /// Creates, starts, and answers the result when the job has ended.
  public func run(_ job: Job) async throws(SupervisorError) -> JobResult {
    try requireOpen()
    if let shared = context.shared { return try await run(job, shared) }
    do throws(SupervisorError) {
      let result = try await askOwner(of: job.runner, within: nil) { try await $0.run(job) }
      remember(job)
      return result
    } catch .store(.notFound) where isClustered {
      // It went on to another owner while it was waited for.
      return try await result(job.id, of: JobScope(runners: [job.runner]))
    }
  }

  /// The id makes it harmless to ask again, wherever the runner went: no job of a shared store dies with its node.
  private func run(_ job: Job, _ shared: any SharedJobStore) async throws(SupervisorError) -> JobResult {
    while true {
      do throws(SupervisorError) {
        return try await askOwner(of: job.runner, within: nil) { try await $0.run(job) }
      } catch {
        switch error {
        case .callLost, .ownerUnreachable: break
        default: throw error
        }
        // Its node was lost on the way: the next owner knows the job, or is told of it.
        guard await change(within: .milliseconds(50)) else { throw .draining }
      }
    }
  }

  private func remember(_ job: Job) {
    if isClustered, context.shared == nil, let owner = try? owner(of: job.runner) {
      locations[job.id] = owner == node ? nil : owner
    }
  }

  public func start(_ id: JobID, of scope: JobScope = .all) async throws(SupervisorError) {
    try requireOpen()
    try await askHolder(of: id) { try await $0.start(id, of: scope) }
  }

  public func stop(_ id: JobID, of scope: JobScope = .all) async throws(SupervisorError) {
    // Ending a job may take as long as its runner's grace.
    try await askHolder(of: id, within: nil) { try await $0.stop(id, of: scope) }
  }

  /// Forgets a job that is not running; it needs no runner any more.
  public func delete(_ id: JobID, of scope: JobScope = .all) async throws(SupervisorError) {
    try await askHolder(of: id) { try await $0.delete(id, of: scope) }
    locations[id] = nil
  }

  public func summary(_ id: JobID) async throws(SupervisorError) -> JobSummary {
    if context.shared != nil { return try await ask(node, "") { try await $0.summary(id) } }
    return try await askHolder(of: id) { try await $0.summary(id) }
  }

  /// Why the queue of a runner starts no jobs at present, in words; `nil` if it may, and if its owner does not say.
  public func holdReason(of name: RunnerName) async -> String? {
    guard let owner = try? owner(of: name) else { return nil }
    let answer = try? await ask(owner, within: .seconds(1), "runner \(name)") { try await $0.holdReason(name) }
    return answer ?? nil
  }

  /// Waits for the end.
  public func result(_ id: JobID, of scope: JobScope = .all) async throws(SupervisorError) -> JobResult {
    if context.shared != nil { return try await ask(node, within: nil, "") { try await $0.result(id, of: scope) } }
    return try await askHolder(of: id, within: nil, waits: true) { try await $0.result(id, of: scope) }
  }

  /// What a job wrote so far, and whether it may write more.
  public func output(_ id: JobID, of scope: JobScope = .all) async throws(SupervisorError) -> LiveOutput {
    try await askHolder(of: id) { try await $0.output(id, of: scope) }
  }

  // MARK: Looking for a job

  /// Asks the node that has a job. A job may move while it is looked for.
  /// - Parameter waits: for as long as it is on its way.
  private func askHolder<Value: Sendable>(
    of id: JobID, within limit: Duration? = .seconds(10), waits: Bool = false,
    _ body: (NodeSupervisor) async throws -> Value
  ) async throws(SupervisorError) -> Value {
    if let shared = context.shared { return try await askPlace(of: id, within: limit, shared, body) }
    guard isClustered else { return try await ask(node, "", body) }
    let deadline = ContinuousClock.now + Self.takeoverTime
    var holder = locations[id] ?? node
    while true {
      do throws(SupervisorError) {
        return try await ask(holder, within: limit, "job \(id)", body)
      } catch .store(.notFound) {
        locations[id] = nil
        holder = try await find(id, besides: holder)
        if holder != node { locations[id] = holder }
      } catch .nodeNotReached(let gone, let reason) {
        // It may have handed the job over before it went; else it is the one to name.
        locations[id] = nil
        do throws(SupervisorError) { holder = try await find(id, besides: gone) } catch {
          // Of a node that was forgotten nothing is expected any more.
          guard ownership.members[gone.member] != nil else { throw error }
          throw .ownerUnreachable([gone], reason)
        }
      } catch .moving(_, let next) {
        guard waits || ContinuousClock.now < deadline, await change(within: .milliseconds(50)) else {
          throw .moving(id, to: next)
        }
      } catch .runnerNotFound(let name) where ownership.claims[name] != nil && ContinuousClock.now < deadline {
        // Its node has just lost the runner, or does not have it yet.
        guard await change(within: .milliseconds(50)) else { throw .runnerNotFound(name) }
      }
    }
  }

  /// Asks the node on which a job of a shared store runs, or the owner of its runner; this one when it has ended, or
  /// nobody has its runner.
  private func askPlace<Value: Sendable>(
    of id: JobID, within limit: Duration?, _ shared: any SharedJobStore,
    _ body: (NodeSupervisor) async throws -> Value
  ) async throws(SupervisorError) -> Value {
    let deadline = ContinuousClock.now + Self.takeoverTime
    while true {
      let place = try await storing { () async throws(JobStoreError) in try await shared.place(id) }
      let owner = ownership.claims[place.runner].map { NodeName(trusted: $0.owner.rawValue) }
      let target = place.status.isFinal ? node : place.node ?? owner ?? node
      do throws(SupervisorError) {
        guard ownership.isPresent(target.member) else {
          throw .nodeNotReached(target, "job \(id): runner \(place.runner) has no owner at present")
        }
        return try await ask(target, within: limit, "job \(id)", body)
      } catch {
        switch error {
        case .nodeNotReached, .draining, .joining, .moving, .runnerNotFound:
          guard isClustered, owner != nil || target != node, ContinuousClock.now < deadline,
            await change(within: .milliseconds(100))
          else { throw error }
        default: throw error
        }
      }
    }
  }

  /// The node that has a job: all others are asked at once, the first that has it will do.
  /// - Throws: `ownerUnreachable` when it may be on a node that cannot be asked.
  private func find(_ id: JobID, besides asked: NodeName) async throws(SupervisorError) -> NodeName {
    if asked != node, try await ask(node, "", { try await $0.has(id) }) { return node }
    let peers = ownership.peers.filter { $0 != asked }
    let found = await withTaskGroup(of: (NodeName, Bool?).self) { group in
      for peer in peers {
        group.addTask {
          let has = try? await self.ask(peer, within: .seconds(5), "", { try await $0.has(id) })
          return (peer, has)
        }
      }
      var silent: [NodeName] = []
      for await (peer, has) in group {
        if has == true {
          group.cancelAll()
          return Result<NodeName, Unfound>.success(peer)
        }
        if has == nil { silent.append(peer) }
      }
      return .failure(Unfound(silent: silent))
    }
    switch found {
    case .success(let peer): return peer
    case .failure(let unfound):
      let missing = (unfound.silent + ownership.absent).sorted()
      if missing.isEmpty { throw .store(.notFound(id)) }
      throw .ownerUnreachable(missing, "no node that can be reached has job \(id)")
    }
  }

  private struct Unfound: Error { let silent: [NodeName] }
}
