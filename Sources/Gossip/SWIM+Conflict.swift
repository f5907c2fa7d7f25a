// Two processes under one name. News of oneself at another address may also be an echo of an earlier life: what is asked is
// whether anybody answers there.

extension SWIM {
  /// A question to another who bears this member's name.
  struct ConflictProbe {
    let number: ProbeNumber
    let other: Member
    let until: Duration
  }

  /// Somebody is said to live under this member's name.
  mutating func doubt(_ news: News) {
    guard news.state == .alive, news.profile.address != me.profile.address, news.incarnation >= me.incarnation,
      conflictProbe.map({ now >= $0.until }) ?? true
    else { return }
    let number = takeNumber()
    conflictProbe = ConflictProbe(
      number: number,
      other: Member(name: name, profile: news.profile, incarnation: news.incarnation, state: .alive, since: now),
      until: now + settings.probeInterval)
    directives.append(.send(Packet(.ping(number, target: name)), to: news.profile.address))
  }

  /// Whether this is an answer from the other, who therefore lives.
  mutating func confirmConflict(_ number: ProbeNumber) -> Bool {
    guard let probe = conflictProbe, probe.number == number else { return false }
    conflictProbe = nil
    directives.append(.nameConflict(probe.other))
    if me.profile.address < probe.other.profile.address {
      // The other has to hear of this one, to know that it must stop. No clock decides which: both were members of
      // parts of the cluster that knew nothing of each other, and one of them has to.
      me.incarnation = max(me.incarnation, probe.other.incarnation).next()
      queue.add(news(of: me))
    }
    return true
  }

  /// Whether the ping came to the one who sent it: the other address is its own.
  mutating func isOwnPing(_ number: ProbeNumber) -> Bool {
    guard conflictProbe?.number == number else { return false }
    conflictProbe = nil
    return true
  }
}
