import ExactText

/// All claims, one a runner: the one that wins. Members that hold the same have the same digest.
struct ClaimMap: Sendable {
  private struct Entry {
    var claim: RunnerClaim
    /// When it was removed, if it was.
    var removed: Duration?
  }

  private var entries: [ExactText: Entry] = [:]
  /// 0 when there is no claim; the order in which they came makes no difference.
  private(set) var digest: UInt64 = 0

  subscript(runner: String) -> RunnerClaim? { entries[ExactText(runner)]?.claim }

  /// By name of the runner.
  var all: [RunnerClaim] {
    entries.values.map(\.claim).sorted { $0.runner.precedesExactly($1.runner) }
  }

  /// The same, with the age of those that are removed.
  func all(at now: Duration) -> [RunnerClaim] {
    all.map { claim in
      var claim = claim
      if let removed = entries[ExactText(claim.runner)]!.removed {
        claim.age = UInt32(clamping: (now - removed).components.seconds)
      }
      return claim
    }
  }

  /// - Returns: whether it was news.
  mutating func merge(_ claim: RunnerClaim, at now: Duration) -> Bool {
    var claim = claim
    let removed = claim.state == .removed ? now - .seconds(Int64(claim.age)) : nil
    claim.age = 0
    let runner = ExactText(claim.runner)
    if let known = entries[runner]?.claim {
      guard claim.overrides(known) else { return false }
      digest &-= Self.hash(known)
    }
    entries[runner] = Entry(claim: claim, removed: removed)
    digest &+= Self.hash(claim)
    return true
  }

  /// Forgets what was removed before that time.
  mutating func reap(before time: Duration) {
    for (runner, entry) in entries {
      if let removed = entry.removed, removed < time {
        entries[runner] = nil
        digest &-= Self.hash(entry.claim)
      }
    }
  }

  private static func hash(_ claim: RunnerClaim) -> UInt64 {
    var hash = StableHash()
    hash.add(claim.encoded())
    return hash.value
  }
}
