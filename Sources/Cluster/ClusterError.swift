import Gossip

/// Why a call to another node has no answer.
public enum ClusterError: Error, Hashable, Sendable, CustomStringConvertible {
  /// There is no link to the node, and none could be made: nothing was sent, so the call may be made elsewhere.
  case unreachable(MemberName, reason: String)
  /// The link broke, or the node died, while the call was under way: whether it was carried out is not known.
  case nodeLost(MemberName)
  /// No answer within the time that the caller gave it.
  case timedOut(MemberName)
  /// The node has too many calls under way.
  case overloaded(MemberName)
  /// The node answered something that is no answer to this call; the reason in words.
  case invalidAnswer(MemberName, reason: String)
  /// The calling task was cancelled.
  case cancelled

  public var description: String {
    switch self {
    case .unreachable(_, let reason): reason
    case .nodeLost(let node): "\(node) was lost while it was asked, and may have done it or not"
    case .timedOut(let node): "\(node) did not answer in time, and may do it still"
    case .overloaded(let node): "\(node) has too many calls under way"
    case .invalidAnswer(let node, let reason): "\(node) answered something else: \(reason)"
    case .cancelled: "the call was cancelled"
    }
  }
}

/// Why a member was not forgotten.
public enum ForgetRefusal: Error, Hashable, Sendable {
  /// This node knows no member of this name.
  case unknown
  /// It takes part, or is believed to.
  case present
  /// The disk does not take the record; the reason in words.
  case unwritable(String)
}

/// Why a link was not made.
public enum LinkRefusal: Error, Hashable, Sendable, CustomStringConvertible {
  /// connect(2) or the network.
  case connection(String)
  /// The machine is there, and no program at that port.
  case notListening
  /// The other end does not have this cluster's name and one of its keys, or is something else altogether.
  case notOfThisCluster
  /// Its certificate is not one of that member's; the reason in words. Or it does not accept this node's.
  case untrusted(String)
  /// It speaks other versions of the protocol.
  case protocolVersions(theirs: ClosedRange<UInt8>, ours: ClosedRange<UInt8>)
  /// It is this node itself.
  case isSelf
  /// It is another node of the same name.
  case sameName(Introduction)
  /// It comes under the name of a member, at this address, that still answers.
  case nameTaken(by: MemberAddress)
  /// It did not answer in time.
  case timedOut
  /// This node is stopping.
  case closed

  public var description: String {
    switch self {
    case .connection(let reason): reason
    case .notListening: "connection refused"
    case .untrusted(let reason): reason
    case .notOfThisCluster: "it has another cluster name or key, or is no node at all"
    case .protocolVersions(let theirs, let ours):
      "it speaks versions \(theirs.lowerBound) to \(theirs.upperBound) of the protocol, this node \(ours.lowerBound) to \(ours.upperBound)"
    case .isSelf: "it is this node itself"
    case .sameName(let other): "it has the same name as this node, at \(other.profile.address)"
    case .nameTaken(let member): "it has the name of a member, at \(member), that is alive"
    case .timedOut: "it did not answer in time"
    case .closed: "this node is stopping"
    }
  }
}
