import Glibc
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

  /// What a value costs, in processor time of this thread, as nothing in between waits.
  private func cost(_ body: () -> Void) -> Double {
    func now() -> Double {
      var time = timespec()
      clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
      return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
    let start = now()
    body()
    return now() - start
  }

  @Test func `what follows from a death costs in proportion to the number of runners`() {
    let members = [member("dead", .failed), member("n1"), member("n2"), member("n3")]
    let costs = [1000, 8000].map { count in
      let claims = (0..<count).map { claim("r\($0)", "q\($0)", $0.isMultiple(of: 2) ? "dead" : "n1") }
      var ownership = ownership("n1", members, claims)
      return cost {
        #expect(ownership.adoptions.count > count / 10)
        #expect(ownership.splits.isEmpty && ownership.hasOrphans && ownership.names.count == count)
      }
    }
    // Eight times as many; looking through all of them for each would cost 64 times as much.
    #expect(costs[1] < 8 * 3 * costs[0] + 0.05, "\(costs)")
  }

  @Test func `who has a queue follows each change of a claim`() {
    var ownership = ownership("n1", [member("n1"), member("n2")], [claim("a", "q", "n2"), claim("b", "q", "n2")])
    #expect(ownership.owner(of: QueueName(trusted: "q"))?.rawValue == "n2")
    ownership.learn(claim("a", "q", "n1", epoch: 2))
    ownership.learn(claim("b", "other", "n2", epoch: 2))
    #expect(ownership.owner(of: QueueName(trusted: "q"))?.rawValue == "n1")
    #expect(ownership.owner(of: QueueName(trusted: "other"))?.rawValue == "n2")
    var removed = claim("a", "q", "n1", epoch: 3)
    removed.state = .removed
    ownership.learn(removed)
    ownership.learn(removed)
    #expect(ownership.owner(of: QueueName(trusted: "q")) == nil)
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
