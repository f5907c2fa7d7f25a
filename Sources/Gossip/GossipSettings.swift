import Glibc

// The numbers of the protocol. Each says where it comes from; `lan` is memberlist's profile of the same name, but for what
// was measured to be too slow in it: a host that fell silent in a cluster of five was found after 5.8 s in the median, 8.6 s
// at worst, and after 3.6 s and 4.5 s with four probes at a time and a shorter suspicion (docs/gossip.md).

/// How often members are looked at, and how long they are believed to live.
public struct GossipSettings: Hashable, Sendable {
  /// How long a probe takes that nobody answers.
  public var probeInterval: Duration
  /// Probes that each member begins in this time, of one other each: so often is each one probed, by someone.
  public var parallelProbes: Int
  /// How long a direct probe may take before others are asked: well above a round trip and a pause of the collector of
  /// somebody else's program on the same machine.
  public var probeTimeout: Duration
  /// Peers that are asked to probe in this member's place (SWIM, §3.1: k = 3 makes a false alarm rare even at 10 % loss).
  public var indirectProbes: Int
  /// After a broken link a member is pinged three times at this distance, and must answer before a fourth would be due:
  /// many round trips within a site, and short enough to find a crash in a fraction of a second.
  public var crashPingInterval: Duration
  /// News is sent this often, besides what travels on probes.
  public var gossipInterval: Duration
  /// Members that get it each time.
  public var gossipFanout: Int
  /// Packets that a member gets each time at most, while there is more to say than fits into one: enough for a thousand
  /// claims a second, and at most half a megabyte a second of them.
  public var gossipPackets: Int
  /// A member that failed this long ago still gets news: it may be alive and not know what is said of it.
  public var gossipToTheDead: Duration
  /// A suspicion lasts at least this many times log₁₀(members) probe intervals, and of a few members at least 0.6 times …
  public var suspicionMultiplier: Double
  /// … and at most this many times as long, as long as nobody else confirms it (Lifeguard, §III-B).
  public var suspicionMaximumMultiplier: Double
  /// As many others bring a suspicion down to its minimum.
  public var suspicionConfirmations: Int
  /// News is sent this many times log₁₀(members + 1) times by each member.
  public var retransmitMultiplier: Double
  /// Intervals and timeouts grow at most this many times while this member doubts itself (Lifeguard, §III-A).
  public var maximumHealthScore: Int
  /// A suspect hears of it in the next ping (Lifeguard, §III-C, "buddy system").
  public var tellsSuspectFirst: Bool
  /// A member that is later than this with what it has to do was stopped or starved, and does not trust its own clock to
  /// say that others are late: above what a busy machine does to a process all the time.
  public var pauseTolerance: Duration
  /// The whole state is exchanged with one member this often, unless digests say that it need not be.
  public var pushPullInterval: Duration
  /// Members that are gone are forgotten after this time.
  public var reapAfter: Duration

  /// One data centre.
  public static let lan = GossipSettings(
    probeInterval: .seconds(1), parallelProbes: 4, probeTimeout: .milliseconds(500), indirectProbes: 3,
    crashPingInterval: .milliseconds(50),
    gossipInterval: .milliseconds(200), gossipFanout: 3, gossipPackets: 8, gossipToTheDead: .seconds(30),
    suspicionMultiplier: 3.5, suspicionMaximumMultiplier: 6, suspicionConfirmations: 2,
    retransmitMultiplier: 4, maximumHealthScore: 8,
    tellsSuspectFirst: true, pauseTolerance: .milliseconds(500), pushPullInterval: .seconds(30),
    reapAfter: .seconds(72 * 3600))

  /// Several data centres: round trips of a tenth of a second, and lines that fail for seconds.
  public static let wan = {
    var settings = lan
    settings.probeInterval = .seconds(5)
    settings.probeTimeout = .seconds(3)
    settings.crashPingInterval = .milliseconds(300)
    settings.gossipInterval = .milliseconds(500)
    settings.gossipFanout = 4
    settings.gossipToTheDead = .seconds(60)
    settings.suspicionMultiplier = 6
    settings.pushPullInterval = .seconds(60)
    return settings
  }()

  /// One machine: no loss, round trips of microseconds.
  public static let local = {
    var settings = lan
    settings.probeTimeout = .milliseconds(200)
    settings.gossipInterval = .milliseconds(100)
    settings.gossipToTheDead = .seconds(15)
    settings.suspicionMultiplier = 3
    settings.retransmitMultiplier = 2
    settings.pushPullInterval = .seconds(15)
    return settings
  }()
}

extension GossipSettings {
  /// The same with the parts of Lifeguard off: to measure what they are worth.
  package var withoutLifeguard: GossipSettings {
    var settings = self
    settings.maximumHealthScore = 0
    settings.suspicionMaximumMultiplier = 1
    settings.tellsSuspectFirst = false
    return settings
  }

  /// How often a suspect is asked, in the last half second, whether it lives. In a large cluster a refutation is sent more
  /// often than in a small one and hardly ever misses anybody, and all would ask.
  func lastQuestions(members: Int) -> Int { members <= 100 ? 4 : 1 }

  /// News is everywhere by then, in thousands of members: log₄ of them rounds, and some to spare.
  var settleTime: Duration { gossipInterval * 15 }

  /// Longer in a large cluster, as memberlist has it: the state is as large.
  func pushPullInterval(members: Int) -> Duration {
    pushPullInterval * max(1, (log2(Double(members) / 32)).rounded(.up) + 1)
  }

  /// How often each member passes on one piece of news, in a cluster of so many.
  func retransmissions(members: Int) -> Int {
    Int(retransmitMultiplier * max(2, logarithm(members + 1).rounded(.up)))
  }

  /// The shortest time that a suspicion lasts.
  func suspicionMinimum(members: Int) -> Duration {
    probeInterval * (suspicionMultiplier * max(0.6, logarithm(members)))
  }

  private func logarithm(_ members: Int) -> Double { members > 1 ? log10(Double(members)) : 0 }
}
