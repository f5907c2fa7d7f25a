import Testing

@testable import Gossip

/// Feed, then compare directives: one member alone with its time.
@SimulationThread @Suite("SWIM", .timeLimit(.minutes(5)))
struct SWIMTests {
  private func member(_ names: String..., settings: GossipSettings = .lan) -> SWIM {
    var swim = SWIM(
      name: MemberName("me"), profile: MemberProfile(address: MemberAddress("me:1")), settings: settings, seed: 1,
      now: .zero)
    _ = swim.merge(MembershipState(news: names.map { news($0, .alive) }), at: .zero)
    return swim
  }

  private func news(
    _ name: String, _ state: MemberState, _ incarnation: UInt64 = 1, by source: String = "other",
    address: String? = nil
  ) -> News {
    News(
      name: MemberName(name), state: state, incarnation: Incarnation(incarnation),
      profile: MemberProfile(address: MemberAddress(address ?? "\(name):1")), source: MemberName(source))
  }

  private func receive(_ swim: inout SWIM, _ news: News..., at time: Duration = .zero) -> [SWIM.Directive] {
    swim.receive(Packet(news: news), from: MemberAddress("x:1"), at: time)
  }

  @Test(
    "newer news overrides, older does not",
    arguments: [
      (.alive, 2, .alive, 1, true), (.alive, 1, .suspect, 1, false), (.alive, 2, .suspect, 1, true),
      (.alive, 1, .failed, 1, false), (.alive, 2, .failed, 1, true), (.suspect, 1, .alive, 1, true),
      (.suspect, 1, .alive, 2, false), (.failed, 1, .suspect, 1, true), (.failed, 1, .alive, 2, false),
      (.left, 1, .failed, 1, true), (.failed, 1, .left, 1, false), (.suspect, 2, .failed, 1, true),
    ] as [(MemberState, UInt64, MemberState, UInt64, Bool)])
  func precedence(state: MemberState, incarnation: UInt64, known: MemberState, at: UInt64, overrides: Bool) {
    let present = Member(
      name: MemberName("a"), profile: MemberProfile(address: MemberAddress("a:1")), incarnation: Incarnation(at),
      state: known, since: .zero)
    #expect(news("a", state, incarnation).overrides(present) == overrides)
  }

  @Test("a suspected member refutes with a higher incarnation, and trusts itself less")
  func refutes() {
    var swim = member("a", "b")
    _ = receive(&swim, news("me", .suspect, 1, by: "a"))
    #expect(swim.me.incarnation == Incarnation(2))
    #expect(swim.healthScore == 1)
    let told = swim.advance(to: .milliseconds(250)).flatMap { directive -> [News] in
      if case .send(let packet, _) = directive { packet.news } else { [] }
    }
    #expect(told.contains { $0.name == MemberName("me") && $0.state == .alive && $0.incarnation == Incarnation(2) })
    _ = receive(&swim, news("me", .failed, 1, by: "b"))
    #expect(swim.me.incarnation == Incarnation(2), "it was refuted before")
  }

  @Test("a member that only others and the peer link hear of is known to be cut off by UDP, until it answers itself")
  func roundabout() throws {
    var swim = member("a", "b")
    var time = Duration.zero
    /// Goes on until the next probe of a, and answers it, as all others at once.
    func probe(_ answer: (inout SWIM, ProbeNumber) -> Void) throws {
      for _ in 0..<4000 {
        time += .milliseconds(10)
        for case .send(let packet, let address) in swim.advance(to: time) {
          guard case .ping(let number, let target) = packet.message else { continue }
          if target == MemberName("a") { return answer(&swim, number) }
          _ = swim.receive(Packet(.acknowledge(number)), from: address, at: time)
        }
      }
      Issue.record("a is not probed")
    }
    func byLink(_ swim: inout SWIM, _ number: ProbeNumber) {
      time += .milliseconds(600)
      _ = swim.advance(to: time)
      _ = swim.acknowledged(number, at: time)
    }
    let start = time
    for round in 1...3 {
      #expect(swim.unansweredSince(MemberName("a")) == nil, "\(round)")
      try probe(byLink)
    }
    let since = try #require(swim.unansweredSince(MemberName("a")))
    #expect(since > start && since < time && swim.unansweredSince(MemberName("b")) == nil)
    // Others answer for it.
    try probe { swim, number in
      // Only once it was asked.
      for _ in 0..<400 {
        time += .milliseconds(10)
        let isAsked = swim.advance(to: time).contains { directive in
          if case .probeByPeerLink(number, _) = directive { true } else { false }
        }
        if isAsked { break }
      }
      _ = swim.receive(Packet(.acknowledge(number)), from: MemberAddress("b:1"), at: time)
    }
    #expect(swim.unansweredSince(MemberName("a")) == since)
    // Behind a translator of addresses it answers from elsewhere, but before anybody else was asked.
    try probe { _ = $0.receive(Packet(.acknowledge($1)), from: MemberAddress("other:1"), at: time) }
    #expect(swim.unansweredSince(MemberName("a")) == nil)
  }

