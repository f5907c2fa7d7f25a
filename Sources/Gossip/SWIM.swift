// The membership protocol as a value: SWIM (Das, Gupta and Motivala, "SWIM: scalable weakly-consistent infection-style
// process group membership protocol", 2002) with Lifeguard (Dadgar, Phillips and Currey, "Lifeguard: local health
// awareness for more accurate failure detection", 2018). Time and the seed of all randomness come in as arguments; what is
// to be done goes out as directives. Probes are in `SWIM+Probe.swift`, what members say of each other in
// `SWIM+News.swift`, how it travels in `SWIM+Spread.swift`.

import HashTreeCollections

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
    /// Another process of this member's name lives. The shells of the two find out who must stop.
    case nameConflict(Member)
    /// It speaks no version of the protocol that this member speaks, and was not added.
    case incompatible(Member)
    /// A claim is new, or another one wins; `removed` ones too.
    case claimed(RunnerClaim)
    /// A record is new, or another one wins; removed ones too.
    case recorded(Record)
    /// A member that is gone was forgotten, since an operator wanted it.
    case forgotten(MemberName)
    /// A statement was refused.
    case leapRefused(Leap)
  }

  /// Versions of the protocol, lowest and highest, that this program speaks.
  public static let supportedProtocols: ClosedRange<UInt8> = 4...4
  /// What `maximumPacketBytes` may be: at least a probe with one piece of news and one claim.
  public static let packetBytes = 1300...1400

  public let name: MemberName
  public let settings: GossipSettings
  /// The largest packet, in bytes: 1,400 less what encryption adds.
  public let maximumPacketBytes: Int
  /// Where members of the cluster may be found; asked now and then as long as no member that is present is there.
  public var seeds: [MemberAddress] = []

  /// All members that were ever heard of and not reaped, this one among them. A tree, since its copies share what they have
  /// in common: ten thousand simulated members that know each other fit into memory.
  var entries: TreeDictionary<MemberName, Member> = [:]
  /// The others that are present.
  var order = ProbeOrder()
  /// Those that failed or left, the latest last.
  var gone: [MemberName] = []
  var suspicions = Suspicions()
  var queue = SpreadQueue<News>()
  var claimMap = ClaimMap()
  var claimQueue = SpreadQueue<RunnerClaim>()
  var recordMap: RecordMap
  var recordQueue = SpreadQueue<Record>()
  /// Members of another protocol, by what they were last heard to be.
  var incompatible: [MemberName: Incarnation] = [:]
  /// Whether what is learned at this moment is known to all others.
  var isJoining = false
  /// Of all members.
  var memberDigest: UInt64 = 0
  /// When something was last learned.
  var lastChange: Duration
  /// When another member was last seen to know the same.
  var agreedAt: Duration?
  /// When all may be exchanged again because digests differ, and how long after that.
  var nextRepair: Duration
  var repairDelay: Duration
  var health: LocalHealth
  var generator: SeededGenerator
  var probes: [Probe] = []
  var relays: [ProbeNumber: Relay] = [:]
  /// Members whose peer link broke, and who are asked about at this moment.
  var crashProbes: [ProbeNumber: CrashProbe] = [:]
  /// Members whose probes were answered only in a roundabout way, or not at all.
  var roundabouts: [MemberName: Roundabout] = [:]
  var conflictProbe: ConflictProbe?
  var lastNumber: UInt32
  var now: Duration
  /// What the date is when `now` is zero.
  private var dateAtZero: Duration
  var hasLeft = false
  /// Statements that were refused since a counter was higher than it can be.
  public internal(set) var refusedLeaps = 0
  var nextGossip: Duration
  private var nextExchange: Duration
  private var nextProbe: Duration
  var directives: [Directive] = []

  /// - Precondition: the name and the texts of the profile are as long as their types say.
  /// - Parameters:
  ///   - incarnation: higher than any that this member had before.
  ///   - seed: of everything random.
  ///   - records: the rules of the kinds of records.
  ///   - now: from any origin; it must never go back.
  ///   - date: at that time, in milliseconds since 1970; some date, for simulations, unless it is said.
  public init(
    name: MemberName, profile: MemberProfile, incarnation: Incarnation = Incarnation(1),
    settings: GossipSettings = .lan,
    maximumPacketBytes: Int = 1400, records: RecordRules = RecordRules(), seed: UInt64, now: Duration,
    date: UInt64 = 1 << 41
  ) {
    precondition((1...MemberName.maximumBytes).contains(name.rawValue.utf8.count) && profile.isValid)
    precondition(Self.packetBytes.contains(maximumPacketBytes))
    self.name = name
    self.settings = settings
    self.maximumPacketBytes = maximumPacketBytes
    self.now = now
    dateAtZero = .milliseconds(Int64(clamping: date)) - now
    recordMap = RecordMap(rules: records)
    (nextRepair, repairDelay, lastChange) = (now, settings.probeInterval, now)
    health = LocalHealth(maximum: settings.maximumHealthScore)
    generator = SeededGenerator(seed: seed)
    lastNumber = UInt32.random(in: 0...UInt32.max, using: &generator)
    // Members that start together shall not speak together.
    nextProbe = now + settings.probeInterval * Double.random(in: 0..<1, using: &generator)
    nextGossip = now + settings.gossipInterval * Double.random(in: 0..<1, using: &generator)
    nextExchange = now + settings.pushPullInterval * Double.random(in: 0..<1, using: &generator)
    set(Member(name: name, profile: profile, incarnation: incarnation, state: .alive, since: now))
    queue.add(news(of: me))
  }

  // MARK: What is known

  /// Every member, this one among them, by name.
  public var members: [Member] { entries.values.sorted { $0.name < $1.name } }
  public subscript(name: MemberName) -> Member? { entries[name] }
  public internal(set) var me: Member {
    get { entries[name]! }
    set { set(newValue) }
  }
  /// How many members are present, this one among them.
  public var present: Int { order.names.count + 1 }
  /// 0 is healthy; what the operator sees.
  public var healthScore: Int { health.score }

  // MARK: Time

  /// The date by this machine's clock, in milliseconds since 1970. It says when records may be forgotten, and how far
  /// counters may have come; it never decides between two members.
  var date: UInt64 {
    let (seconds, attoseconds) = (now + dateAtZero).components
    return UInt64(clamping: seconds * 1000 + attoseconds / 1_000_000_000_000_000)
  }

  /// The machine's clock may have been set.
  public mutating func set(date: UInt64, at time: Duration) {
    dateAtZero = .milliseconds(Int64(clamping: date)) - time
  }

  /// When `advance` has something to do next.
  public var nextDeadline: Duration {
    var deadline = min(nextGossip, nextExchange, nextProbe)
    for probe in probes { deadline = min(deadline, probe.nextDeadline) }
    for relay in relays.values { deadline = min(deadline, relay.nextDeadline) }
    for probe in crashProbes.values { deadline = min(deadline, probe.nextDeadline) }
    if let end = suspicions.nextEvent { deadline = min(deadline, end) }
    return deadline
  }

  /// Every way in begins here.
  mutating func proceed(to time: Duration) {
    let late = time - nextGossip
    now = max(now, time)
    if late > settings.pauseTolerance { awake(after: late) }
  }

  /// This member did nothing for a while: it was stopped, or its machine slept or had too much to do. Answers that came
  /// meanwhile are still to be read, so that nobody is to blame for being silent.
  private mutating func awake(after pause: Duration) {
    health.add(1)
    for index in probes.indices { probes[index].postpone(by: pause) }
    for number in relays.keys { relays[number]!.postpone(by: pause) }
    for number in crashProbes.keys { crashProbes[number]!.postpone(by: pause) }
    suspicions.postpone(by: pause, atLeastUntil: now + settings.probeInterval)
    nextGossip = now
  }

  /// Does what is due. A late call does each thing once.
  public mutating func advance(to time: Duration) -> [Directive] {
    proceed(to: time)
    continueSuspicions()
    continueProbes()
    endRelays()
    continueCrashProbes()
    if now >= nextProbe {
      startProbe()
      nextProbe = now + health.scaled(settings.probeInterval) / settings.parallelProbes
    }
    if now >= nextGossip {
      gossip()
      nextGossip = now + settings.gossipInterval
    }
    if now >= nextExchange {
      exchange()
      reap()
      nextExchange = now + settings.pushPullInterval(members: present)
    }
    return takeDirectives()
  }

  mutating func takeDirectives() -> [Directive] {
    defer { directives = [] }
    return directives
  }
}
