import ExactText
import GossipSimulator
import Testing

@testable import Gossip

/// What a member states that lies about its counters.
@SimulationThread @Suite("Counters that leap", .timeLimit(.minutes(5)))
struct LeapTests {
  private let seed = Seed()
  private static let today: UInt64 = 1_796_000_000_000
  private static let kind = RecordKind(rawValue: 200)

  private func member(date: UInt64 = today) -> SWIM {
    SWIM(
      name: MemberName("me"), profile: MemberProfile(address: MemberAddress("me:1")), seed: 1, now: .zero, date: date)
  }

  private func news(
    _ name: String, _ incarnation: UInt64, _ state: MemberState = .alive, at address: String? = nil
  ) -> News {
    News(
      name: MemberName(name), state: state, incarnation: Incarnation(incarnation),
      profile: MemberProfile(address: MemberAddress(address ?? "\(name):1")), source: MemberName("liar"))
  }

  private func claim(_ epoch: UInt64, _ revision: UInt64, _ state: RunnerClaimState = .running) -> RunnerClaim {
    RunnerClaim(
      runner: "r", queue: "q", owner: MemberName("liar"), epoch: epoch, revision: revision, state: state)
  }

  /// That a member is to be forgotten.
  private func forgetting(_ name: String, _ incarnation: UInt64) -> Record {
    var writer = ByteWriter()
    writer.add(incarnation)
    return Record(
      kind: .forgottenMember, name: ExactText(name), version: Self.today, author: MemberName("liar"), body: writer.bytes
    )
  }

  @Test("a member is not locked out by who has it forgotten up to the end of all counters, also by an old file")
  func forgottenForEver() {
    for name in ["x", "me"] {
      for leap in [member().highestCounter + 1, News.maximumCounter] {
        var swim = member()
        _ = swim.merge(MembershipState(news: [news("x", 3)]), at: .zero)
        _ = swim.receive(Packet(records: [forgetting(name, leap)]), from: MemberAddress("liar:1"), at: .zero)
        #expect(swim.refusedLeaps == 1 && swim.records.all.isEmpty)
        swim.restore([forgetting(name, leap)])
        _ = swim.receive(Packet(news: [news("x", 3, .failed)]), from: MemberAddress("liar:1"), at: .zero)
        _ = swim.receive(Packet(news: [news("x", 4)]), from: MemberAddress("x:1"), at: .zero)
        #expect(swim[MemberName("x")]?.state == .alive)
      }
    }
  }

  @Test("a member whose records were restored goes on above what they say of it")
  func restoredGhost() {
    var swim = member()
    swim.restore([forgetting("me", 9)])
    #expect(swim.me.incarnation.rawValue == 10)
  }

  private func record(_ version: UInt64, _ name: String = "k") -> Record {
    Record(kind: Self.kind, name: ExactText(name), version: version, author: MemberName("liar"), body: [])
  }

  @Test("a counter above what time allows is refused, counted and said, by whichever way it comes; others are taken")
  func refused() {
    let (largest, bound) = (News.maximumCounter, member().highestCounter)
    #expect(bound == Self.today + SWIM.clockTolerance && bound < largest / 1_000_000)
    for leap in [bound + 1, largest] {
      var swim = member()
      _ = swim.merge(MembershipState(news: [news("x", 3)], claims: [claim(1, 1)], records: [record(1)]), at: .zero)
      let before = swim.state
      let lies: [(news: [News], claims: [RunnerClaim], records: [Record])] = [
        ([news("x", leap)], [], []), ([news("x", leap, .failed)], [], []), ([news("x", leap, .left)], [], []),
        ([news("x", leap, .suspect)], [], []), ([news("new", leap)], [], []), ([news("me", leap, .failed)], [], []),
        ([news("me", leap, at: "liar:1")], [], []), ([], [claim(leap, 1)], []), ([], [claim(1, leap)], []),
        ([], [claim(leap, leap, .removed)], []), ([], [], [record(leap)]), ([], [], [record(leap, "new")]),
      ]
      for (number, lie) in lies.enumerated() {
        for isExchange in [false, true] {
          let said =
            isExchange
            ? swim.merge(MembershipState(news: lie.news, claims: lie.claims, records: lie.records), at: .zero)
            : swim.receive(
              Packet(news: lie.news, claims: lie.claims, records: lie.records), from: MemberAddress("liar:1"), at: .zero
            )
          #expect(said.count == 1, "\(number): \(said)")
          guard case .leapRefused(let refused)? = said.first else { continue }
          #expect(refused.value == leap && refused.source == MemberName("liar"))
        }
      }
      #expect(swim.state == before && swim.refusedLeaps == 2 * lies.count)
      // What stands beside a lie is taken.
      _ = swim.receive(
        Packet(news: [news("x", leap, .failed), news("y", 1)], claims: [claim(2, Self.today)]),
        from: MemberAddress("liar:1"), at: .zero)
      #expect(swim[MemberName("y")] != nil && swim.claim(of: "r")?.epoch == 2)
    }
  }

  @Test("what a member lets in at its bound is overridden by one more, a millisecond later, and so on")
  func alwaysRoom() {
    var swim = member()
    for millisecond in 0..<1000 {
      let time = Duration.milliseconds(millisecond)
      let bound = Self.today + UInt64(millisecond) + SWIM.clockTolerance
      for part in [
        Packet(news: [news("me", bound, .failed), news("x", bound, millisecond.isMultiple(of: 2) ? .failed : .alive)]),
        Packet(claims: [claim(bound, bound)], records: [record(bound)]),
      ] { _ = swim.receive(part, from: MemberAddress("liar:1"), at: time) }
      #expect(swim.refusedLeaps == 0)
      #expect(swim.claim(of: "r")?.epoch == bound && swim[MemberName("x")]?.incarnation.rawValue == bound)
      // This member has said that it lives, by a counter that all others believe by now.
      #expect(swim.me.incarnation.rawValue == bound + 1 && swim.me.state == .alive)
    }
  }

