// The membership protocol as a value: SWIM (Das, Gupta and Motivala, "SWIM: scalable weakly-consistent infection-style
// process group membership protocol", 2002) with Lifeguard (Dadgar, Phillips and Currey, "Lifeguard: local health
// awareness for more accurate failure detection", 2018). Time and the seed of all randomness come in as arguments; what is
// to be done goes out as directives. Probes are in `SWIM+Probe.swift`, what members say of each other in
// `SWIM+News.swift`.

public struct SWIM: Sendable {
  /// What the shell has to do.
  public enum Directive: Hashable, Sendable {
    case send(Packet, to: MemberAddress)
    /// A member is new, or has another state or profile.
    case changed(Member)
    /// Probe it over the peer link, and say so by `acknowledged`: UDP may be blocked where TCP is not.
    case probeByPeerLink(ProbeNumber, MemberName)
    /// Exchange all that is known with this member, and pass on what it answers to `merge`.
    case exchange(with: MemberAddress)
    /// A live member of this name runs at another address. The younger of the two must stop.
    case nameConflict(Member)
    /// It speaks no version of the protocol that this member speaks, and was not added.
    case incompatible(Member)
    /// A claim is new, or another one wins; `removed` ones too.
    case claimed(RunnerClaim)
  }

  /// Versions of the protocol, lowest and highest, that this program speaks.
  public static let supportedProtocols: ClosedRange<UInt8> = 1...1
  /// What `maximumPacketBytes` may be: at least a probe with one piece of news and one claim.
  public static let packetBytes = 1300...1400

  public let name: MemberName
  public let settings: GossipSettings
  /// The largest packet, in bytes: 1,400 less what encryption adds.
  public let maximumPacketBytes: Int

  struct Entry {
    var member: Member
    var suspicion: Suspicion?
  }
  /// All members that were ever heard of and not reaped, this one among them.
  var entries: [MemberName: Entry] = [:]
  /// Those with a suspicion.
  var suspects: Set<MemberName> = []
  /// How many members are present.
  var present = 1
  var order = ProbeOrder()
  var queue = SpreadQueue<News>()
  var claimMap = ClaimMap()
  var claimQueue = SpreadQueue<RunnerClaim>()
  /// Members of another protocol, by what they were last heard to be.
  var incompatible: [MemberName: Incarnation] = [:]
  /// Whether what is learned at this moment is known to all others.
  var isJoining = false
  /// When claims may be exchanged again because digests differ.
  var nextRepair: Duration
  var health: LocalHealth
  var generator: SeededGenerator
  var probe: Probe?
  var relays: [ProbeNumber: Relay] = [:]
  /// Members whose peer link broke, and who are asked about at this moment.
  var crashProbes: [ProbeNumber: CrashProbe] = [:]
  var lastNumber: UInt32
  var now: Duration
  var hasLeft = false
  private var nextGossip: Duration
  private var nextExchange: Duration
  private var nextProbe: Duration
  var directives: [Directive] = []

  /// - Precondition: the name and the texts of the profile are as long as their types say.
  /// - Parameters:
  ///   - incarnation: higher than any that this member had before.
  ///   - seed: of everything random.
  ///   - now: from any origin; it must never go back.
  public init(
    name: MemberName, profile: MemberProfile, incarnation: Incarnation = Incarnation(1),
    settings: GossipSettings = .lan,
    maximumPacketBytes: Int = 1400, seed: UInt64, now: Duration
  ) {
    precondition((1...MemberName.maximumBytes).contains(name.rawValue.utf8.count) && profile.isValid)
    precondition(Self.packetBytes.contains(maximumPacketBytes))
    self.name = name
    self.settings = settings
    self.maximumPacketBytes = maximumPacketBytes
    self.now = now
    nextRepair = now
    health = LocalHealth(maximum: settings.maximumHealthScore)
    generator = SeededGenerator(seed: seed)
    lastNumber = UInt32.random(in: 0...UInt32.max, using: &generator)
    entries[name] = Entry(
      member: Member(name: name, profile: profile, incarnation: incarnation, state: .alive, since: now))
    // Members that start together shall not speak together.
    nextProbe = now + settings.probeInterval * Double.random(in: 0..<1, using: &generator)
    nextGossip = now + settings.gossipInterval * Double.random(in: 0..<1, using: &generator)
    nextExchange = now + settings.pushPullInterval * Double.random(in: 0..<1, using: &generator)
    queue.add(news(of: entries[name]!.member))
  }

  // MARK: What is known

