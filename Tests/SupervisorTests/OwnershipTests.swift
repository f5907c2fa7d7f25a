import Testing

@testable import Gossip
@testable import Supervisor

/// Who shall own what: the rules alone, without a cluster.
@Suite(.timeLimit(.minutes(5))) struct OwnershipTests {
  private func member(_ name: String, _ state: MemberState = .alive, isDraining: Bool = false) -> Member {
    var profile = MemberProfile(address: MemberAddress("127.0.0.1:1"))
    profile.isDraining = isDraining
    return Member(name: MemberName(name), profile: profile, incarnation: Incarnation(1), state: state, since: .zero)
  }

  private func claim(_ runner: String, _ queue: String, _ owner: String, epoch: UInt64 = 1) -> RunnerClaim {
    RunnerClaim(runner: runner, queue: queue, owner: MemberName(owner), epoch: epoch, revision: 1, state: .running)
  }

  private func ownership(_ me: String, _ members: [Member], _ claims: [RunnerClaim] = []) -> Ownership {
    var ownership = Ownership(me: NodeName(trusted: me), wishes: [QueueName(trusted: "wish"): NodeName(trusted: "n2")])
    for member in members { ownership.learn(member) }
    for claim in claims { ownership.learn(claim) }
    return ownership
  }

  @Test func `what a dead node owned goes to exactly one survivor, the same in all views, with the next epoch`() {
    let claims = (0..<60).map { claim("r\($0)", "q\($0)", "dead", epoch: 7) }
    let members = [member("dead", .failed), member("n1"), member("n2"), member("n3")]
    var adopted: [RunnerName] = []
    for me in ["n1", "n2", "n3"] {
      let mine = ownership(me, members, claims).adoptions
      #expect(mine.count > 5, "an even spread")
      #expect(mine.allSatisfy { $0.epoch == 8 && !$0.isStopped })
      adopted += mine.map(\.name)
    }
    #expect(adopted.count == 60 && Set(adopted).count == 60)
  }

  @Test func `runners of one queue stay together, with those that have an owner`() {
    let members = [member("dead", .left), member("n1"), member("n2"), member("n3")]
    let claims = [claim("a", "q", "dead"), claim("b", "q", "dead"), claim("c", "q", "n2")]
    #expect(ownership("n1", members, claims).adoptions.isEmpty)
    #expect(ownership("n3", members, claims).adoptions.isEmpty)
    #expect(Set(ownership("n2", members, claims).adoptions.map(\.name.rawValue)) == ["a", "b"])
  }

  @Test func `a suspect keeps its runners, and nodes that drain get none`() {
    let suspect = ownership("n1", [member("n1"), member("n2", .suspect)], [claim("r", "q", "n2")])
    #expect(suspect.adoptions.isEmpty && !suspect.hasOrphans)
    let draining = [member("dead", .failed), member("n1", isDraining: true), member("n2")]
    #expect(ownership("n1", draining, [claim("r", "q", "dead")]).adoptions.isEmpty)
    #expect(ownership("n2", draining, [claim("r", "q", "dead")]).adoptions.count == 1)
  }

  @Test func `an owner that nobody knows yet is waited for`() {
    var early = ownership("n1", [member("n1")], [claim("r", "q", "new")])
    #expect(early.adoptions.isEmpty && early.hasOrphans)
    early.learn(member("new"))
    #expect(!early.hasOrphans)
    early.learn(member("new", .failed))
    #expect(early.adoptions.count == 1)
  }

  @Test func `a queue goes where the configuration wishes, as long as that node is there`() {
    let all = ownership("n1", [member("n1"), member("n2"), member("n3")])
    #expect(all.place(QueueName(trusted: "wish"))?.rawValue == "n2")
    #expect(all.place(QueueName(trusted: "wish"), besides: NodeName(trusted: "n2"))?.rawValue != "n2")
    let without = ownership("n1", [member("n1"), member("n2", .failed)])
    #expect(without.place(QueueName(trusted: "wish"))?.rawValue == "n1")
  }

  @Test func `of a queue on two nodes the one that does not keep it gives its part away`() {
    let members = [member("n1"), member("n2")]
    let claims = [claim("a", "q", "n1"), claim("b", "q", "n2")]
    let splits = ["n1", "n2"].map { ownership($0, members, claims).splits.map(\.keeper.rawValue) }
    #expect(splits == [["n2"], []] || splits == [[], ["n1"]])
  }

  @Test func `a removed runner is gone, and its next life has a higher epoch`() {
    var one = ownership("n1", [member("n1")], [claim("r", "q", "n1", epoch: 4)])
    var tombstone = claim("r", "q", "n1", epoch: 5)
    tombstone.state = .removed
    one.learn(tombstone)
    #expect(one.names.isEmpty && one.isRemoved(RunnerName(trusted: "r")))
    #expect(one.nextEpoch(RunnerName(trusted: "r")) == 6)
    #expect(one.nextEpoch(RunnerName(trusted: "other")) == 1)
  }

  @Test func `members that the cluster has forgotten are not missed any more`() {
    var one = ownership("n1", [member("n1"), member("gone", .failed)])
    #expect(one.absent.map(\.rawValue) == ["gone"])
    one.keep([member("n1")])
    #expect(one.absent.isEmpty)
  }
}
