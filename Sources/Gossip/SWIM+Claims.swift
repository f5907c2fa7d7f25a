// Who owns which runner: an entry a runner, and the claim that wins is the same everywhere. New claims travel with the
// news.

extension SWIM {
  /// Who owns what, by name of the runner; removed runners too, until they are forgotten.
  public var claims: [RunnerClaim] { claimMap.all }

  public func claim(of runner: String) -> RunnerClaim? { claimMap[runner] }

  /// This member claims a runner, changes it or removes it. Nothing happens when another claim wins over it.
  public mutating func claim(_ claim: RunnerClaim, at time: Duration) -> [Directive] {
    proceed(to: time)
    apply(claim)
    return takeDirectives()
  }

  mutating func apply(_ claim: RunnerClaim) {
    if refuses(claim.epoch, claim.revision, of: "runner \(claim.runner)", by: claim.owner) { return }
    guard claimMap.merge(claim, at: now) else { return }
    lastChange = now
    if !isJoining { claimQueue.add(claim) }
    directives.append(.claimed(claimMap[claim.runner]!))
  }
}