  /// Every member, this one among them, by name.
  public var members: [Member] { entries.values.map(\.member).sorted { $0.name < $1.name } }
  public subscript(name: MemberName) -> Member? { entries[name]?.member }
  public var me: Member { entries[name]!.member }
  /// 0 is healthy; what the operator sees.
  public var healthScore: Int { health.score }

  // MARK: Time

  /// When `advance` has something to do next.
  public var nextDeadline: Duration {
    var deadline = min(nextGossip, nextExchange, nextProbe)
    if let probe { deadline = min(deadline, probe.nextDeadline) }
    for relay in relays.values { deadline = min(deadline, relay.nextDeadline) }
    for probe in crashProbes.values { deadline = min(deadline, probe.nextDeadline) }
    for name in suspects { deadline = min(deadline, entries[name]!.suspicion!.deadline) }
    return deadline
  }

  /// Does what is due. A late call does each thing once: after a pause nobody is suspected for answers that this member
  /// had no chance to read.
  public mutating func advance(to time: Duration) -> [Directive] {
    now = max(now, time)
    endSuspicions()
    continueProbe()
    endRelays()
    continueCrashProbes()
    if now >= nextProbe && probe == nil {
      startProbe()
      nextProbe = now + health.scaled(settings.probeInterval)
    }
    if now >= nextGossip {
      gossip()
      nextGossip = now + settings.gossipInterval
    }
    if now >= nextExchange {
      exchange()
      reap()
      nextExchange = now + settings.pushPullInterval
    }
    return takeDirectives()
  }

  /// News and claims for a few members, the recently dead among them: they may be alive and have to hear what is said
  /// of them.
  private mutating func gossip() {
    guard hasToSpread else { return }
    let isListening = { [now, settings] (member: Member) in
      member.isPresent || (member.state == .failed && now - member.since < settings.gossipToTheDead)
    }
    for member in choose(settings.gossipFanout, where: isListening) {
      for packet in takePackets(atMost: member.isPresent ? settings.gossipPackets : 1) {
        directives.append(.send(packet, to: member.profile.address))
      }
    }
  }

  /// The whole state, with a member that is present, or now and then with one that failed: so that the halves of a
  /// cluster find each other again.
  private mutating func exchange() {
    if let member = choose(1, where: \.isPresent).first { directives.append(.exchange(with: member.profile.address)) }
    if let lost = choose(1, where: { $0.state == .failed }).first {
      directives.append(.exchange(with: lost.profile.address))
    }
  }

  /// Forgets members that have been gone for long.
  private mutating func reap() {
    for (name, entry) in entries where !entry.member.isPresent && now - entry.member.since > settings.reapAfter {
      entries[name] = nil
      order.remove(name)
    }
    claimMap.reap(before: now - settings.reapAfter)
  }

  // MARK: Parts

  /// Up to `count` members other than this one, at random.
  mutating func choose(_ count: Int, where isEligible: (Member) -> Bool) -> [Member] {
    var chosen: [Member] = []
    // In a large cluster most are eligible, and a few tries find some; in a small one all are looked at.
    let names = order.all
    let isSmall = names.count <= 3 * count
    let start = names.isEmpty ? 0 : Int.random(in: 0..<names.count, using: &generator)
    for attempt in 0..<(isSmall ? names.count : 3 * count) where chosen.count < count {
      let place = isSmall ? (start + attempt) % names.count : Int.random(in: 0..<names.count, using: &generator)
      guard let member = entries[names[place]]?.member, isEligible(member), !chosen.contains(member) else { continue }
      chosen.append(member)
    }
    return chosen
  }

  var hasToSpread: Bool { !queue.isEmpty || !claimQueue.isEmpty }

  /// What is to be passed on to one member, at most so many packets full, the first of them with `bytes` in use already.
  mutating func takePackets(atMost count: Int, besides bytes: Int = 0) -> [Packet] {
    guard hasToSpread else { return [] }
    var rooms = [Int](repeating: maximumPacketBytes - Packet.headerBytes, count: count)
    rooms[0] -= bytes
    let limit = settings.retransmissions(members: present)
    let news = queue.take(into: &rooms, limit: limit)
    let claims = claimQueue.take(into: &rooms, limit: limit)
    return zip(news, claims).map { Packet(news: $0, claims: $1) }.filter { !$0.news.isEmpty || !$0.claims.isEmpty }
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

  mutating func takeDirectives() -> [Directive] {
    defer { directives = [] }
    return directives
  }

  func news(of member: Member) -> News {
    var news = News(
      name: member.name, state: member.state, incarnation: member.incarnation, profile: member.profile, source: name)
    if news.isGone { news.age = UInt32(clamping: (now - member.since).components.seconds) }
    return news
  }
}
