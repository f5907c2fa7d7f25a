// What members send to each other by UDP: one message or none, and what travels along.

public struct Packet: Hashable, Sendable {
  public var message: Message?
  public var news: [News]
  public var claims: [RunnerClaim]
  public var records: [Record]
  /// On acknowledgements: of all that the sender knows, unless some of it is new.
  public var digest: UInt64?

  public init(
    _ message: Message? = nil, news: [News] = [], claims: [RunnerClaim] = [], records: [Record] = [],
    digest: UInt64? = nil
  ) {
    self.message = message
    self.news = news
    self.claims = claims
    self.records = records
    self.digest = digest
  }

  /// Whether the sender says that this member is not alive.
  func doubts(_ name: MemberName) -> Bool { news.contains { $0.name == name && $0.state != .alive } }
}

public enum Message: Hashable, Sendable {
  /// Answer `acknowledge` if you are `target`: a member may have another's address by now.
  case ping(ProbeNumber, target: MemberName)
  /// Ping `target` for me; answer `acknowledge` if it answers, `negative` if it has not after 80 % of the timeout.
  case pingRequest(ProbeNumber, target: MemberName, address: MemberAddress)
  /// The same, at once: my link to `target` broke. `negative` comes after a fraction of a second.
  case crashPingRequest(ProbeNumber, target: MemberName, address: MemberAddress)
  case acknowledge(ProbeNumber)
  /// I live, but the target does not answer me either (Lifeguard, §III-A).
  case negative(ProbeNumber)
}

/// Tells the answers to one member's probes apart.
public struct ProbeNumber: Hashable, Sendable {
  public var rawValue: UInt32
  public init(_ rawValue: UInt32) { self.rawValue = rawValue }
}
