import ExactText

// Who owns which runner, as members tell each other.

/// What the owner says of its runner.
public enum RunnerClaimState: UInt8, Hashable, Sendable, CaseIterable {
  case running, stopped
  /// Nobody owns it any more. Kept for `reapAfter`, so that what was said before cannot bring it back.
  case removed
}

/// A statement about a runner. Of all statements about one runner the same one wins everywhere, in whatever order they
/// arrive.
public struct RunnerClaim: Hashable, Sendable {
  /// Longest name of a runner or queue, in bytes.
  public static let maximumNameBytes = 128

  /// 1 to 128 bytes.
  public let runner: String
  /// 1 to 128 bytes. It may change with the epoch only.
  public let queue: String
  public var owner: MemberName
  /// Grows with each change of owner, and when the runner is removed.
  public var epoch: UInt64
  /// Grows with each change that the owner makes within an epoch.
  public var revision: UInt64
  public var state: RunnerClaimState
  /// For how many seconds it has been removed: a member forgets it in time, from whomever it heard of it, and whenever.
  var age: UInt32 = 0

  /// - Precondition: the names have 1 to 128 bytes.
  public init(
    runner: String, queue: String, owner: MemberName, epoch: UInt64, revision: UInt64, state: RunnerClaimState
  ) {
    precondition(Self.isValid(runner) && Self.isValid(queue), "a name must have 1 to 128 bytes")
    self.runner = runner
    self.queue = queue
    self.owner = owner
    self.epoch = epoch
    self.revision = revision
    self.state = state
  }

  static func isValid(_ name: String) -> Bool { (1...maximumNameBytes).contains(name.utf8.count) }

  /// Whether this statement wins over another about the same runner: by epoch; in one epoch the owner of higher
  /// rendezvous weight, so that members that claim a runner at the same time end with an even spread; of one owner the
  /// later. A total order, down to the last byte: of two different statements exactly one overrides the other, else two
  /// members could disagree for ever.
  public func overrides(_ other: RunnerClaim) -> Bool {
    if epoch != other.epoch { return epoch > other.epoch }
    // The owner alone is not enough: with queues apart, owner and revision could beat each other in a circle.
    if owner != other.owner || !queue.isExactly(other.queue) {
      let (mine, its) = (Rendezvous.weight(queue, owner), Rendezvous.weight(other.queue, other.owner))
      if mine != its { return mine > its }
      if owner != other.owner { return other.owner < owner }
    }
    if revision != other.revision { return revision > other.revision }
    if state != other.state { return state.rawValue > other.state.rawValue }
    if !queue.isExactly(other.queue) { return other.queue.precedesExactly(queue) }
    return other.runner.precedesExactly(runner)
  }

  public static func == (a: RunnerClaim, b: RunnerClaim) -> Bool {
    a.epoch == b.epoch && a.revision == b.revision && a.state == b.state && a.age == b.age && a.owner == b.owner
      && a.runner.isExactly(b.runner) && a.queue.isExactly(b.queue)
  }

  public func hash(into hasher: inout Hasher) {
    runner.hashExactly(into: &hasher)
    hasher.combine(epoch)
    hasher.combine(revision)
  }
}
