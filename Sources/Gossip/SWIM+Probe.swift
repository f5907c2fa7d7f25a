// Is that member alive? Asked directly, then through others, then over the peer link (SWIM, §3.1).

extension SWIM {
  /// The probe under way; there is one at a time.
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
    /// When the requester is told that there is no answer yet; `nil` once it was.
    var negativeAt: Duration?
    var until: Duration
    /// Where to ping again, and when: a request after a broken link cannot wait for the next one.
    var again: Again?

    struct Again {
      let target: MemberName
      let address: MemberAddress
      var times: [Duration]
    }

    var nextDeadline: Duration { min(negativeAt ?? until, again?.times.first ?? until) }

    mutating func postpone(by pause: Duration) {
      negativeAt? += pause
      until += pause
    }
  }

  mutating func startProbe() {
    guard let target = order.take(using: &generator) else { return }
    let number = takeNumber()
    probe = Probe(
      number: number, target: target, directUntil: now + health.scaled(settings.probeTimeout),
      until: now + health.scaled(settings.probeInterval))
    ping(target, number)
  }

  /// The suspect hears first what is said of it, so that it can refute (Lifeguard, §III-C, "buddy system").
  mutating func ping(_ target: MemberName, _ number: ProbeNumber) {
    guard let member = entries[target] else { return }
    let first = member.state == .suspect && settings.tellsSuspectFirst ? news(of: member) : nil
    directives.append(.send(packet(.ping(number, target: target), first: first), to: member.profile.address))
  }

  mutating func continueProbe() {
    guard var current = probe else { return }
    if let until = current.directUntil, now >= until {
      current.directUntil = nil
      askOthers(&current)
      probe = current
    }
    guard now >= current.until else { return }
    probe = nil
    // Nobody is silent but the target: this member is fine. Silent helpers, or none to ask: it may be this member itself.
    health.add(current.helpers == 0 ? 1 : current.missingNegatives)
    guard let member = entries[current.target], member.isPresent else { return }
    apply(
      News(
        name: member.name, state: .suspect, incarnation: member.incarnation, profile: member.profile, source: name))
  }

  private mutating func askOthers(_ current: inout Probe) {
    guard let member = entries[current.target] else { return }
    let helpers = chooseHelpers(besides: current.target)
    current.helpers = helpers.count
    current.missingNegatives = helpers.count
    let request = Message.pingRequest(current.number, target: member.name, address: member.profile.address)
    for helper in helpers {
      directives.append(.send(packet(request), to: helper.profile.address))
    }
    directives.append(.probeByPeerLink(current.number, member.name))
  }

  mutating func endRelays() {
    // Sorted, so that a seed repeats it.
    for (number, relay) in relays.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
      if let time = relay.again?.times.first, now >= time {
        relays[number]!.again!.times.removeFirst()
        directives.append(.send(Packet(.ping(number, target: relay.again!.target)), to: relay.again!.address))
      }
      if let time = relay.negativeAt, now >= time {
        relays[number]!.negativeAt = nil
        directives.append(.send(Packet(.negative(relay.number)), to: relay.requester))
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
    switch packet.message {
    case .ping(let number, let target):
      if target == name && !hasLeft && !isOwnPing(number) {
        answer(number, to: sender, isDoubted: packet.news.contains { $0.name == name && $0.state != .alive })
      }
    case .pingRequest(let number, let target, let address): relay(number, target, address, for: sender)
    case .crashPingRequest(let number, let target, let address): relayAtOnce(number, target, address, for: sender)
    case .acknowledge(let number):
      if let digest = packet.digest, let probe, probe.number == number { compare(digest, with: probe.target) }
      acknowledge(number)
    case .negative(let number):
      deny(number, by: sender)
      if probe?.number == number { probe!.missingNegatives = max(0, probe!.missingNegatives - 1) }
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
    _ number: ProbeNumber, _ target: MemberName, _ address: MemberAddress, for requester: MemberAddress
  ) {
    guard canRelay else { return }
    let mine = takeNumber()
    relays[mine] = Relay(
      requester: requester, number: number, negativeAt: now + settings.probeTimeout * 0.8,
      until: now + settings.probeInterval)
    directives.append(.send(Packet(.ping(mine, target: target)), to: address))
  }

  private mutating func acknowledge(_ number: ProbeNumber) {
    if crashProbes.removeValue(forKey: number) != nil || confirmConflict(number)
      || suspicions.answered(number, at: now)
    {
      return
    }
    if let relay = relays.removeValue(forKey: number) {
      directives.append(.send(Packet(.acknowledge(relay.number)), to: relay.requester))
    } else if probe?.number == number {
      probe = nil
      health.add(-1)
    }
  }
}
