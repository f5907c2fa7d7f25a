// How news, claims and records travel: a few pieces on every packet, the newest first. `SWIM+Repair.swift` finds
// what was lost on the way.

extension SWIM {
  /// The same news, claims and records for a few members, so that in a small cluster nearly everybody gets them at once; and for
  /// one of those that failed of late: it may be alive and has to hear what is said of it.
  mutating func gossip() {
    guard hasToSpread else { return }
    let present = choose(settings.gossipFanout, of: order.names)
    // The dead are looked at from the latest on; after a partition they may be thousands.
    let lost = gone.suffix(64).filter {
      entries[$0]!.state == .failed && now - entries[$0]!.since < settings.gossipToTheDead
    }
    let packets = takePackets(atMost: settings.gossipPackets, copies: max(1, present.count))
    for name in present { send(packets, to: name) }
    for name in choose(1, of: lost) { send(packets.prefix(1), to: name) }
  }

  private mutating func send(_ packets: some Sequence<Packet>, to name: MemberName) {
    for packet in packets { directives.append(.send(packet, to: entries[name]!.profile.address)) }
  }

  /// Forgets members that have been gone for long.
  mutating func reap() {
    let old = Set(gone.filter { now - entries[$0]!.since > settings.reapAfter })
    gone.removeAll(where: old.contains)
    for name in old { forget(name) }
    claimMap.reap(before: now - settings.reapAfter)
    recordMap.reap(date: date)
  }

  /// Up to `count` different names, at random.
  mutating func choose(_ count: Int, of names: [MemberName]) -> [MemberName] {
    guard names.count > 4 * count else { return Array(names.shuffled(using: &generator).prefix(count)) }
    var chosen: [MemberName] = []
    while chosen.count < count {
      let name = names[Int.random(in: 0..<names.count, using: &generator)]
      if !chosen.contains(name) { chosen.append(name) }
    }
    return chosen
  }

  /// Members that are asked to probe another.
  mutating func chooseHelpers(besides target: MemberName) -> [Member] {
    choose(settings.indirectProbes + 1, of: order.names).filter { $0 != target }.prefix(settings.indirectProbes)
      .map { entries[$0]! }
  }

  var hasToSpread: Bool { !queue.isEmpty || !claimQueue.isEmpty || !recordQueue.isEmpty }

  /// What is to be passed on, at most so many packets full, the first of them with `bytes` in use already.
  /// - Parameter copies: to how many members they go.
  private mutating func takePackets(atMost count: Int, besides bytes: Int = 0, copies: Int = 1) -> [Packet] {
    guard hasToSpread else { return [] }
    var rooms = [Int](repeating: maximumPacketBytes - Packet.headerBytes, count: count)
    rooms[0] -= bytes
    let limit = settings.retransmissions(members: present)
    let news = queue.take(into: &rooms, limit: limit, copies: copies)
    let claims = claimQueue.take(into: &rooms, limit: limit, copies: copies)
    let records = recordQueue.take(into: &rooms, limit: limit, copies: copies)
    return (0..<count).map { Packet(news: news[$0], claims: claims[$0], records: records[$0]) }.filter {
      !$0.news.isEmpty || !$0.claims.isEmpty || !$0.records.isEmpty
    }
  }

  /// A packet with a message, and what fits in besides.
  mutating func packet(_ message: Message, first: News? = nil, digest: UInt64? = nil) -> Packet {
    let bytes = message.encodedSize + (first?.encodedSize ?? 0) + (digest == nil ? 0 : Packet.digestBytes)
    var packet = takePackets(atMost: 1, besides: bytes).first ?? Packet()
    packet.message = message
    packet.digest = digest
    if let first { packet.news = [first] + packet.news.filter { $0.name != first.name } }
    return packet
  }

  func news(of member: Member) -> News {
    var news = News(
      name: member.name, state: member.state, incarnation: member.incarnation, profile: member.profile, source: name)
    if news.isGone { news.age = UInt32(clamping: (now - member.since).components.seconds) }
    return news
  }
}