  @Test(
    "after a broken link, proxies that all say no prove a death; one that is silent leaves a suspicion, and a yes a life",
    arguments: [
      ([false, false, false], MemberState.failed), ([false, nil, nil], .suspect), ([nil, nil, nil], .suspect),
      ([false, false, nil], .suspect), ([true, nil, nil], .alive), ([false, false, true], .alive),
    ] as [([Bool?], MemberState)])
  func brokenLink(answers: [Bool?], state: MemberState) throws {
    var swim = member("a", "b", "c", "d")
    let asked = swim.linkLost(MemberName("a"), at: .zero).compactMap { directive -> (ProbeNumber, MemberAddress)? in
      guard case .send(let packet, let address) = directive,
        case .crashPingRequest(let number, _, _) = packet.message
      else { return nil }
      return (number, address)
    }
    #expect(asked.count == answers.count)
    for ((number, proxy), answer) in zip(asked, answers) {
      guard let answer else { continue }
      _ = swim.receive(
        Packet(answer ? .acknowledge(number) : .negative(number)), from: proxy, at: .milliseconds(10))
    }
    // Long enough for the last of its deadlines, and short of an ordinary suspicion's.
    for millisecond in stride(from: 20, through: 600, by: 10) { _ = swim.advance(to: .milliseconds(millisecond)) }
    #expect(swim[MemberName("a")]?.state == state)
  }

  @Test("a member that slept gives its suspects the time to refute that they had", arguments: [10, 100, 86_400])
  func sleptOverSuspicion(seconds: Int) {
    var swim = member("a", "b", "c", "d")
    _ = receive(&swim, news("a", .suspect, 1, by: "b"))
    _ = swim.advance(to: .milliseconds(100))
    let awake = Duration.seconds(seconds)
    let atOnce = swim.advance(to: awake)
    #expect(swim[MemberName("a")]?.state == .suspect)
    // The suspect is asked, and told what is said of it, before it is judged.
    #expect(!atOnce.contains { if case .changed(let member) = $0 { member.name == MemberName("a") } else { false } })
    _ = receive(&swim, news("a", .alive, 2, by: "a"), at: awake + .milliseconds(500))
    #expect(swim[MemberName("a")]?.state == .alive)
    // One that does not refute is failed in the end all the same.
    _ = receive(&swim, news("b", .suspect, 1, by: "c"), at: awake + .milliseconds(500))
    for tenth in 6..<2000 { _ = swim.advance(to: awake + .milliseconds(tenth * 100)) }
    #expect(swim[MemberName("b")]?.state == .failed)
  }

