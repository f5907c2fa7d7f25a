import Cluster
import Distributed
import EventLoop
import ExactText
import Gossip
import Logging

// Who shall own what, and how that comes about. The rules are in `Ownership`; here they meet the cluster: what it says is
// learned, what follows is done, and said.

extension RunnerRegistry {
  /// A time that only grows, also from one run of the node to the next: what an owner says later wins.
  static var revision: UInt64 { UInt64(Timestamp.now.milliseconds) }

  // MARK: Joining

  /// Takes part in a cluster. Returns when it is known what this node owns, and its runners take jobs.
  public func join(_ cluster: ClusterNode) async {
    self.cluster = cluster
    await cluster.join()
    guard await !cluster.hasToStop else { return }
    let members = await cluster.members
    for member in members { ownership.learn(member) }
    metWhenJoining = Set(members.map(\.name))
    await settle()
    guard state == .joining else { return }
    state = .open
    if let shared = context.shared {
      // Known at a live port from now on; tried again by the store's next owner if it fails.
      let address = await cluster.member(node.member)?.profile.address.rawValue ?? ""
      do { try await shared.noteJoined(at: address) } catch {
        context.logger.warning("cannot note in the store that this node has joined", metadata: ["reason": "\(error)"])
      }
      await adoptShared(shared)
    }
    await local.whenLocal { await $0.open() }
    planReview()
  }

  /// What this node owned when it went, and others do not own by now, it owns again; the rest it gives up.
  private func settle() async {
    var claims: [RunnerClaim] = []
    for mine in await hosted() {
      if let theirs = await cluster?.claim(of: mine.runner), theirs.overrides(mine) {
        ownership.learn(theirs)
        await yield(theirs)
      } else {
        claims.append(mine)
      }
    }
    await publish(claims)
  }

  /// What this node would claim of the runners that live here.
  func hosted() async -> [RunnerClaim] {
    await local.whenLocal { supervisor in
      var claims: [RunnerClaim] = []
      for runner in supervisor.runners.values { claims.append(await runner.claim) }
      return claims
    } ?? []
  }

  // MARK: News

  /// The cluster said something; on the loop.
  public nonisolated func happened(_ event: ClusterNode.Event) {
    assumeIsolated { me in
      switch event {
      case .claim(let claim): me.learn(claim)
      case .member(let member):
        me.ownership.learn(member)
        me.noticed(member)
        me.planReview()
      case .faults(let faults): me.tellPeers(faults)
      case .mustStop: break
      }
      me.changed()
    }
  }

  private func learn(_ claim: RunnerClaim) {
    let before = (try? RunnerName(claim.runner)).flatMap { ownership.claims[$0] }
    ownership.learn(claim)
    if state == .open || state == .draining {
      if claim.owner != node.member || claim.state == .removed {
        Task(executorPreference: context.loop) { await self.yield(claim) }
      } else if before?.epoch != claim.epoch {
        planReview()
      }
      if before?.owner != claim.owner { planReview() }
    }
  }

  /// Gives up a runner that somebody else owns or has removed, if it lives here.
  private func yield(_ claim: RunnerClaim) async {
    guard let name = try? RunnerName(claim.runner), ownership.claims[name]?.owner != node.member else { return }
    let owner = NodeName(trusted: claim.owner.rawValue)
    await local.whenLocal { supervisor in
      if claim.state == .removed {
        try? await supervisor.forget(name)
        try? await supervisor.abandon(name)
      } else {
        await supervisor.giveUp(name, to: owner, epoch: claim.epoch)
      }
    }
  }

  /// Nobody is served any more: calls that wait for news end, and nothing of them waits on the loop afterwards.
  public func end() async {
    hasEnded = true
    changed()
    await context.workspaces.close()
  }

  // MARK: Saying

  /// A runner that lives here was started or stopped.
  func publish(_ runner: Runner, isStopped: Bool) async {
    var claim = await runner.claim
    claim.state = isStopped ? .stopped : .running
    await publish([claim])
  }

  /// Tells the cluster, and returns when the peers know.
  func publish(_ claims: [RunnerClaim]) async {
    guard !claims.isEmpty else { return }
    let claims = claims.map { claim in
      var claim = claim
      // Also after the clock was set back, what is said later wins.
      if let known = (try? RunnerName(claim.runner)).flatMap({ ownership.claims[$0] }), known.owner == claim.owner {
        claim.revision = max(claim.revision, known.revision + 1)
      }
      return claim
    }
    if let cluster { return await cluster.announce(claims) }
    for claim in claims { ownership.learn(claim) }
  }

