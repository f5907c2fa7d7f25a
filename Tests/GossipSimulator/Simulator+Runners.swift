// What a node does with claims, as far as the membership can tell: it claims what it registers, and adopts what members that
// are gone have left.

import Gossip

extension Simulator {
  package mutating func claim(_ claim: RunnerClaim, by number: Int) {
    perform(nodes[number].swim.claim(claim, at: now + nodes[number].clock), of: number)
  }

  /// A member registers a runner, on a queue of the same name.
  package mutating func register(_ runner: String, at number: Int) {
    claim(
      RunnerClaim(
        runner: runner, queue: runner, owner: Self.name(number), epoch: 1, revision: 1, state: .running),
      by: number)
  }

  /// Its owner removes a runner.
  package mutating func remove(_ runner: String, at number: Int) {
    guard let known = nodes[number].swim.claim(of: runner) else { return }
    claim(
      RunnerClaim(
        runner: runner, queue: known.queue, owner: Self.name(number), epoch: known.epoch + 1, revision: 1,
        state: .removed),
      by: number)
  }

  /// Takes over each runner whose owner is gone, where this member is the one of the present to do it.
  mutating func adopt(by number: Int) {
    let swim = nodes[number].swim
    guard swim.me.isPresent else { return }
    let orphans = swim.claims.filter { $0.state != .removed && swim[$0.owner]?.isPresent == false }
    guard !orphans.isEmpty else { return }
    let present = swim.members.filter(\.isPresent).map(\.name)
    for orphan in orphans where Rendezvous.winner(of: orphan.queue, among: present) == swim.name {
      claim(
        RunnerClaim(
          runner: orphan.runner, queue: orphan.queue, owner: swim.name, epoch: orphan.epoch + 1, revision: 1,
          state: orphan.state),
        by: number)
    }
  }

  // MARK: What is seen

  package func claims(at number: Int) -> [RunnerClaim] { nodes[number].swim.claims }

  /// Whether all living members know the same of all runners.
  package var agreesOnClaims: Bool {
    let living = living
    return living.dropFirst().allSatisfy { claims(at: $0) == claims(at: living[0]) }
  }

  /// Whether each runner that is not removed belongs to a member that lives.
  package var everyRunnerHasAnOwner: Bool {
    let living = Set(living)
    return claims(at: living.min()!).allSatisfy { $0.state == .removed || living.contains(Self.number($0.owner)) }
  }
}