  @Test("a member that never answers is asked directly, through others, by the peer link, and then suspected")
  func probes() throws {
    var swim = member("a", "b", "c", "d")
    var asked: [ProbeNumber: [Message]] = [:]
    var byLink: [ProbeNumber: MemberName] = [:]
    var time = Duration.zero
    while swim.members.allSatisfy({ $0.state == .alive }) && time < .seconds(10) {
      time = swim.nextDeadline
      for directive in swim.advance(to: time) {
        if case .send(let packet, _) = directive {
          switch packet.message {
          case .ping(let number, _)?, .pingRequest(let number, _, _)?:
            asked[number, default: []].append(packet.message!)
          default: break
          }
        }
        if case .probeByPeerLink(let number, let target) = directive { byLink[number] = target }
      }
    }
    let target = try #require(swim.members.first { $0.state == .suspect }).name
    let number = try #require(byLink.first { $0.value == target }).key
    let messages = try #require(asked[number])
    #expect(messages.first == .ping(number, target: target) && messages.count == 4)
    #expect(
      messages.dropFirst().allSatisfy {
        $0 == .pingRequest(number, target: target, address: MemberAddress("\(target):1"))
      })
  }

  /// The number of a ping among directives.
  private func pinged(_ target: String, _ directives: [SWIM.Directive]) -> ProbeNumber? {
    for directive in directives {
      if case .send(let packet, _) = directive, case .ping(let number, let name)? = packet.message,
        name == MemberName(target)
      {
        return number
      }
    }
    return nil
  }

  @Test("an answer by any way ends the probe", arguments: [true, false])
  func answered(byLink: Bool) throws {
    var swim = member("a")
    var number: ProbeNumber?
    var time = Duration.zero
    while number == nil && time < .seconds(5) {
      time = swim.nextDeadline
      number = pinged("a", swim.advance(to: time))
    }
    let sent = try #require(number)
    if byLink {
      _ = swim.acknowledged(sent, at: time)
    } else {
      _ = swim.receive(Packet(.acknowledge(sent)), from: MemberAddress("a:1"), at: time)
    }
    #expect(swim.probes.isEmpty)
    #expect(swim.healthScore == 0)
  }

  @Test("a request to probe is passed on, and its answer passed back; silence is reported in time")
  func relays() throws {
    var swim = member("a", "b")
    let request = Packet(.pingRequest(ProbeNumber(7), target: MemberName("b"), address: MemberAddress("b:1")))
    let asked = swim.receive(request, from: MemberAddress("a:1"), at: .zero)
    let number = try #require(pinged("b", asked))
    let back = swim.receive(Packet(.acknowledge(number)), from: MemberAddress("b:1"), at: .milliseconds(1))
    #expect(back == [.send(Packet(.acknowledge(ProbeNumber(7))), to: MemberAddress("a:1"))])
    _ = swim.receive(request, from: MemberAddress("a:1"), at: .milliseconds(1))
    let late = swim.advance(to: .milliseconds(402))
    #expect(late.contains(.send(Packet(.negative(ProbeNumber(7))), to: MemberAddress("a:1"))))
  }

  @Test("a ping for another name is not answered", arguments: [("you", 0), ("me", 1)])
  func foreignPing(target: String, answers: Int) {
    var swim = member()
    let ping = Packet(.ping(ProbeNumber(1), target: MemberName(target)))
    let directives = swim.receive(ping, from: MemberAddress("a:1"), at: .zero)
    #expect(directives.count == answers)
  }

  @Test("another process of this name is a conflict if it answers, and not if it is an echo of an earlier life")
  func conflict() throws {
    var swim = member("a")
    let echo = receive(&swim, news("me", .alive, 1, address: "elsewhere:1"))
    let number = try #require(pinged("me", echo))
    let early = receive(&swim, news("me", .alive, 1, address: "elsewhere:1"))
    #expect(early == [], "asked once a second")
    let answer = swim.receive(Packet(.acknowledge(number)), from: MemberAddress("elsewhere:1"), at: .zero)
    guard case .nameConflict(let other)? = answer.first else {
      Issue.record("\(answer)")
      return
    }
    #expect(other.profile.address == MemberAddress("elsewhere:1"))
    let again = receive(&swim, news("me", .alive, 9, address: "elsewhere:1"))
    let mine = Packet(.ping(try #require(pinged("me", again)), target: MemberName("me")))
    let own = swim.receive(mine, from: MemberAddress("elsewhere:1"), at: .zero)
    #expect(own == [], "it is its own address, by another way")
  }

  @Test(
    "two members of one name both hear of the other, whatever their clocks say",
    arguments: [(1, 2), (2, 1), (0, .max)])
  func namesakes(first: UInt64, second: UInt64) {
    func named(_ startedAt: UInt64, address: String) -> SWIM {
      SWIM(
        name: MemberName("me"), profile: MemberProfile(address: MemberAddress(address), startedAt: startedAt), seed: 1,
        now: .zero)
    }
    var both = [named(first, address: "0"), named(second, address: "1")]
    var messages = [(1, Packet(news: both[0].state.news)), (0, Packet(news: both[1].state.news))]
    var conflicts = [0, 0]
    while let (to, packet) = messages.popLast() {
      for directive in both[to].receive(packet, from: MemberAddress("\(1 - to)"), at: .zero) {
        if case .send(let packet, _) = directive { messages.append((1 - to, packet)) }
        if case .nameConflict = directive { conflicts[to] += 1 }
      }
    }
    #expect(conflicts == [1, 1])
  }

  @Test("a member may return with another address")
  func returns() {
    var swim = member("a")
    _ = receive(&swim, news("a", .alive, 2, address: "elsewhere:1"))
    #expect(swim[MemberName("a")]?.profile.address == MemberAddress("elsewhere:1"))
  }

  @Test("what was learned at second hand is a suspicion first, and is not believed of oneself")
  func merges() {
    var swim = member("a")
    _ = swim.merge(MembershipState(news: [news("a", .failed), news("me", .failed)]), at: .zero)
    #expect(swim[MemberName("a")]?.state == .suspect)
    #expect(swim.me.state == .alive && swim.me.incarnation == Incarnation(2))
  }

  @Test("members that are gone are forgotten in the end")
  func reaps() {
    var settings = GossipSettings.lan
    settings.reapAfter = .seconds(100)
    var swim = member("a", settings: settings)
    swim.roundabouts[MemberName("a")] = SWIM.Roundabout(count: 1, since: .zero, startedAt: 0)
    _ = receive(&swim, news("a", .failed))
    var time = Duration.zero
    while time < .seconds(200) {
      time = swim.nextDeadline
      _ = swim.advance(to: time)
    }
    #expect(swim.members.map(\.name) == [MemberName("me")])
    #expect(swim.roundabouts.isEmpty)
  }

  @Test("members of another protocol stay out, and that is said once")
  func incompatible() {
    var swim = member("a")
    var stranger = news("b", .alive)
    stranger.profile.protocols = 5...6
    let said = receive(&swim, stranger)
    #expect(said.count { if case .incompatible = $0 { true } else { false } } == 1)
    let again = receive(&swim, stranger)
    #expect(again == [] && swim[MemberName("b")] == nil)
    stranger.profile.protocols = 1...4
    _ = receive(&swim, stranger)
    #expect(swim[MemberName("b")]?.state == .alive)
  }

  @Test("a member's new profile reaches others by a higher incarnation")
  func update() {
    var (swim, other) = (member("a"), member())
    var profile = swim.me.profile
    profile.isDraining = true
    let directives = swim.update(profile, at: .zero)
    #expect(directives == [.changed(swim.me)] && swim.me.incarnation == Incarnation(2) && swim.me.profile.isDraining)
    let unchanged = swim.update(profile, at: .zero)
    #expect(unchanged == [] && swim.me.incarnation == Incarnation(2))
    other = SWIM(
      name: MemberName("a"), profile: MemberProfile(address: MemberAddress("a:1")), seed: 1, now: .zero)
    _ = other.merge(swim.state, at: .zero)
    #expect(other[MemberName("me")]?.profile.isDraining == true)
  }

  @Test("a member that is gone is not kept alive in memory by members that tell each other of it")
  func reapsTogether() {
    var settings = GossipSettings.lan
    settings.reapAfter = .seconds(100)
    var (old, new) = (member("a", settings: settings), member(settings: settings))
    _ = receive(&old, news("a", .left))
    _ = old.advance(to: .seconds(70))
    _ = new.merge(old.state, at: .seconds(70))
    #expect(new[MemberName("a")]?.state == .left)
    let late = old.state
    _ = new.advance(to: .seconds(101))
    _ = new.advance(to: .seconds(140))
    #expect(new[MemberName("a")] == nil)
    var aged = late
    for index in aged.news.indices where aged.news[index].isGone { aged.news[index].age = 101 }
    _ = new.merge(aged, at: .seconds(140))
    #expect(new[MemberName("a")] == nil, "too old to be worth knowing")
  }
}
