// Is that member alive? Asked directly, then through others, then over the peer link (SWIM, §3.1).

extension SWIM {
  /// A probe under way.
  struct Probe {
    let number: ProbeNumber
    let target: MemberName
    /// When others are asked; `nil` once they are.
    var directUntil: Duration?
    /// When the target is suspected.
    var until: Duration
    /// Others that were asked.
    var helpers = 0
    /// Those of them that have not yet said that they live.
    var missingNegatives = 0

    var nextDeadline: Duration { directUntil ?? until }

    mutating func postpone(by pause: Duration) {
      directUntil? += pause
      until += pause
    }
  }

  /// A probe for another member.
  struct Relay {
    let requester: MemberAddress
    let number: ProbeNumber
    let target: MemberName
    /// Whether the requester suspects the target, and wants to hear of a refutation.
    var isDoubted = false
    /// When the requester is told that there is no answer yet; `nil` once it was.
    var negativeAt: Duration?
    var until: Duration
    /// Where to ping again, and when: a request after a broken link cannot wait for the next one.
    var again: Again?

    struct Again {
      let address: MemberAddress
      var times: [Duration]
    }

    var nextDeadline: Duration { min(negativeAt ?? until, again?.times.first ?? until) }

    mutating func postpone(by pause: Duration) {
      negativeAt? += pause
      until += pause
    }
  }

  /// Probes of a member in a row that its own packets did not answer.
  struct Roundabout {
    var count = 0
    /// The first of them.
    let since: Duration
    /// Of that process.
    let startedAt: UInt64
  }

  /// So many in a row are no accident.
  private static let roundabouts = 3

  /// Since when probes of a member have been answered by others for it, or over the peer link, and never by itself: it
  /// lives, and packets between it and this member are lost. `nil` when that is not so.
  public func unansweredSince(_ target: MemberName) -> Duration? {
    guard let roundabout = roundabouts[target], roundabout.count >= Self.roundabouts, let member = entries[target],
      member.isPresent, member.profile.startedAt == roundabout.startedAt
    else { return nil }
    return roundabout.since
  }

  /// - Parameter isDirect: whether the target answered by itself.
  private mutating func note(_ probe: Probe, isDirect: Bool) {
    guard !isDirect, let member = entries[probe.target] else {
      roundabouts[probe.target] = nil
      return
    }
    if roundabouts[probe.target]?.startedAt != member.profile.startedAt {
      roundabouts[probe.target] = Roundabout(since: now, startedAt: member.profile.startedAt)
    }
    roundabouts[probe.target]!.count += 1
  }

  mutating func startProbe() {
    guard let target = order.take(using: &generator), !probes.contains(where: { $0.target == target }) else { return }
    let number = takeNumber()
    probes.append(
      Probe(
        number: number, target: target, directUntil: now + health.scaled(settings.probeTimeout),
        until: now + health.scaled(settings.probeInterval)))
    ping(target, number)
  }

  /// The suspect hears first what is said of it, so that it can refute (Lifeguard, §III-C, "buddy system").
  mutating func ping(_ target: MemberName, _ number: ProbeNumber) {
    guard let member = entries[target] else { return }
    let packet = packet(.ping(number, target: target), first: doubt(of: target))
    directives.append(.send(packet, to: member.profile.address))
  }

  /// What is said of a suspect.
  private func doubt(of target: MemberName) -> News? {
    guard let member = entries[target], member.state == .suspect, settings.tellsSuspectFirst else { return nil }
    return news(of: member)
  }

  mutating func continueProbes() {
    for index in probes.indices {
      guard let until = probes[index].directUntil, now >= until else { continue }
      probes[index].directUntil = nil
      probes[index].helpers = askOthers(probes[index])
      probes[index].missingNegatives = probes[index].helpers
    }
    let ended = probes.filter { now >= $0.until }
    probes.removeAll { now >= $0.until }
    for probe in ended {
      note(probe, isDirect: false)
      // Nobody is silent but the target: this member is fine. Silent helpers, or none to ask: it may be this member itself.
      health.add(probe.helpers == 0 ? 1 : probe.missingNegatives)
      guard let member = entries[probe.target], member.isPresent else { continue }
      apply(
        News(
          name: member.name, state: .suspect, incarnation: member.incarnation, profile: member.profile, source: name))
    }
  }

  /// - Returns: how many were asked.
  private mutating func askOthers(_ probe: Probe) -> Int {
    guard let member = entries[probe.target] else { return 0 }
    let helpers = chooseHelpers(besides: probe.target)
    let request = Message.pingRequest(probe.number, target: member.name, address: member.profile.address)
    for helper in helpers {
      directives.append(.send(packet(request, first: doubt(of: probe.target)), to: helper.profile.address))
    }
    directives.append(.probeByPeerLink(probe.number, member.name))
    return helpers.count
  }

