import ExactText

// Who is in the cluster, as one member sees it.

/// A member's name: 1 to 128 bytes of UTF-8, checked where it comes in.
public struct MemberName: ComparedExactly, Sendable, CustomStringConvertible {
  public static let maximumBytes = 128
  public let rawValue: String
  public init(_ rawValue: String) { self.rawValue = rawValue }
  public var description: String { rawValue }
}

/// Where a member receives packets: an IP address and a port, as `SocketAddress` writes them. At most 64 bytes.
public struct MemberAddress: ComparedExactly, Sendable, CustomStringConvertible {
  public static let maximumBytes = 64
  public let rawValue: String
  public init(_ rawValue: String) { self.rawValue = rawValue }
  public var description: String { rawValue }
}

/// A member's own counter: only the member itself raises it, to refute what is said of it (SWIM, §4.2).
public struct Incarnation: Hashable, Comparable, Sendable {
  public var rawValue: UInt64
  public init(_ rawValue: UInt64) { self.rawValue = rawValue }
  public static func < (a: Incarnation, b: Incarnation) -> Bool { a.rawValue < b.rawValue }
  /// At the largest that can travel it stays: only a member that lies brings another one there.
  func next() -> Incarnation { Incarnation(min(rawValue + 1, News.maximumCounter)) }
}

public enum MemberState: UInt8, Hashable, Sendable, CaseIterable {
  case alive, suspect, failed, left
}

/// What a member says of itself.
public struct MemberProfile: Hashable, Sendable {
  public static let maximumAPIBytes = 255
  /// Of zone and version, so that one piece of news and one claim fit into any packet.
  public static let maximumTextBytes = 64

  public var address: MemberAddress
  /// Where its API listens. At most 255 bytes.
  public var api: String
  /// At most 64 bytes.
  public var zone: String
  /// Of the program. At most 64 bytes.
  public var version: String
  /// It takes no more runners.
  public var isDraining: Bool
  /// The lowest and the highest version of the protocol that it speaks.
  public var protocols: ClosedRange<UInt8>
  /// In milliseconds since 1970, by the member's own clock: tells its lives apart, and is compared for nothing else.
  public var startedAt: UInt64

  public init(
    address: MemberAddress, api: String = "", zone: String = "", version: String = "", isDraining: Bool = false,
    protocols: ClosedRange<UInt8> = SWIM.supportedProtocols, startedAt: UInt64 = 0
  ) {
    self.address = address
    self.api = api
    self.zone = zone
    self.version = version
    self.isDraining = isDraining
    self.protocols = protocols
    self.startedAt = startedAt
  }

  public static func == (a: MemberProfile, b: MemberProfile) -> Bool {
    a.address == b.address && a.startedAt == b.startedAt && a.isDraining == b.isDraining && a.protocols == b.protocols
      && a.api.isExactly(b.api) && a.zone.isExactly(b.zone) && a.version.isExactly(b.version)
  }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(address)
    hasher.combine(startedAt)
  }

  var isValid: Bool {
    (1...MemberAddress.maximumBytes).contains(address.rawValue.utf8.count) && api.utf8.count <= Self.maximumAPIBytes
      && zone.utf8.count <= Self.maximumTextBytes && version.utf8.count <= Self.maximumTextBytes
  }
}

/// One member as another sees it.
public struct Member: Hashable, Sendable {
  public let name: MemberName
  public internal(set) var profile: MemberProfile
  public internal(set) var incarnation: Incarnation
  public internal(set) var state: MemberState
  /// When it took this state, in the time of `SWIM`.
  public internal(set) var since: Duration

  /// Whether it is believed to take part.
  public var isPresent: Bool { state == .alive || state == .suspect }
}

/// A statement about a member, as it travels.
public struct News: Hashable, Sendable {
  public var name: MemberName
  public var state: MemberState
  public var incarnation: Incarnation
  public var profile: MemberProfile
  /// Who says so; of a suspicion, each accuser counts once.
  public var source: MemberName
  /// For how many seconds the member has been gone, if it is: it is forgotten in time, by whomever and whenever it was
  /// heard of.
  var age: UInt32 = 0

  var isGone: Bool { state == .failed || state == .left }

  public init(
    name: MemberName, state: MemberState, incarnation: Incarnation, profile: MemberProfile, source: MemberName
  ) {
    self.name = name
    self.state = state
    self.incarnation = incarnation
    self.profile = profile
    self.source = source
  }

  /// Whether it is newer than what is known (SWIM, §4.2): only a higher incarnation proves life, any claim of the same
  /// incarnation may worsen the state.
  func overrides(_ member: Member) -> Bool {
    switch state {
    case .alive: incarnation > member.incarnation
    case .suspect, .failed, .left:
      incarnation > member.incarnation
        || (incarnation == member.incarnation && state.rawValue > member.state.rawValue)
    }
  }
}
