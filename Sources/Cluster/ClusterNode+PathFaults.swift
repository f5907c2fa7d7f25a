import EventLoop
import Gossip
import Logging

// Looks at what works between this node and its peers, and says what does not: in the log, and to whoever listens.

extension ClusterNode {
  /// How often it looks. What is looked for is something that does not happen.
  private static let interval = Duration.seconds(5)

  /// Until the node closes.
  func watchLinks() async {
    while (try? await loop.sleep(for: Self.interval)) != nil, !isClosed { await lookAtLinks() }
  }

  /// Peers and what does not work between them and this node.
  public var pathFaults: [PathFault] { faults.current }

  /// For how long no peer that takes part has had a link with this node, so that nobody can call it; `nil` when one has, or
  /// there is no peer.
  public var isolation: Duration? { faults.isolatedSince.map { MonotonicClock.now - $0 } }

  func lookAtLinks() async {
    guard let gossip else { return }
    let linked = Set(await linked)
    var views: [PathFaults.View] = []
    for member in await gossip.membership.members where member.isPresent && member.name != name {
      views.append(
        PathFaults.View(
          peer: member.name, hasLink: linked.contains(member.name), failure: dialFailures[member.name] ?? "",
          packets: await gossip.packetLoss(with: member.name)))
    }
    // Of who has a link by now, or is gone, it is not asked any more.
    let unlinked = Set(views.filter { !$0.hasLink }.map(\.peer))
    dialFailures = dialFailures.filter { unlinked.contains($0.key) }
    let report = faults.update(views, at: MonotonicClock.now)
    if !report.said.isEmpty {
      logger.warning(
        "members are there, but not everything arrives; is a firewall between them?",
        metadata: ["faults": "\(report.said.map(\.description).joined(separator: "; "))"])
    }
    if !report.ended.isEmpty {
      logger.notice(
        "works again between members, or they are gone",
        metadata: ["faults": "\(report.ended.map(\.description).joined(separator: "; "))"])
    }
    if report.isDue { tell(of: faults.current) }
  }
}
