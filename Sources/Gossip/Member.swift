// Who is in the cluster, as one member sees it.

/// A member's name: 1 to 128 bytes of UTF-8, checked where it comes in.
public struct MemberName: Hashable, Comparable, Sendable, CustomStringConvertible {
  public let rawValue: String
  public init(_ rawValue: String) { self.rawValue = rawValue }
  public var description: String { rawValue }
  public static func < (a: MemberName, b: MemberName) -> Bool {
    a.rawValue.utf8.lexicographicallyPrecedes(b.rawValue.utf8)
  }
}

/// Where a member receives packets: an IP address and a port, as `SocketAddress` writes them. At most 64 bytes.
public struct MemberAddress: Hashable, Sendable, CustomStringConvertible {
  public let rawValue: String
  public init(_ rawValue: String) { self.rawValue = rawValue }
  public var description: String { rawValue }
}

/// A member's own counter: only the member itself raises it, to refute what is said of it (SWIM, §4.2).
public struct Incarnation: Hashable, Comparable, Sendable {
  public var rawValue: UInt64
  public init(_ rawValue: UInt64) { self.rawValue = rawValue }
  public static func < (a: Incarnation, b: Incarnation) -> Bool { a.rawValue < b.rawValue }
  func next() -> Incarnation { Incarnation(rawValue + 1) }
}

public enum MemberState: UInt8, Hashable, Sendable, CaseIterable {
  case alive, suspect, failed, left
}

/// What a member says of itself.
public struct MemberProfile: Hashable, Sendable {
  public var address: MemberAddress
  /// Where its API listens.
  public var api: String
  public var zone: String
  /// Of the program.
  public var version: String

  public init(address: MemberAddress, api: String = "", zone: String = "", version: String = "") {
    self.address = address
    self.api = api
    self.zone = zone
    self.version = version
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
