// What members say of each other, and what becomes of it.

extension SWIM {
  /// All that is known, for an exchange.
  public var state: MembershipState {
    MembershipState(news: members.map(news(of:)), claims: claimMap.all(at: now))
  }

  /// Joins by what members of the cluster know: their answer to an exchange of all that is known.
  public mutating func merge(_ state: MembershipState, at time: Duration) -> [Directive] {
    now = max(now, time)
    // Who knew nobody learns nothing that others would not know.
    isJoining = entries.count == 1
    defer { isJoining = false }
    for var news in state.news {
      // What somebody believes is no proof: a failure learned at second hand is a suspicion first, which can be refuted.
      if news.state == .failed && entries[news.name] != nil {
        news.state = .suspect
        news.age = 0
      }
      apply(news)
    }
    for claim in state.claims { apply(claim) }
    return takeDirectives()
  }

  /// This member's own profile is another: it drains, or has another address.
  /// - Precondition: its texts are as long as their types say.
  public mutating func update(_ profile: MemberProfile, at time: Duration) -> [Directive] {
    precondition(profile.isValid)
    now = max(now, time)
    guard profile != me.profile else { return [] }
    entries[name]!.member.profile = profile
    entries[name]!.member.incarnation = me.incarnation.next()
    queue.add(news(of: me))
    directives.append(.changed(me))
    return takeDirectives()
  }

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
    if refuse(news) { return }
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

  /// A member that nobody here has heard of, or that was forgotten.
  private mutating func add(_ news: News) {
    guard !(news.isGone && .seconds(Int64(news.age)) >= settings.reapAfter) else { return }
    entries[news.name] = Entry(
      member: Member(
        name: news.name, profile: news.profile, incarnation: news.incarnation, state: .alive, since: now))
    present += 1
    order.insert(news.name, using: &generator)
    if news.state == .alive {
      passOn(news)
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
    if news.state != before.state { entry.member.since = now - .seconds(Int64(news.age)) }
    entry.suspicion = news.state == .suspect ? suspicion(by: news.source) : nil
    entries[news.name] = entry
    if entry.suspicion == nil { suspects.remove(news.name) } else { suspects.insert(news.name) }
    present += (entry.member.isPresent ? 1 : 0) - (before.isPresent ? 1 : 0)
    if !entry.member.isPresent && probe?.target == news.name { probe = nil }
    passOn(news)
    if entry.member != before { directives.append(.changed(entry.member)) }
  }

  private mutating func passOn(_ news: News) {
    if !isJoining { queue.add(news) }
  }

  /// Members that speak no common version of the protocol stay out. Said once a life.
  private mutating func refuse(_ news: News) -> Bool {
    guard news.state == .alive || entries[news.name] == nil, !news.profile.protocols.overlaps(me.profile.protocols)
    else { return false }
    if let known = incompatible[news.name], known >= news.incarnation { return true }
    // Names cost a stranger nothing; those that are remembered must not cost memory.
    if incompatible.count >= 1000 { incompatible = [:] }
    incompatible[news.name] = news.incarnation
    directives.append(
      .incompatible(
        Member(name: news.name, profile: news.profile, incarnation: news.incarnation, state: .alive, since: now)))
    return true
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
