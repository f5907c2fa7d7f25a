import Gossip

// Who owns which runner, as this node knows it, and what follows from it: a value, so that the rules can be read and
// tested without a cluster.

struct Ownership: Sendable {
  let me: MemberName
  /// Where the configuration wants queues to be.
  let wishes: [QueueName: NodeName]
  /// Those that are registered.
  private(set) var claims: [RunnerName: RunnerClaim] = [:]
  /// How many runners of each queue each member has: with thousands of queues nobody looks through all claims for each.
  private var holders: [QueueName: [MemberName: Int]] = [:]
  /// The epochs of those that were removed.
  private var removed: [RunnerName: UInt64] = [:]
  /// Every member, this node among them.
  private(set) var members: [MemberName: Member] = [:]
  /// Owners that no member is known by: news of a runner may be faster than news of its node. When they were first
  /// named.
  private var strangers: [MemberName: ContinuousClock.Instant] = [:]
  /// How long a stranger may take to become a member.
  private static let patience = Duration.seconds(10)
  private var sortedNames: [RunnerName]?

  init(me: NodeName, wishes: [QueueName: NodeName]) {
    self.me = me.member
    self.wishes = wishes
  }

  /// The names of all runners, in order.
  var names: [RunnerName] {
    mutating get {
      if let sortedNames { return sortedNames }
      let names = claims.keys.sorted()
      sortedNames = names
      return names
    }
  }

  mutating func learn(_ claim: RunnerClaim) {
    guard let name = try? RunnerName(claim.runner) else { return }
    sortedNames = nil
    if let before = claims[name] { count(before, by: -1) }
    if claim.state != .removed { count(claim, by: 1) }
    if claim.state == .removed {
      claims[name] = nil
      removed[name] = claim.epoch
    } else {
      claims[name] = claim
      removed[name] = nil
      if claim.owner != me, members[claim.owner] == nil, strangers[claim.owner] == nil {
        strangers[claim.owner] = .now
      }
    }
  }

  private mutating func count(_ claim: RunnerClaim, by change: Int) {
    let queue = QueueName(trusted: claim.queue)
    let count = (holders[queue]?[claim.owner] ?? 0) + change
    holders[queue, default: [:]][claim.owner] = count == 0 ? nil : count
    if holders[queue]?.isEmpty == true { holders[queue] = nil }
  }

  mutating func learn(_ member: Member) {
    members[member.name] = member
    strangers[member.name] = nil
  }

  /// Forgets members that the cluster has forgotten.
  mutating func keep(_ known: [Member]) {
    let names = Set(known.map(\.name))
    members = members.filter { names.contains($0.key) }
  }

  /// The epoch of a runner's next owner.
  func nextEpoch(_ name: RunnerName) -> UInt64 { (claims[name]?.epoch ?? removed[name] ?? 0) + 1 }

  func isRemoved(_ name: RunnerName) -> Bool { removed[name] != nil }

  // MARK: Members

  /// Whether a node takes part, as far as is known.
  func isPresent(_ node: MemberName) -> Bool { node == me || members[node]?.isPresent == true }

  /// Whether a node is gone, so that others may have what it owned.
  private func isGone(_ node: MemberName) -> Bool {
    if let since = strangers[node] { return since.duration(to: .now) > Self.patience }
    return !isPresent(node)
  }

  /// Nodes whose jobs cannot be asked for.
  var absent: [NodeName] {
    members.values.filter { !$0.isPresent && $0.name != me }.map { NodeName(trusted: $0.name.rawValue) }.sorted()
  }

  /// Other nodes that can be asked.
  var peers: [NodeName] {
    members.values.filter { $0.isPresent && $0.name != me }.map { NodeName(trusted: $0.name.rawValue) }.sorted()
  }

  /// Nodes that may own runners.
  private var eligible: [MemberName] {
    // A node without a cluster is its only member.
    if members.isEmpty { return [me] }
    return members.values.filter { ($0.isPresent || $0.name == me) && !$0.profile.isDraining }.map(\.name)
  }

  // MARK: Decisions

  /// Where a queue belongs when it has no owner: to the node of the configuration's choice if that is there, else to the
  /// one that rendezvous hashing picks.
  /// - Parameter nodes: among these only.
  func place(_ queue: QueueName, besides node: NodeName? = nil, among nodes: Set<NodeName>? = nil) -> NodeName? {
    let names = nodes.map { Set($0.map(\.member)) }
    let candidates = eligible.filter { $0 != node?.member && names?.contains($0) ?? true }
    if let wish = wishes[queue]?.member, candidates.contains(wish) { return NodeName(trusted: wish.rawValue) }
    return Rendezvous.winner(of: queue.rawValue, among: candidates).map { NodeName(trusted: $0.rawValue) }
  }

  /// The node on which a queue lives, if it lives anywhere: should runners of it be at several, at the one that keeps it.
  func owner(of queue: QueueName) -> NodeName? {
    let owners = holders[queue]?.keys.filter(isPresent) ?? []
    return Rendezvous.winner(of: queue.rawValue, among: owners).map { NodeName(trusted: $0.rawValue) }
  }

  /// Runners whose owner is gone and which are this node's now, each as it is from now on.
  var adoptions: [RegisteredRunner] {
    claims.compactMap { name, claim in
      guard isGone(claim.owner), let queue = try? QueueName(claim.queue) else { return nil }
      // A queue stays together: with runners of it that have an owner.
      guard (owner(of: queue) ?? place(queue))?.member == me else { return nil }
      return RegisteredRunner(name: name, queue: queue, isStopped: claim.state == .stopped, epoch: claim.epoch + 1)
    }
  }

  /// Whether there is this runner, and its owner is not there.
  func isOrphan(_ name: RunnerName) -> Bool { claims[name].map { !isPresent($0.owner) } ?? false }

  /// Whether a runner has an owner that is not there, and that nobody has replaced yet.
  var hasOrphans: Bool { claims.values.contains { !isPresent($0.owner) } }

  /// Queues of which this node has runners while others are at a node that keeps the queue.
  var splits: [(queue: QueueName, keeper: NodeName)] {
    let mine = Set(claims.values.filter { $0.owner == me }.map(\.queue))
    return mine.compactMap { text in
      guard let queue = try? QueueName(text), let keeper = owner(of: queue), keeper.member != me else { return nil }
      return (queue, keeper)
    }
  }
}

extension NodeName {
  /// The same name as the membership knows it.
  public var member: MemberName { MemberName(rawValue) }
}
