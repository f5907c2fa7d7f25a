// What members say of each other, and what becomes of it.

extension SWIM {
  /// All that is known, for an exchange.
  public var state: MembershipState {
    MembershipState(news: members.map(news(of:)), claims: claimMap.all(at: now), records: recordMap.all)
  }

  /// Joins by what members of the cluster know: their answer to an exchange of all that is known.
  public mutating func merge(_ state: MembershipState, at time: Duration) -> [Directive] {
    proceed(to: time)
    // Who knew nobody learns nothing that others would not know.
    isJoining = entries.count == 1
    defer { isJoining = false }
    for var news in state.news {
      // What somebody believes is no proof: a failure learned at second hand is a suspicion first, which can be refuted.
      if news.state == .failed && entries[news.name]?.isPresent == true {
        news.state = .suspect
        news.age = 0
      }
      apply(news)
    }
    for claim in state.claims { apply(claim) }
    for record in state.records { apply(record) }
    return takeDirectives()
  }

  /// This member's own profile is another: it drains, or has another address.
  /// - Precondition: its texts are as long as their types say.
  public mutating func update(_ profile: MemberProfile, at time: Duration) -> [Directive] {
    precondition(profile.isValid)
    proceed(to: time)
    guard profile != me.profile else { return [] }
    me.profile = profile
    me.incarnation = me.incarnation.next()
    queue.add(news(of: me))
    directives.append(.changed(me))
    return takeDirectives()
  }

  /// This member leaves on purpose; what `advance` sends from now on says so.
  public mutating func leave(at time: Duration) -> [Directive] {
    proceed(to: time)
    hasLeft = true
    me.state = .left
    me.since = now
    queue.add(news(of: me))
    return takeDirectives()
  }

  mutating func apply(_ news: News) {
    if refuses(news.incarnation.rawValue, of: "member \(news.name)", by: news.source) { return }
    if news.name == name { return defend(against: news) }
    if refuse(news) { return }
    guard let known = entries[news.name] else { return add(news) }
    if news.state == .suspect && known.state == .suspect && news.incarnation == known.incarnation {
      if suspicions.confirm(news.name, by: news.source, at: now) { queue.add(news) }
    } else if news.overrides(known) {
      take(news)
    }
  }

  /// A member that nobody here has heard of, or that was forgotten.
  private mutating func add(_ news: News) {
    guard !(news.isGone && .seconds(Int64(news.age)) >= settings.reapAfter), !isForgotten(news.name, news.incarnation)
    else { return }
    let member = Member(
      name: news.name, profile: news.profile, incarnation: news.incarnation, state: .alive, since: now)
    set(member)
    order.insert(news.name, using: &generator)
    if news.state == .alive {
      passOn(news)
      directives.append(.changed(member))
    } else {
      take(news)
    }
  }

  private mutating func take(_ news: News) {
    let before = entries[news.name]!
    var member = before
    member.incarnation = news.incarnation
    member.state = news.state
    // Whoever speaks of an incarnation has its profile from the member itself, by however many others.
    if news.incarnation > before.incarnation { member.profile = news.profile }
    if news.state != before.state {
      // Of a member that was present a moment ago nobody knows that it has been gone for days: it would be forgotten at once,
      // and not be told what is said of it.
      let age = Duration.seconds(Int64(news.age))
      member.since = before.isPresent && age >= settings.reapAfter ? now : now - age
    }
    set(member)
    if before.isPresent && !member.isPresent {
      order.remove(news.name)
      gone.append(news.name)
      probes.removeAll { $0.target == news.name }
    } else if !before.isPresent && member.isPresent {
      gone.removeAll { $0 == news.name }
      order.insert(news.name, using: &generator)
    }
    if news.state == .suspect {
      suspicions.begin(suspicion(by: news.source), of: news.name)
    } else if before.state == .suspect {
      suspicions.end(of: news.name)
    }
    passOn(news)
    if member != before { directives.append(.changed(member)) }
    dropIfForgotten(news.name)
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
    // With fewer others than should confirm it, none.
    let expected = present - 2 < settings.suspicionConfirmations ? 0 : settings.suspicionConfirmations
    return Suspicion(
      by: accuser, at: now, minimum: minimum, maximum: minimum * settings.suspicionMaximumMultiplier,
      expected: expected, lead: settings.probeInterval, questions: settings.lastQuestions(members: present))
  }

  mutating func continueSuspicions() {
    while let event = suspicions.next(at: now) {
      switch event {
      case .ask(let name, let number?): ping(name, number)
      case .ask(let name, nil):
        let number = takeNumber()
        suspicions.expect(number, from: name)
        ping(name, number)
        directives.append(.probeByPeerLink(number, name))
      case .fail(let name):
        var news = news(of: entries[name]!)
        news.state = .failed
        take(news)
      }
    }
  }

  /// Somebody says something else of this member than what it is: it raises its incarnation, and everybody hears it
  /// (SWIM, §4.2). Being suspected is a sign of being slow.
  private mutating func defend(against news: News) {
    doubt(news)
    let isWrong = news.state != me.state && !(hasLeft && news.state == .failed)
    guard news.incarnation >= me.incarnation, isWrong || news.incarnation > me.incarnation else { return }
    me.incarnation = news.incarnation.next()
    if news.state == .suspect || news.state == .failed { health.add(1) }
    queue.add(self.news(of: me))
  }
}
