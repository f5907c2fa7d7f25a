// Who owns which runner: an entry a runner, and the claim that wins is the same everywhere. New claims travel with the
// news; whoever missed one is found by the digest on acknowledgements.

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
    guard claimMap.merge(claim, at: now) else { return }
    if !isJoining { claimQueue.add(claim) }
    directives.append(.claimed(claimMap[claim.runner]!))
  }

  /// A peer knows other claims, and neither has one to pass on: something was lost.
  mutating func compare(_ digest: UInt64, with peer: MemberName) {
    guard digest != claimMap.digest, claimQueue.isEmpty, now >= nextRepair, let member = entries[peer] else {
      return
    }
    nextRepair = now + settings.probeInterval
    directives.append(.exchange(with: member.profile.address))
  }
}
