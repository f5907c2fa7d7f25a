// What members say of each other, and what becomes of it.

extension SWIM {
  /// Joins by what members of the cluster know: their answer to an exchange of all that is known.
  public mutating func merge(_ state: [News], at time: Duration) -> [Directive] {
    now = max(now, time)
    for var news in state {
      // What somebody believes is no proof: a failure learned at second hand is a suspicion first, which can be refuted.
      if news.state == .failed && entries[news.name] != nil { news.state = .suspect }
      apply(news)
    }
    return takeDirectives()
  }

  /// All that is known, for an exchange.
  public var state: [News] { members.map(news(of:)) }

  /// This member leaves on purpose; what `advance` sends from now on says so.
  public mutating func leave(at time: Duration) -> [Directive] {
    now = max(now, time)
    hasLeft = true
    entries[name]!.member.state = .left
    entries[name]!.member.since = now
    queue.add(news(of: me))
    return takeDirectives()
  }

  mutating func apply(_ news: News) {
    if news.name == name { return defend(against: news) }
    guard let entry = entries[news.name] else { return add(news) }
    let known = entry.member
    if news.state == .suspect && known.state == .suspect && news.incarnation == known.incarnation {
      return confirm(news)
    }
    if news.state == .alive && news.incarnation == known.incarnation && known.state == .alive
      && news.profile.address != known.profile.address
    {
      directives.append(.nameConflict(known))
    }
    guard news.overrides(known) else { return }
    take(news)
  }

  /// A member that nobody here has heard of. Of the dead, only what may still be refuted is worth knowing.
  private mutating func add(_ news: News) {
    entries[news.name] = Entry(
      member: Member(
        name: news.name, profile: news.profile, incarnation: news.incarnation, state: .alive, since: now))
    present += 1
    order.insert(news.name, using: &generator)
    if news.state == .alive {
      queue.add(news)
      directives.append(.changed(entries[news.name]!.member))
    } else {
      take(news)
    }
  }

  private mutating func take(_ news: News) {
    var entry = entries[news.name]!
    let before = entry.member
    entry.member.incarnation = news.incarnation
    entry.member.state = news.state
    // Only the member itself knows its profile; others repeat what they heard.
    if news.state == .alive { entry.member.profile = news.profile }
    if news.state != before.state { entry.member.since = now }
    entry.suspicion = news.state == .suspect ? suspicion(by: news.source) : nil
    entries[news.name] = entry
    if entry.suspicion == nil { suspects.remove(news.name) } else { suspects.insert(news.name) }
    present += (entry.member.isPresent ? 1 : 0) - (before.isPresent ? 1 : 0)
    if !entry.member.isPresent && probe?.target == news.name { probe = nil }
    queue.add(news)
    if entry.member != before { directives.append(.changed(entry.member)) }
  }

  // MARK: Suspicion

  private func suspicion(by accuser: MemberName) -> Suspicion {
    let minimum = settings.suspicionMinimum(members: present)
    // Two fewer than the multiplier: as many as are likely to fail to reach it as well. With fewer others, none.
    var expected = max(0, Int(settings.suspicionMultiplier) - 2)
    if present - 2 < expected { expected = 0 }
    return Suspicion(
      by: accuser, at: now, minimum: minimum, maximum: minimum * settings.suspicionMaximumMultiplier,
      expected: expected)
  }

  private mutating func confirm(_ news: News) {
    if entries[news.name]!.suspicion?.confirm(by: news.source) == true { queue.add(news) }
  }

  mutating func endSuspicions() {
    // Sorted, so that a seed repeats it.
    for name in suspects.sorted() where now >= entries[name]!.suspicion!.deadline {
      var news = news(of: entries[name]!.member)
      news.state = .failed
      take(news)
    }
  }

  /// Somebody says something else of this member than what it is: it raises its incarnation, and everybody hears it
  /// (SWIM, §4.2). Being suspected is a sign of being slow.
  private mutating func defend(against news: News) {
    if news.state == .alive && news.profile.address != me.profile.address && news.incarnation >= me.incarnation {
      directives.append(
        .nameConflict(
          Member(
            name: name, profile: news.profile, incarnation: news.incarnation, state: .alive, since: now)))
    }
    let isWrong = news.state != me.state && !(hasLeft && news.state == .failed)
    guard news.incarnation >= me.incarnation, isWrong || news.incarnation > me.incarnation else { return }
    entries[name]!.member.incarnation = news.incarnation.next()
    if news.state == .suspect || news.state == .failed { health.add(1) }
    queue.add(self.news(of: me))
  }
}
