import GossipSimulator
import Testing

@testable import Gossip

/// Who owns which runner, as members tell each other.
@SimulationThread @Suite("Claims on runners", .timeLimit(.minutes(5)))
struct ClaimTests {
  private let seed = Seed()

  private func claim(
    _ runner: String, by owner: String = "a", epoch: UInt64 = 1, revision: UInt64 = 1, queue: String = "q",
    _ state: RunnerClaimState = .running
  ) -> RunnerClaim {
    RunnerClaim(
      runner: runner, queue: queue, owner: MemberName(owner), epoch: epoch, revision: revision, state: state)
  }

  private func member(settings: GossipSettings = .lan) -> SWIM {
    SWIM(
      name: MemberName("me"), profile: MemberProfile(address: MemberAddress("me:1")), settings: settings, seed: 1,
      now: .zero)
  }

  /// Statements about one runner that differ in all ways, "é" as one and as two code points among them.
  private var statements: [RunnerClaim] {
    var all: [RunnerClaim] = []
    for queue in ["q", "p", "\u{e9}", "e\u{301}"] {
      for owner in ["a", "b", "c"] {
        for (epoch, revision) in [(1, 1), (1, 2), (2, 1)] as [(UInt64, UInt64)] {
          for state in RunnerClaimState.allCases {
            all.append(claim("r", by: owner, epoch: epoch, revision: revision, queue: queue, state))
          }
        }
      }
    }
    return all
  }

  @Test("runners whose names look alike and are other bytes are two runners")
  func lookingAlike() {
    var swim = member()
    let (composed, decomposed) = (claim("\u{e9}"), claim("e\u{301}", .stopped))
    for claim in [composed, decomposed] { _ = swim.claim(claim, at: .zero) }
    #expect(swim.claims == [decomposed, composed])
    #expect(swim.claim(of: "\u{e9}") == composed)
    #expect(swim.claim(of: "e\u{301}") == decomposed)
  }

  @Test("of two different statements exactly one wins, and they do not beat each other in a circle")
  func totalOrder() {
    let all = statements.sorted { $1.overrides($0) }
    for (place, a) in all.enumerated() {
      #expect(!a.overrides(a))
      for b in all[..<place] { #expect(a.overrides(b) && !b.overrides(a)) }
    }
  }

  @Test("in whatever order statements arrive, and however often, the same one wins and digests are equal")
  func anyOrder() {
    var generator = SeededGenerator(seed: seed.value)
    let some = Array(statements.shuffled(using: &generator).prefix(20))
    let winner = some.first { winner in some.allSatisfy { !$0.overrides(winner) } }!
    var digests: Set<UInt64> = []
    for _ in 0..<50 {
      var swim = member()
      for claim in (some + some.prefix(7)).shuffled(using: &generator) { _ = swim.claim(claim, at: .zero) }
      #expect(swim.claims.map(\.queue) == [winner.queue] && swim.claims == [winner], "\(seed)")
      digests.insert(swim.claimMap.digest)
    }
    #expect(digests.count == 1, "\(seed)")
  }

  @Test("a higher epoch wins, then the owner of higher weight, then its later word; a removed runner stays removed")
  func order() {
    let (low, high) = ("a", "b")
    let names =
      Rendezvous.weight("q", MemberName(low)) < Rendezvous.weight("q", MemberName(high)) ? [low, high] : [high, low]
    #expect(claim("r", by: names[0], epoch: 2).overrides(claim("r", by: names[1], epoch: 1, revision: 9)))
    #expect(claim("r", by: names[1]).overrides(claim("r", by: names[0], revision: 9)))
    #expect(claim("r", revision: 2, .running).overrides(claim("r", revision: 1, .stopped)))
    #expect(claim("r", epoch: 2, .removed).overrides(claim("r", epoch: 1, revision: 9)))
    #expect(!claim("r", epoch: 1, revision: 9).overrides(claim("r", epoch: 2, .removed)))
  }

  @Test("each change is said once, an old statement changes nothing")
  func directives() {
    var swim = member()
    let first = swim.claim(claim("r"), at: .zero)
    #expect(first == [.claimed(claim("r"))])
    let again = swim.claim(claim("r"), at: .zero)
    #expect(again == [])
    let removed = swim.receive(
      Packet(claims: [claim("r", epoch: 2, .removed), claim("r")]), from: MemberAddress("a:1"), at: .zero)
    #expect(removed == [.claimed(claim("r", epoch: 2, .removed))])
    #expect(swim.claim(of: "r")?.state == .removed && swim.claim(of: "x") == nil)
  }

  @Test("a removed runner is forgotten in time, at every member, also where it was learned later")
  func reaps() {
    var settings = GossipSettings.lan
    settings.reapAfter = .seconds(100)
    var (old, new) = (member(settings: settings), member(settings: settings))
    _ = old.claim(claim("r", .removed), at: .zero)
    _ = old.claim(claim("s"), at: .zero)
    _ = old.advance(to: .seconds(90))
    _ = new.merge(old.state, at: .seconds(90))
    #expect(new.claims == [claim("r", .removed), claim("s")])
    for time in [110, 150] {
      _ = old.advance(to: .seconds(time))
      _ = new.advance(to: .seconds(time))
    }
    #expect(old.claims == [claim("s")] && new.claims == [claim("s")])
  }

  @Test("a thousand new claims spread over five members in about a second")
  func spread() throws {
    var simulator = Simulator(count: 5, seed: seed.value)
    simulator.joinAll()
    simulator.run(for: .seconds(10))
    for number in 0..<1000 { simulator.claim(claim("runner-\(number)", by: "n2", queue: "queue-\(number)"), by: 2) }
    let time = try #require(simulator.run(atMost: .seconds(10)) { $0.agreesOnClaims })
    #expect(time <= .milliseconds(1500), "\(seed)")
  }

  @Test("a claim that was lost is found by its digest, in seconds, not by the next exchange")
  func repair() throws {
    var simulator = Simulator(count: 5, seed: seed.value)
    simulator.joinAll()
    simulator.run(for: .seconds(10))
    simulator.network.loss = 1
    simulator.claim(claim("r", by: "n2"), by: 2)
    simulator.run(for: .milliseconds(600))
    simulator.network.loss = 0
    #expect(!simulator.agreesOnClaims, "\(seed)")
    let time = try #require(simulator.run(atMost: .seconds(20)) { $0.agreesOnClaims })
    #expect(time <= .seconds(6), "\(seed)")
    #expect(simulator[0].claim(of: "r") != nil)
  }

  @Test("rendezvous: the same winner everywhere, an even spread, and only the queues of who goes move")
  func rendezvous() {
    // Part of the protocol: it must never change.
    #expect(Rendezvous.weight("default", MemberName("n1")) == 1_608_197_790_728_033_448)
    let members = (0..<5).map { MemberName("n\($0)") }
    let queues = (0..<2000).map { "queue-\($0)" }
    let winners = queues.map { Rendezvous.winner(of: $0, among: members)! }
    for name in members { #expect((330...470).contains(winners.count { $0 == name })) }
    #expect(queues.map { Rendezvous.winner(of: $0, among: members.reversed())! } == winners)
    let fewer = queues.map { Rendezvous.winner(of: $0, among: members.dropLast())! }
    #expect(zip(winners, fewer).allSatisfy { $0 == $1 || $0 == members[4] })
    #expect(Rendezvous.winner(of: "q", among: []) == nil)
  }
}