  // MARK: Owning

  /// Another node gives these runners to this one.
  func takeOver(_ entries: [RegisteredRunner], from giver: NodeName) async throws(SupervisorError) {
    if isNodeDrained { throw .nodeUnavailable(node, "it is drained and takes no runners") }
    try await host(entries, from: giver)
  }

  /// This node owns these runners from now on, and says so.
  /// - Parameter giver: their present owner, which agrees.
  func host(_ entries: [RegisteredRunner], from giver: NodeName? = nil) async throws(SupervisorError) {
    try requireOpen()
    // Someone else may have been faster; a shared store knows.
    let wanted = context.shared != nil ? entries : entries.filter { $0.epoch >= ownership.nextEpoch($0.name) }
    guard !wanted.isEmpty else { return }
    let owned = try await domain {
      try await local.whenLocal { try await $0.host(wanted, from: giver) } ?? []
    }
    if owned.count < wanted.count, let shared = context.shared { try await learnOwners(shared) }
    await publish(
      owned.map {
        RunnerClaim(
          runner: $0.name.rawValue, queue: $0.queue.rawValue, owner: node.member, epoch: $0.epoch,
          revision: Self.revision, state: $0.isStopped ? .stopped : .running)
      })
    // Another node's claim that came in the meantime may have won.
    for entry in owned {
      if let claim = ownership.claims[entry.name], claim.owner != node.member { await yield(claim) }
    }
  }

  /// Looks, soon, at what this node should own and does not, or the other way round.
  func planReview() {
    isReviewDue = true
    guard review == nil, isClustered || context.shared != nil, state == .open else { return }
    review = Task(executorPreference: context.loop) { await self.reviewAll() }
  }

  /// Forgets members that the cluster has forgotten, and what they said.
  func keep(_ members: [Member]) {
    ownership.keep(members)
    faultReports = faultReports.filter { $0.key == node || ownership.members[$0.key.member] != nil }
  }

  private func reviewAll() async {
    while isReviewDue, state == .open {
      isReviewDue = false
      if let members = await cluster?.members { keep(members) }
      if let shared = context.shared {
        if leaseLoss != nil { break }
        await adoptShared(shared)
      } else {
        await reconcile()
        await adopt()
      }
      await placeConfigured()
      for (queue, keeper) in ownership.splits { try? await moveHere(queue, to: keeper) }
      await spreadConfigured()
      limitPlacing()
      // An adopter may have died before it could; a member that is unknown may be known soon.
      if ownership.hasOrphans && context.shared == nil || isIncomplete {
        guard (try? await context.loop.sleep(for: .milliseconds(500))) != nil else { break }
        isReviewDue = true
      }
    }
    review = nil
  }

  /// Whether a runner of the configuration is nowhere yet.
  private var isIncomplete: Bool { !unplaced.isEmpty }

  /// Runners of the configuration that are nowhere yet.
  var unplaced: [RunnerName] {
    configured.map(\.name).filter { ownership.claims[$0] == nil && !ownership.isRemoved($0) }
  }

  /// A node to which a runner belongs may have another configuration: that is no reason to wait for ever.
  private func limitPlacing() {
    guard !hasWaitedForConfigured, let opened, opened.duration(to: .now) > Self.placingTime else { return }
    hasWaitedForConfigured = true
    let names = unplaced.map(\.rawValue).joined(separator: ", ")
    guard !names.isEmpty else { return }
    context.logger.warning(
      "no node has these runners of the configuration; do all nodes have the same?", metadata: ["runners": "\(names)"])
  }

  /// For how long a node is not ready because of its configured runners.
  private static var placingTime: Duration { .seconds(30) }

  /// What lives here is what this node owns; whatever came between is put right.
  private func reconcile() async {
    let hosted = Set(await hosted().map { ExactText($0.runner) })
    for runner in hosted {
      guard let name = try? RunnerName(runner.rawValue), let claim = ownership.claims[name] else { continue }
      if claim.owner != node.member { await yield(claim) }
    }
    // What was learned before this node was open: where jobs of former runners go.
    for name in await local.whenLocal({ Array($0.departed.keys) }) ?? [] {
      if let claim = ownership.claims[name] {
        if claim.owner != node.member { await yield(claim) }
      } else if ownership.isRemoved(name) {
        await local.whenLocal { try? await $0.abandon(name) }
      }
    }
    let missing = ownership.claims.compactMap { name, claim -> RegisteredRunner? in
      guard claim.owner == node.member, !hosted.contains(ExactText(claim.runner)), !removing.contains(name),
        let queue = try? QueueName(claim.queue)
      else { return nil }
      return RegisteredRunner(name: name, queue: queue, isStopped: claim.state == .stopped, epoch: claim.epoch + 1)
    }
    if !missing.isEmpty { try? await host(missing) }
  }

