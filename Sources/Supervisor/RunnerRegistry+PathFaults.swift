import Cluster
import Distributed
import Gossip

// What does not work between members that are there, as this node sees it and as its peers tell: each tells those that it
// can call, so that an operator sees all of it at any of them.

/// A fault between two members, and which of them says so.
public struct ReportedFault: Sendable {
  public let observer: NodeName
  public let fault: PathFault
}

extension RunnerRegistry {
  /// How long what a peer said is believed; it is said again in a shorter time as long as it is so.
  private static var validity: Duration { PathFaults.validity }

  /// This node sees other faults than before, or the same for a while.
  func tellPeers(_ faults: [PathFault]) {
    faultReports[node] = FaultReport(faults: faults, at: .now)
    let node = self.node
    chore { _ = await self.askAll(await self.ownership.peers) { try await $0.noteFaults(faults, of: node) } }
  }

  /// What a peer sees.
  func noteFaults(_ faults: [PathFault], of observer: NodeName) {
    guard ownership.members[observer.member] != nil else { return }
    faultReports[observer] = faults.isEmpty ? nil : FaultReport(faults: faults, at: .now)
  }

  /// What members say of each other, by name; of those that take part.
  var pathFaults: [ReportedFault] {
    faultReports.sorted { $0.key < $1.key }.flatMap { observer, report -> [ReportedFault] in
      guard ownership.isPresent(observer.member),
        observer == node || report.at.duration(to: .now) < Self.validity
      else { return [] }
      return report.faults.filter { ownership.isPresent($0.peer) }.map { ReportedFault(observer: observer, fault: $0) }
    }
  }

  /// In a few words each, what of a member does not work.
  func problems(of member: MemberName, _ faults: [ReportedFault]) -> [String] {
    faults.filter { $0.fault.peer == member }.map { report in
      let isMine = report.observer == node
      return switch report.fault.kind {
      case .noLink: isMine ? "no link" : "no link from \(report.observer)"
      case .noUDPFrom: isMine ? "no UDP" : "no UDP to \(report.observer)"
      case .noUDPTo: isMine ? "no UDP to it" : "no UDP from \(report.observer)"
      }
    }
  }

  /// What an operator should know of a node that takes work; a sentence, if there is any.
  public var remark: String? {
    get async {
      if let reason = await cluster?.reasonForBeingAlone {
        return "alone: this node was told to join others, and none lets it: \(reason)"
      }
      if let time = await cluster?.isolation, time >= PathFaults.patience {
        return "no member of the cluster can call this node, for \(time.components.seconds) s: no peer link"
      }
      let mine = pathFaults.filter { $0.observer == node }.map(\.fault.description)
      return mine.isEmpty ? nil : "not everything arrives between members: \(mine.joined(separator: "; "))"
    }
  }
}

extension NodeSupervisor {
  /// A call at a peer waits for a runner that falls to this node.
  distributed func want(_ name: RunnerName) async throws { await registry.want(name) }

  /// What a peer says of its links.
  distributed func noteFaults(_ faults: [PathFault], of observer: NodeName) async throws {
    await registry.noteFaults(faults, of: observer)
  }
}

/// What one member said of its links.
struct FaultReport: Sendable {
  let faults: [PathFault]
  let at: ContinuousClock.Instant
}