  private func place(of number: ProbeNumber) -> Int? { probes.firstIndex { $0.number == number } }

  mutating func endRelays() {
    // Sorted, so that a seed repeats it.
    for (number, relay) in relays.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
      if let time = relay.again?.times.first, now >= time {
        relays[number]!.again!.times.removeAll { now >= $0 }
        directives.append(.send(Packet(.ping(number, target: relay.target)), to: relay.again!.address))
      }
      if let time = relay.negativeAt, now >= time {
        relays[number]!.negativeAt = nil
        answer(.negative(relay.number), relay)
      }
      if now >= relay.until { relays[number] = nil }
    }
  }

  mutating func takeNumber() -> ProbeNumber {
    lastNumber &+= 1
    return ProbeNumber(lastNumber)
  }

  // MARK: Packets

  /// A packet that was decrypted and decoded; from whom it says it is.
  public mutating func receive(_ packet: Packet, from sender: MemberAddress, at time: Duration) -> [Directive] {
    proceed(to: time)
    for news in packet.news { apply(news) }
    for claim in packet.claims { apply(claim) }
    for record in packet.records { apply(record) }
    switch packet.message {
    case .ping(let number, let target):
      if target == name && !hasLeft && !isOwnPing(number) {
        answer(number, to: sender, isDoubted: packet.doubts(name))
      }
    case .pingRequest(let number, let target, let address):
      relay(number, target, address, for: sender, isDoubted: packet.doubts(target))
    case .crashPingRequest(let number, let target, let address): relayAtOnce(number, target, address, for: sender)
    case .acknowledge(let number):
      if let digest = packet.digest, let place = place(of: number) { compare(digest, with: probes[place].target) }
      acknowledge(number, by: sender)
    case .negative(let number):
      deny(number, by: sender)
      if let place = place(of: number) {
        probes[place].missingNegatives = max(0, probes[place].missingNegatives - 1)
      }
    case nil: break
    }
    return takeDirectives()
  }

  /// The peer link's answer to `probeByPeerLink`.
  public mutating func acknowledged(_ number: ProbeNumber, at time: Duration) -> [Directive] {
    proceed(to: time)
    acknowledge(number)
    return takeDirectives()
  }

  /// - Parameter isDoubted: whether who asks thinks otherwise, and has to hear of the refutation.
  private mutating func answer(_ number: ProbeNumber, to address: MemberAddress, isDoubted: Bool) {
    let answer = packet(.acknowledge(number), first: isDoubted ? news(of: me) : nil, digest: settledDigest)
    directives.append(.send(answer, to: address))
  }

  /// As many as members could ask at the same time; more are no honest requests.
  var canRelay: Bool { relays.count < 4 * max(8, entries.count) }

  private mutating func relay(
    _ number: ProbeNumber, _ target: MemberName, _ address: MemberAddress, for requester: MemberAddress,
    isDoubted: Bool
  ) {
    guard canRelay else { return }
    let mine = takeNumber()
    relays[mine] = Relay(
      requester: requester, number: number, target: target, isDoubted: isDoubted,
      negativeAt: now + settings.probeTimeout * 0.8, until: now + settings.probeInterval)
    directives.append(
      .send(Packet(.ping(mine, target: target), news: [doubt(of: target)].compactMap(\.self)), to: address))
  }

  /// To who asked for a probe, with what is known of the target if it was doubted.
  private mutating func answer(_ message: Message, _ relay: Relay) {
    let known = relay.isDoubted ? entries[relay.target].map(news(of:)) : nil
    directives.append(.send(Packet(message, news: [known].compactMap(\.self)), to: relay.requester))
  }

  /// - Parameter sender: of the packet; `nil` when it came over the peer link.
  private mutating func acknowledge(_ number: ProbeNumber, by sender: MemberAddress? = nil) {
    if crashProbes.removeValue(forKey: number) != nil || confirmConflict(number)
      || suspicions.answered(number, at: now)
    {
      return
    }
    if let relay = relays.removeValue(forKey: number) {
      answer(.acknowledge(relay.number), relay)
    } else if let place = place(of: number) {
      let probe = probes.remove(at: place)
      // Before others were asked only the target can have answered, from whatever address.
      let isDirect = probe.directUntil != nil || sender == entries[probe.target]?.profile.address
      note(probe, isDirect: sender != nil && isDirect)
      health.add(-1)
    }
  }
}
