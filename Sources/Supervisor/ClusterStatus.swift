import Cluster
import Gossip

// What an operator asks about the cluster.

/// A node as the membership sees it.
public struct ClusterMember: Sendable {
  public let name: NodeName
  /// `alive`, `suspect`, `failed` or `left`.
  public let state: String
  public let address: String
  public let api: String
  public let incarnation: UInt64
  public let zone: String
  public let version: String
  /// How many it owns.
  public let runners: Int
  /// When the state began.
  public let since: Timestamp
  public let isDraining: Bool
  /// What does not work between it and other members, in a few words each: `no link from n3`, `no UDP`.
  public let problems: [String]
}

/// The cluster as this node sees it.
public struct ClusterStatus: Sendable {
  public let node: NodeName
  public let cluster: String
  /// How many members are in which state; every state is there.
  public let members: [String: Int]
  public let runners: Int
  public let ownedRunners: Int
  /// Those whose owner is not there.
  public let unavailableRunners: Int
  public let unreachable: [NodeName]
  /// How much this node doubts itself; 0 is healthy (Lifeguard).
  public let health: Int
  /// Why the node takes no work, if so.
  public let unreadiness: String?
  /// Jobs here that wait for the new owner of their runner.
  public let jobsToHandOver: Int
  /// Jobs that another node may have moved here, and which wait for its word.
  public let jobsInDoubt: Int
  /// Of the store that the nodes share, if they do.
  public let sharedStore: SharedStoreStatus?
  /// What members say of what arrives between them.
  public let pathFaults: [ReportedFault]
  /// Why the node has found none of the others that it was told of, if so.
  public let solitude: String?
}

extension RunnerRegistry {
  /// All members, by name; a node without a cluster is its only one.
  public func members() async -> [ClusterMember] {
    let counts = Dictionary(grouping: ownership.claims.values, by: \.owner).mapValues(\.count)
    guard let cluster else {
      return [
        ClusterMember(
          name: node, state: "alive", address: "", api: "", incarnation: 0, zone: "", version: "",
          runners: ownership.claims.count, since: started, isDraining: false, problems: [])
      ]
    }
    let (now, wall, faults) = (GossipNode.now, Timestamp.now, pathFaults)
    let isIsolated = await cluster.isolation.map { $0 >= PathFaults.patience } ?? false
    return await cluster.members.map { member in
      let (seconds, attoseconds) = (now - member.since).components
      let age = max(0, seconds * 1000 + attoseconds / 1_000_000_000_000_000)
      return ClusterMember(
        name: NodeName(trusted: member.name.rawValue), state: "\(member.state)",
        address: member.profile.address.rawValue, api: member.profile.api, incarnation: member.incarnation.rawValue,
        zone: member.profile.zone, version: member.profile.version, runners: counts[member.name] ?? 0,
        since: Timestamp(milliseconds: wall.milliseconds - age), isDraining: member.profile.isDraining,
        problems: member.name == node.member && isIsolated
          ? ["no link with any member"] : problems(of: member.name, faults))
    }
  }

  public func clusterStatus() async -> ClusterStatus {
    var states = Dictionary(uniqueKeysWithValues: MemberState.allCases.map { ("\($0)", 0) })
    for member in await members() { states[member.state, default: 0] += 1 }
    let unavailable = ownership.claims.values.filter { !ownership.isPresent($0.owner) }.count
    return ClusterStatus(
      node: node, cluster: cluster?.configuration.cluster ?? "", members: states, runners: ownership.claims.count,
      ownedRunners: ownership.claims.values.filter { $0.owner == node.member }.count, unavailableRunners: unavailable,
      unreachable: ownership.absent, health: await cluster?.healthScore ?? 0, unreadiness: unreadiness,
      jobsToHandOver: await jobsToHandOver(), jobsInDoubt: await local.whenLocal { $0.incoming.count } ?? 0,
      sharedStore: await context.shared?.sharedStatus(), pathFaults: pathFaults,
      solitude: await cluster?.reasonForBeingAlone)
  }

  private func jobsToHandOver() async -> Int {
    let store = context.store
    let names = await local.whenLocal { Set($0.departed.keys) } ?? []
    guard context.shared == nil, !names.isEmpty, let unfinished = try? await store.unfinished() else { return 0 }
    return unfinished.filter { names.contains($0.runner) && $0.status == .queued }.count
  }
}