  private func adopt() async {
    let entries = isNodeDrained ? [] : ownership.adoptions
    guard !entries.isEmpty else { return }
    do throws(SupervisorError) {
      try await host(inParts: entries)
      let adopted = entries.filter { ownership.claims[$0.name]?.owner == node.member }.map(\.name.rawValue).sorted()
      guard !adopted.isEmpty else { return }
      context.logger.notice("runners adopted", metadata: ["runners": "\(adopted.joined(separator: ", "))"])
    } catch {
      context.logger.error("cannot adopt runners, trying again", metadata: ["reason": "\(error)"])
    }
  }

  /// How many runners are hosted together when there are many: one of those that nobody asks for waits for the end.
  private static var part: Int { 256 }

  /// As `host`, a part after the other, beginning with those that calls wait for.
  func host(inParts entries: [RegisteredRunner]) async throws(SupervisorError) {
    var rest = Dictionary(entries.map { ($0.name, $0) }, uniquingKeysWith: { $1 })
    while !rest.isEmpty {
      let asked = wanted.compactMap { rest[$0] }
      let part = asked.isEmpty ? Array(rest.values.prefix(Self.part)) : asked
      for entry in part { rest[entry.name] = nil }
      // An owner may be back since they were chosen; a shared store finds that out by itself.
      try await host(context.shared != nil ? part : part.filter { ownership.isOrphan($0.name) })
      wanted.subtract(part.map(\.name))
    }
    wanted = []
  }

  /// A call waits for the next owner of a runner: if that is this node, it comes first, else its heir hears of it.
  func want(_ name: RunnerName) {
    // Peers send names, too.
    guard let queue = ownership.claims[name].map({ QueueName(trusted: $0.queue) }), wanted.insert(name).inserted,
      let heir = ownership.owner(of: queue) ?? ownership.place(queue), heir != node
    else { return }
    chore { try? await self.ask(heir, within: .seconds(1), "") { try await $0.want(name) } }
  }

  func placeConfigured() async {
    // Of a shared store, among those that can work.
    let holders = try? await context.shared?.leaseholders()
    let missing = configured.filter { settings in
      ownership.claims[settings.name] == nil && !ownership.isRemoved(settings.name)
        && (ownership.owner(of: settings.queue) ?? ownership.place(settings.queue, among: holders)) == node
    }
    guard !missing.isEmpty else { return }
    do throws(SupervisorError) {
      try await host(
        missing.map { RegisteredRunner(name: $0.name, queue: $0.queue, epoch: ownership.nextEpoch($0.name)) })
    } catch {
      context.logger.error("cannot start runners of the configuration, trying again", metadata: ["reason": "\(error)"])
    }
  }

  /// Nodes that start at about the same time share the configuration's runners, whichever was first. Later, what has an
  /// owner stays there.
  private func spreadConfigured() async {
    for queue in Set(configured.map(\.queue)) {
      guard ownership.owner(of: queue) == node, let place = ownership.place(queue), place != node,
        begun.duration(to: .now) < Self.timeToSpread, !metWhenJoining.contains(place.member)
      else { continue }
      try? await moveHere(queue, to: place)
    }
  }

  /// From the start of this node, for nodes that came later. When they were started is not asked: clocks differ.
  private static var timeToSpread: Duration { .seconds(30) }

  /// Whether a node takes part, as far as this one knows.
  func isPresent(_ node: NodeName) -> Bool { ownership.isPresent(node.member) }

  // MARK: Moving

  /// Moves a runner, with all others of its queue, to another node, without losing or repeating a job.
  public func move(_ name: RunnerName, to target: NodeName) async throws(SupervisorError) {
    try requireOpen()
    guard let claim = ownership.claims[name] else { throw .runnerNotFound(name) }
    guard ownership.isPresent(target.member) else {
      throw .nodeUnavailable(target, "it is not a live member of the cluster")
    }
    let queue = QueueName(trusted: claim.queue)
    try await askOwner(of: name, within: nil) { try await $0.move(queue, to: target) }
  }

