import Cluster
import Testing

@testable import Gossip
@testable import Supervisor

/// What becomes of runners whose owner comes back while another node adopts them, part by part; and of what is kept of
/// members and runners that are gone.
@Suite(.timeLimit(.minutes(5))) struct AdoptionTests {
  private func member(_ name: String, _ state: MemberState) -> Member {
    Member(
      name: MemberName(name), profile: MemberProfile(address: MemberAddress("127.0.0.1:1")),
      incarnation: Incarnation(1), state: state, since: .zero)
  }

  private func claim(_ runner: String, _ owner: String) -> RunnerClaim {
    RunnerClaim(runner: runner, queue: runner, owner: MemberName(owner), epoch: 3, revision: 1, state: .running)
  }

  @Test func `a runner is adopted only if its owner is still away when its part's turn comes`() async throws {
    try await TestNode.run { node async throws in
      let registry = node.registry
      let claims = (0..<3).map { claim("back\($0)", "n2") } + (0..<3).map { claim("away\($0)", "n3") }
      await registry.know([member("n1", .alive), member("n2", .failed), member("n3", .failed)], claims)
      let chosen = await registry.ownership.adoptions
      #expect(chosen.count == 6)
      // It refutes that it has failed; another runner is removed meanwhile.
      var removed = claim("away0", "n3")
      removed.state = .removed
      await registry.know([member("n2", .alive)], [removed])
      try await registry.host(inParts: chosen)
      let hosted = await registry.hosted().map(\.runner).sorted()
      #expect(hosted == ["away1", "away2", "r"])
      let owners = await registry.ownership.claims
      for (name, claim) in owners where name.rawValue.hasPrefix("back") { #expect(claim.owner == MemberName("n2")) }
    }
  }

  @Test func `calls wait for runners only, and what a member said goes with it`() async throws {
    try await TestNode.run { node async throws in
      let registry = node.registry
      let members = [member("n1", .alive), member("n2", .failed), member("n3", .alive)]
      await registry.know(members, [claim("away", "n2")])
      for name in ["away", "no-runner", "another"] { await registry.want(try RunnerName(name)) }
      #expect(await registry.wanted == [try RunnerName("away")])
      let fault = PathFault(peer: MemberName("n1"), kind: .noLink)
      for name in ["n2", "n3"] { await registry.noteFaults([fault], of: NodeName(trusted: name)) }
      await registry.keep([members[0], members[2]])
      #expect(await registry.faultReports.keys.map(\.rawValue) == ["n3"])
    }
  }
}

extension RunnerRegistry {
  fileprivate func know(_ members: [Member], _ claims: [RunnerClaim]) {
    for member in members { ownership.learn(member) }
    for claim in claims { ownership.learn(claim) }
  }
}
