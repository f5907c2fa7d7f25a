// A crash is faster than a timeout: the system closes the links of a process that died, and its peers see that at once.
// A broken link is no proof, but a reason to ask now, oneself and through others, and to believe the answer: whoever
// answers a probe is alive; whom nobody can reach after a fraction of a second has failed.

extension SWIM {
  /// One member whose link broke.
  struct CrashProbe {
    let target: MemberName
    let incarnation: Incarnation
    /// Between two pings.
    let interval: Duration
    /// When it is pinged again.
    var pings: [Duration]
    /// Helpers that have not said that they cannot reach it either.
    var waitsFor: Set<MemberAddress>
    /// When this member itself has waited long enough for an answer.
    var directUntil: Duration
    /// When helpers that said nothing are not waited for any longer.
    var until: Duration

    var nextDeadline: Duration { pings.first ?? (waitsFor.isEmpty ? directUntil : until) }

    /// Those that are late are one, and it has its time to be answered.
    mutating func pinged(at now: Duration) {
      pings.removeAll { now >= $0 }
      directUntil = max(directUntil, now + interval)
      until = max(until, directUntil)
    }

    mutating func postpone(by pause: Duration) {
      for index in pings.indices { pings[index] += pause }
      directUntil += pause
      until += pause
    }
  }

  /// The peer link to a member ended without its leaving.
  public mutating func linkLost(_ target: MemberName, at time: Duration) -> [Directive] {
    proceed(to: time)
    guard let member = entries[target], member.isPresent, target != name,
      !crashProbes.values.contains(where: { $0.target == target })
    else { return [] }
    let number = takeNumber()
    let helpers = chooseHelpers(besides: target)
    let interval = health.scaled(settings.crashPingInterval)
    crashProbes[number] = CrashProbe(
      target: target, incarnation: member.incarnation, interval: interval, pings: [now + interval, now + interval * 2],
      waitsFor: Set(helpers.map(\.profile.address)), directUntil: now + interval * 3, until: now + interval * 6)
    directives.append(.send(Packet(.ping(number, target: target)), to: member.profile.address))
    for helper in helpers {
      directives.append(
        .send(
          Packet(.crashPingRequest(number, target: target, address: member.profile.address)),
          to: helper.profile.address))
    }
    return takeDirectives()
  }

  mutating func continueCrashProbes() {
    // Sorted, so that a seed repeats it.
    for (number, probe) in crashProbes.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
      guard let member = entries[probe.target], member.isPresent, member.incarnation == probe.incarnation else {
        // It has spoken since, or others were faster.
        crashProbes[number] = nil
        continue
      }
      if let time = probe.pings.first, now >= time {
        crashProbes[number]!.pinged(at: now)
        directives.append(.send(Packet(.ping(number, target: probe.target)), to: member.profile.address))
      } else if now >= (probe.waitsFor.isEmpty ? probe.directUntil : probe.until) {
        crashProbes[number] = nil
        // With all helpers of the same opinion it is certain enough; otherwise it is a suspicion like others.
        var news = news(of: member)
        news.state = probe.waitsFor.isEmpty ? .failed : .suspect
        apply(news)
      }
    }
  }

  /// A helper could not reach the target.
  mutating func deny(_ number: ProbeNumber, by helper: MemberAddress) {
    crashProbes[number]?.waitsFor.remove(helper)
  }

  /// Pings for a member whose link broke: three times, and no longer than it takes to be useful.
  mutating func relayAtOnce(
    _ number: ProbeNumber, _ target: MemberName, _ address: MemberAddress, for requester: MemberAddress
  ) {
    guard canRelay else { return }
    let mine = takeNumber()
    let interval = settings.crashPingInterval
    relays[mine] = Relay(
      requester: requester, number: number, target: target, negativeAt: now + interval * 3,
      until: now + settings.probeInterval,
      again: Relay.Again(address: address, times: [now + interval, now + interval * 2]))
    directives.append(.send(Packet(.ping(mine, target: target)), to: address))
  }
}