  func moveHere(_ queue: QueueName, to target: NodeName) async throws(SupervisorError) {
    guard target != node else { return }
    let mine = ownership.claims.filter { $0.value.queue == queue.rawValue && $0.value.owner == node.member }
    guard !mine.isEmpty else { return }
    let names = Array(mine.keys)
    let entries = mine.map { name, claim in
      RegisteredRunner(name: name, queue: queue, isStopped: claim.state == .stopped, epoch: claim.epoch + 1)
    }
    // Nothing starts here once it may start there.
    await local.whenLocal { await $0.setOpen(names, false) }
    do throws(SupervisorError) {
      let node = self.node
      try await ask(target, "moving queue \(queue)") { try await $0.takeOver(entries, from: node) }
    } catch {
      // It may have taken them all the same; then its claim comes, and closes them again.
      await local.whenLocal { await $0.setOpen(names, true) }
      throw error
    }
    // The new owner has told this node, too, unless the news was lost on the way.
    for entry in entries where ownership.claims[entry.name]?.owner == node.member {
      let claim = RunnerClaim(
        runner: entry.name.rawValue, queue: queue.rawValue, owner: target.member, epoch: entry.epoch,
        revision: 0, state: entry.isStopped ? .stopped : .running)
      learn(claim)
      await yield(claim)
    }
    await local.whenLocal { await $0.departuresEnded(names) }
  }

  // MARK: Draining

  /// Gives the runners of a node to its peers; the node stays, and takes none until this is undone.
  public func drainNode(_ target: NodeName, undo: Bool) async throws(SupervisorError) {
    try requireOpen()
    guard ownership.isPresent(target.member) else {
      throw .nodeUnavailable(target, "it is not a live member of the cluster")
    }
    try await ask(target, within: nil, "draining node \(target)") { try await $0.drainNode(undo: undo) }
  }

  func drainHere(undo: Bool) async throws(SupervisorError) {
    if !undo, ownership.peers.isEmpty {
      throw .nodeUnavailable(nil, "there is no other node that could take the runners")
    }
    await setNodeDrained(!undo)
    guard !undo else { return planReview() }
    do throws(SupervisorError) { try await moveAll() } catch .nodeUnavailable(nil, let reason) {
      // Refused as a whole: nothing stays half done.
      await setNodeDrained(false)
      throw .nodeUnavailable(nil, reason)
    }
  }

  private func setNodeDrained(_ isDrained: Bool) async {
    isNodeDrained = isDrained
    await cluster?.setDraining(isDrained)
    if let me = await cluster?.member(node.member) { ownership.learn(me) }
  }

  /// Gives every queue of this node to another.
  private func moveAll() async throws(SupervisorError) {
    let queues = Set(ownership.claims.values.filter { $0.owner == node.member }.map(\.queue))
    try await withEach(Array(queues)) { (text) async throws(SupervisorError) in
      let queue = QueueName(trusted: text)
      guard let target = await self.ownership.place(queue, besides: self.node) else {
        throw .nodeUnavailable(nil, "there is no other node that could take the queue \(queue)")
      }
      try await self.moveHere(queue, to: target)
    }
  }

  /// The node is stopping: its runners go to peers, running jobs have this long to end, and the cluster hears of it.
  public func drain(for time: Duration) async {
    let deadline = ContinuousClock.now + time
    let wasOpen = state == .open
    state = .draining
    changed()
    // What cannot be written in this time is not waited for: a store that is away may be away for long.
    let patience = Task(executorPreference: context.loop) { [loop = context.loop, shared = context.shared] in
      let limit = max(.zero, deadline - ContinuousClock.now) + self.context.settings.killGrace + .seconds(2)
      if (try? await loop.sleep(for: limit)) != nil { await shared?.giveUp() }
    }
    review?.cancel()
    await review?.value
    if let cluster, wasOpen, await !cluster.isClosed, !ownership.peers.isEmpty {
      await cluster.setDraining(true)
      let moving = Task(executorPreference: context.loop) { try await self.moveAll() }
      let clock = Task(executorPreference: context.loop) { [loop = context.loop] in
        if (try? await loop.sleep(for: max(.milliseconds(500), time))) != nil { moving.cancel() }
      }
      do { try await moving.value } catch {
        context.logger.warning("not all runners could be moved", metadata: ["reason": "\(error)"])
      }
      clock.cancel()
    }
    await local.whenLocal { await $0.drain(for: max(.zero, deadline - ContinuousClock.now)) }
    patience.cancel()
    await patience.value
    await endChores()
    if let cluster {
      await cluster.leave()
      await cluster.close()
    }
    await local.whenLocal { await $0.close() }
  }
}
