import Cluster
import Distributed
import EventLoop
import Gossip
import Logging

// Which runners there are and on which node each lives: the entrance to the domain. It finds the owner and asks it, be it
// this node or another. Calls about jobs are in `RunnerRegistry+Jobs.swift`; who shall own what, and how that comes about,
// in `RunnerRegistry+Ownership.swift`.

public actor RunnerRegistry {
  nonisolated let context: RunnerContext
  public nonisolated var unownedExecutor: UnownedSerialExecutor { context.loop.asUnownedSerialExecutor() }
  nonisolated let node: NodeName
  nonisolated let system: ClusterSystem
  /// Whether this node belongs to a cluster, or is alone and decides everything by itself.
  public nonisolated let isClustered: Bool

  nonisolated let started = Timestamp.now
  /// The same by a clock that nobody sets.
  nonisolated let begun = ContinuousClock.now
  /// Whom this node knew when it had joined.
  var metWhenJoining: Set<MemberName> = []
  let configured: [RunnerSettings]
  var ownership: Ownership
  var local: NodeSupervisor!
  var cluster: ClusterNode?
  /// Other nodes' supervisors, as this one calls them.
  private var remote: [NodeName: NodeSupervisor] = [:]
  /// Where jobs of other nodes were found.
  var locations = LocationCache()
  /// Runners whose next owner calls wait for.
  var wanted: Set<RunnerName> = []
  /// Registrations that are being made.
  private var registering: Set<RunnerName> = []
  /// Runners that are being removed.
  var removing: Set<RunnerName> = []
  /// Calls that wait for news of owners and members.
  let changes: Waiters
  /// What members say of what arrives between them (`RunnerRegistry+PathFaults.swift`).
  var faultReports: [NodeName: FaultReport] = [:]
  private var changeCount: UInt64 = 0
  var hasEnded = false
  var review: Task<Void, Never>?
  var isReviewDue = false

  enum State { case joining, open, draining }
  var state: State {
    didSet { if state == .open, opened == nil { opened = .now } }
  }
  /// When this node began to take calls.
  private(set) var opened: ContinuousClock.Instant?
  /// Set once the runners of the configuration have had their time to be known.
  var hasWaitedForConfigured = false
  public var isDraining: Bool { state == .draining }
  /// Takes no runners, on an operator's wish.
  var isNodeDrained = false
  /// Why a shared store does not let this node run jobs at present, if so.
  var leaseLoss: String?
  /// What goes on beside the calls (`RunnerRegistry+Shared.swift`).
  var chores: [UInt64: Task<Void, Never>] = [:]
  var nextChore: UInt64 = 0

  /// - Parameters:
  ///   - wishes: the nodes that the configuration names for queues.
  ///   - system: of a node that belongs to a cluster; then `join` follows.
  public init(
    context: RunnerContext, configured: [RunnerSettings] = [], wishes: [QueueName: NodeName] = [:],
    system: ClusterSystem? = nil
  ) {
    self.context = context
    self.configured = configured
    node = context.settings.node
    changes = Waiters(on: context.loop)
    isClustered = system != nil
    let me = context.settings.node.member
    self.system =
      system
      ?? ClusterSystem(node: me, loop: context.loop, errors: SupervisorError.self) {
        (peer, _, _) throws(ClusterError) in throw .unreachable(peer, reason: "this node is not in a cluster")
      }
    ownership = Ownership(me: context.settings.node, wishes: wishes)
    state = .joining
  }

  /// Brings back the runners and jobs of the node's former life. Once, before the API listens.
  public func recover() async throws(SupervisorError) {
    let table = Dictionary(configured.map { ($0.name, $0) }, uniquingKeysWith: { $1 })
    local = NodeSupervisor(context: context, configured: table, registry: self, actorSystem: system)
    if let shared = context.shared { await watch(shared) }
    do throws(SupervisorError) {
      try await domain { try await local.whenLocal { try await $0.recover(hostsConfigured: !isClustered) } }
    } catch {
      await endChores()
      await context.workspaces.close()
      throw error
    }
    if context.shared != nil { beginPolling() }
    for claim in await hosted() { ownership.learn(claim) }
    if !isClustered {
      state = .open
      await local.whenLocal { await $0.open() }
      if let shared = context.shared {
        await adoptShared(shared)
        await placeConfigured()
      }
    }
  }

  /// Why calls are refused at present, if they are.
  public var unreadiness: String? {
    switch state {
    case .joining: "the node is joining its cluster"
    case .open: leaseLoss ?? placing
    case .draining: "the node is stopping"
    }
  }

  /// Why it is too early to send calls here: runners of the configuration are not known yet, and would be not found.
  private var placing: String? {
    let missing = hasWaitedForConfigured ? [] : unplaced
    if missing.isEmpty { return nil }
    return "runners of the configuration have no owner yet: \(missing.map(\.rawValue).joined(separator: ", "))"
  }

  func requireOpen() throws(SupervisorError) {
    switch state {
    case .open: if let leaseLoss { throw .store(.unavailable(leaseLoss, retryAfterMilliseconds: 1000)) }
    case .joining: throw .joining
    case .draining: throw .draining
    }
  }

  /// Workspaces and payload files of ended jobs that could not be removed so far.
  public var workspacesNotRemoved: Int { get async { await context.workspaces.notRemoved } }

  /// Which queues of this node may start jobs, and which are on hold.
  public nonisolated var gate: StartGate { context.gate }

  // MARK: Nodes

  /// A node's supervisor: this node's own, or one that is called over its peer link.
  func supervisor(of node: NodeName) throws -> NodeSupervisor {
    if node == self.node { return local }
    if let known = remote[node] { return known }
    let found = try NodeSupervisor.resolve(
      id: ClusterActorID(node: node.member, kind: local.id.kind, name: local.id.name), using: system)
    remote[node] = found
    return found
  }

  /// Asks a node, and states what went wrong as an error of the domain.
  /// - Parameters:
  ///   - limit: how long the answer may take; `nil` for as long as the node is there.
  ///   - what: what is asked for, in words.
  func ask<Value: Sendable>(
    _ node: NodeName, within limit: Duration? = ClusterSystem.defaultLimit, _ what: @autoclosure () -> String,
    _ body: (NodeSupervisor) async throws -> Value
  ) async throws(SupervisorError) -> Value {
    do {
      let supervisor = try supervisor(of: node)
      if node == self.node || limit == ClusterSystem.defaultLimit { return try await body(supervisor) }
      return try await ClusterSystem.$limit.withValue(limit) { try await body(supervisor) }
    } catch let error as SupervisorError {
      throw error
    } catch ClusterError.unreachable(_, let reason) {
      throw .nodeNotReached(node, "\(what()): \(reason)")
    } catch ClusterError.cancelled {
      throw .store(.cancelled)
    } catch ClusterError.overloaded {
      throw .store(.unavailable("node \(node) is overloaded", retryAfterMilliseconds: 1000))
    } catch {
      throw .callLost(node, "\(what()): \(error)")
    }
  }

  // MARK: Runners

  /// The names of all runners.
  public var list: [RunnerName] { ownership.names }

  /// The node on which a runner lives.
  func owner(of name: RunnerName) throws(SupervisorError) -> NodeName {
    guard let claim = ownership.claims[name] else { throw .runnerNotFound(name) }
    return NodeName(trusted: claim.owner.rawValue)
  }

  /// Asks the owner of a runner. One that has just lost it, or is gone, is asked no more: whoever follows it is.
  func askOwner<Value: Sendable>(
    of name: RunnerName, within limit: Duration? = ClusterSystem.defaultLimit,
    _ body: (NodeSupervisor) async throws -> Value
  ) async throws(SupervisorError) -> Value {
    let deadline = ContinuousClock.now + Self.takeoverTime
    var isWaiting = false
    defer { if isWaiting { wanted.remove(name) } }
    while true {
      let owner = try owner(of: name)
      do throws(SupervisorError) {
        guard ownership.isPresent(owner.member) else {
          throw .nodeNotReached(owner, "runner \(name) has no owner at present")
        }
        return try await ask(owner, within: limit, "runner \(name)", body)
      } catch {
        if case .nodeNotReached = error, isClustered {
          want(name)
          isWaiting = true
        }
        guard isClustered, Self.mayBeElsewhere(error, name), ContinuousClock.now < deadline,
          await change(within: .milliseconds(100))
        else { throw error }
      }
    }
  }

  /// How long a call waits for a runner to get a new owner.
  static var takeoverTime: Duration { .seconds(3) }

  /// Whether the call was certainly not carried out, and another node may do it soon.
  private static func mayBeElsewhere(_ error: SupervisorError, _ name: RunnerName) -> Bool {
    switch error {
    case .runnerNotFound(name), .nodeNotReached, .draining, .joining: true
    default: false
    }
  }

  /// Makes a runner known, which starts by itself; it lives where its queue does, or here. The same name with the same
  /// queue again changes nothing.
  public func register(_ name: RunnerName, queue: QueueName) async throws(SupervisorError) {
    try requireOpen()
    if try isRegistered(name, queue) { return }
    let owner = ownership.owner(of: queue) ?? (isNodeDrained ? ownership.place(queue) : node) ?? node
    if owner == node { return try await registerHere(name, queue: queue) }
    try await ask(owner, "registering runner \(name)") { try await $0.register(name, queue: queue) }
  }

  private func isRegistered(_ name: RunnerName, _ queue: QueueName) throws(SupervisorError) -> Bool {
    guard let claim = ownership.claims[name] else { return false }
    let present = QueueName(trusted: claim.queue)
    guard present == queue else { throw .queueConflict(name, present) }
    return true
  }

  func registerHere(_ name: RunnerName, queue: QueueName) async throws(SupervisorError) {
    try requireOpen()
    await changes.wait(while: { registering.contains(name) })
    if try isRegistered(name, queue) { return }
    registering.insert(name)
    defer {
      registering.remove(name)
      changes.resumeAll()
    }
    try await host([RegisteredRunner(name: name, queue: queue, epoch: ownership.nextEpoch(name))])
    if let shared = context.shared {
      // The store may know it, of another node or with another queue.
      if ownership.claims[name] == nil { try await learnOwners(shared) }
      _ = try isRegistered(name, queue)
    }
    // A claim that was refused, or lost against one of a node that is not there, is no registration.
    guard let owner = ownership.claims[name]?.owner, ownership.isPresent(owner) else {
      throw .store(.unavailable("another claim on runner \(name) has won, try again", retryAfterMilliseconds: 1000))
    }
    context.logger.info("runner registered", metadata: ["runner": "\(name)", "queue": "\(queue)"])
  }

  /// Stops it, fails its unfinished jobs with that reason, forgets it.
  public func remove(_ name: RunnerName) async throws(SupervisorError) {
    try await askOwner(of: name, within: nil) { try await $0.remove(name) }
  }

  func removeHere(_ name: RunnerName) async throws(SupervisorError) {
    guard let claim = ownership.claims[name], removing.insert(name).inserted else { throw .runnerNotFound(name) }
    defer { removing.remove(name) }
    try await domain { try await local.whenLocal { try await $0.forget(name) } }
    var tombstone = claim
    tombstone.owner = node.member
    tombstone.epoch += 1
    tombstone.revision = Self.revision
    tombstone.state = .removed
    await publish([tombstone])
  }

  public func start(_ name: RunnerName) async throws(SupervisorError) {
    try requireOpen()
    try await askOwner(of: name) { try await $0.startRunner(name) }
  }

  /// Returns when its running jobs have ended; with `force` it stops them. A restart of the node does not start it.
  public func stop(_ name: RunnerName, force: Bool) async throws(SupervisorError) {
    try await askOwner(of: name, within: nil) { try await $0.stopRunner(name, force: force) }
  }

  public func status(_ name: RunnerName) async throws(SupervisorError) -> RunnerStatus {
    try await askOwner(of: name) { try await $0.status(name) }
  }

  /// All runners, by name. Those whose owner cannot be reached are `unavailable`, and the owner is named.
  public func statuses() async -> (runners: [RunnerStatus], unreachable: [NodeName]) {
    let owners = Set(ownership.claims.values.map { NodeName(trusted: $0.owner.rawValue) }).union([node])
    let answers = await askAll(Array(owners)) { try await $0.statuses() }
    var known: [RunnerName: RunnerStatus] = [:]
    for status in answers.values.flatMap(\.self) { known[status.name] = status }
    let runners = ownership.names.compactMap { name -> RunnerStatus? in
      guard let claim = ownership.claims[name] else { return nil }
      return known[name] ?? .unavailable(name, claim)
    }
    return (runners, answers.unreachable.filter { node in runners.contains { $0.node == node } })
  }

  /// The runners that live here; for this node's metrics.
  public func localStatuses() async -> [RunnerStatus] {
    ((try? await local.statuses()) ?? []).sorted { $0.name < $1.name }
  }

  /// Waits for the next change of owners and members, but not for ever: what a caller waits for may have happened already.
  /// - Returns: whether it is worth to look again; not once the caller is cancelled, or the node ends.
  func change(within time: Duration) async -> Bool {
    let count = changeCount
    await changes.waitUnlessCancelled(while: { changeCount == count && !hasEnded }, atMost: time)
    return !hasEnded && !Task.isCancelled
  }

  /// Owners or members have changed.
  func changed() {
    changeCount += 1
    changes.resumeAll()
  }

  struct Answers<Value: Sendable>: Sendable {
    var values: [Value] = []
    var unreachable: [NodeName] = []
  }

  /// Asks several nodes the same, at once.
  func askAll<Value: Sendable>(
    _ nodes: [NodeName], _ body: @escaping @Sendable (NodeSupervisor) async throws -> Value
  ) async -> Answers<Value> {
    var answers = Answers<Value>()
    if nodes == [node] {
      if let value = try? await body(local) { answers.values = [value] }
      return answers
    }
    let outcomes = await withTaskGroup(of: (NodeName, Value?).self) { group in
      for node in nodes {
        group.addTask {
          // Bound before the tuple is made, as everywhere: Swift 6.3.1 with -O may lose what stands before an await in it.
          let value = try? await self.ask(node, within: .seconds(5), "", body)
          return (node, value)
        }
      }
      var outcomes: [(NodeName, Value?)] = []
      for await outcome in group { outcomes.append(outcome) }
      return outcomes
    }
    for (node, value) in outcomes {
      if let value { answers.values.append(value) } else { answers.unreachable.append(node) }
    }
    answers.unreachable.sort()
    return answers
  }

  /// Runs `body`, whose errors are the domain's own.
  func domain<Value: Sendable>(_ body: () async throws -> Value) async throws(SupervisorError) -> Value {
    do { return try await body() } catch let error as SupervisorError {
      throw error
    } catch {
      preconditionFailure("a call within the node failed with \(error)")
    }
  }
}

extension RunnerStatus {
  static func unavailable(_ name: RunnerName, _ claim: RunnerClaim) -> RunnerStatus {
    RunnerStatus(
      name: name, queue: QueueName(trusted: claim.queue), node: NodeName(trusted: claim.owner.rawValue),
      state: .unavailable, epoch: claim.epoch, concurrency: 0, queued: 0, running: 0, completed: 0, failed: 0,
      timeout: 0)
  }
}