  @Test("a node whose clock starts at 1970, or is a day behind, believes what the others say")
  func wrongClocks() {
    for date in [0, 1000, Self.today - 86_400_000, Self.today + 86_400_000] {
      var swim = member(date: date)
      _ = swim.merge(
        MembershipState(
          news: [news("x", 7)], claims: [claim(3, Self.today)], records: [record(Self.today)]), at: .zero)
      #expect(swim.refusedLeaps == 0 && swim.claims.count == 1 && swim.records.all.count == 1)
    }
  }

  @Test("a member that is present is not forgotten by who says that it has been gone for long")
  func ages() {
    var swim = member()
    _ = swim.merge(MembershipState(news: [news("x", 3)]), at: .zero)
    var lie = news("x", 3, .failed)
    lie.age = .max
    _ = swim.receive(Packet(news: [lie]), from: MemberAddress("liar:1"), at: .zero)
    #expect(swim[MemberName("x")]?.since == .zero)
    for second in 1...120 { _ = swim.advance(to: .seconds(second)) }
    #expect(swim[MemberName("x")]?.state == .failed)
    _ = swim.receive(Packet(news: [news("x", 4)]), from: MemberAddress("x:1"), at: .seconds(120))
    #expect(swim[MemberName("x")]?.state == .alive)
  }

  @Test("the date moves with the time, and can be set")
  func date() {
    var swim = member(date: 5000)
    #expect(swim.date == 5000)
    _ = swim.advance(to: .seconds(2))
    #expect(swim.date == 7000)
    swim.set(date: 1000, at: .seconds(2))
    _ = swim.advance(to: .seconds(3))
    #expect(swim.date == 2000)
  }

  @Test("a thousand lies of a member to all others change nothing for longer than they come")
  func hostileMember() throws {
    var simulator = Simulator(count: 6, seed: seed.value)
    simulator.adopts = true
    simulator.joinAll()
    simulator.run(for: .seconds(10))
    for number in 0..<20 { simulator.register("r\(number)", at: number % 5) }
    simulator.record(record(Self.today, "honest"), by: 0)
    // Whoever is cut off from all others by lies on addresses finds them by the seed of its configuration, as nodes do.
    simulator.makeFirstTheSeed()
    // The liar itself says nothing of its own any more.
    simulator.kill(5)
    _ = try #require(simulator.run(atMost: .seconds(120)) { $0.isSettled }, "\(seed)")
    var generator = SeededGenerator(seed: seed.value)
    for _ in 0..<1000 {
      let bound = simulator[0].highestCounter
      let counters: [UInt64] = [
        News.maximumCounter, News.maximumCounter - 1, bound + 1_000_000, bound, bound - 1, 1, 0,
      ]
      func counter() -> UInt64 { counters.randomElement(using: &generator)! }
      let victim = Int.random(in: 0..<5, using: &generator)
      var news = News(
        name: Simulator.name(victim), state: MemberState.allCases.randomElement(using: &generator)!,
        incarnation: Incarnation(counter()),
        profile: MemberProfile(
          address: MemberAddress("m:\([victim, 5].randomElement(using: &generator)!)"),
          isDraining: Bool.random(using: &generator), startedAt: [0, .max].randomElement(using: &generator)!),
        source: Simulator.name(5))
      if news.isGone { news.age = [0, .max].randomElement(using: &generator)! }
      let claim = RunnerClaim(
        runner: "r\(Int.random(in: 0..<20, using: &generator))", queue: "poison", owner: Simulator.name(5),
        epoch: counter(), revision: counter(), state: [.running, .stopped].randomElement(using: &generator)!)
      let packet = Packet(news: [news], claims: [claim], records: [record(counter(), "honest")])
      simulator.receive(packet, at: Int.random(in: 0..<5, using: &generator), from: 5)
      simulator.run(for: .milliseconds(3))
    }
    // They are over: everybody lives, each runner has an owner that lives, and all agree.
    let settled = simulator.run(atMost: .seconds(300)) { $0.isSettled && $0.agreesOnRecords }
    _ = try #require(settled, "\(seed) \(simulator.disagreement) records \(simulator.agreesOnRecords)")
    #expect((0..<5).contains { simulator[$0].refusedLeaps > 0 })
    // And it can be counted on: a runner moves, a record changes, a member comes back.
    let version = simulator[1].records.all[0].version
    simulator.record(record(version + 1, "honest"), by: 3)
    let known = simulator.claims(at: 2)[0]
    simulator.claim(
      RunnerClaim(
        runner: known.runner, queue: known.queue, owner: Simulator.name(2), epoch: known.epoch + 1, revision: 1,
        state: .running), by: 2)
    simulator.kill(4)
    _ = try #require(simulator.run(atMost: .seconds(120)) { $0.isSettled }, "\(seed)")
    simulator.restart(4, by: 0)
    _ = try #require(simulator.run(atMost: .seconds(120)) { $0.isSettled && $0.agreesOnRecords }, "\(seed)")
    #expect(simulator[0].records.all.map(\.version) == [version + 1])
    #expect(simulator[0].claim(of: known.runner)?.epoch == known.epoch + 1)
  }
}
