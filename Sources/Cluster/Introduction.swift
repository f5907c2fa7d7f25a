import Gossip

/// What a node says of itself to a peer.
public struct Introduction: Hashable, Sendable, WireValue {
  public var name: MemberName
  public var profile: MemberProfile
  /// Random, one a run of the program: tells a restarted node from the one before.
  public var instance: UInt64
  public var standing: Standing

  /// What the node is to the cluster. Of two nodes of one name the one with the higher value stops.
  public enum Standing: UInt8, Sendable, Comparable {
    /// It takes part, with others.
    case member
    /// It has found nobody so far, and works alone.
    case alone
    /// It looks for others, and runs nothing yet.
    case joining

    public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
  }

  public init(name: MemberName, profile: MemberProfile, instance: UInt64, standing: Standing = .member) {
    self.name = name
    self.profile = profile
    self.instance = instance
    self.standing = standing
  }

  /// Whether this is the one that stops, of two nodes of one name: who is a member stays, and no clock is asked. Of two
  /// with the same right the one with the greater address stops.
  func yields(to other: Introduction) -> Bool {
    standing == other.standing ? other.profile.address < profile.address : standing > other.standing
  }

  /// The standing is in the highest bits of the time at which the node was started: so it is the younger one for nodes of
  /// versions that compare these.
  private static let standingShift: UInt64 = 62
  private static let timeMask: UInt64 = 1 << standingShift - 1

  public func encode(into writer: inout WireWriter) {
    writer.addInteger(profile.protocols.lowerBound)
    writer.addInteger(profile.protocols.upperBound)
    writer.addInteger(instance)
    writer.addInteger(profile.startedAt & Self.timeMask | UInt64(standing.rawValue) << Self.standingShift)
    for text in [name.rawValue, profile.address.rawValue, profile.api, profile.zone, profile.version] {
      writer.add(text)
    }
  }

  public init(from reader: inout WireReader) throws(MalformedWire) {
    let low: UInt8 = try reader.integer()
    let high: UInt8 = try reader.integer()
    guard low <= high else { throw MalformedWire("an empty range of versions") }
    instance = try reader.integer()
    let started: UInt64 = try reader.integer()
    guard let standing = Standing(rawValue: UInt8(started >> Self.standingShift)) else {
      throw MalformedWire("no such standing")
    }
    self.standing = standing
    let name: String = try reader.value()
    let address: String = try reader.value()
    guard (1...128).contains(name.utf8.count), (1...64).contains(address.utf8.count) else {
      throw MalformedWire("invalid name or address")
    }
    self.name = MemberName(name)
    profile = MemberProfile(
      address: MemberAddress(address), api: try reader.value(), zone: try reader.value(), version: try reader.value(),
      protocols: low...high, startedAt: started & Self.timeMask)
  }
}

extension Introduction {
  /// The longest that is read, in bytes.
  static let maximumBytes = 2048

  /// As it travels: its length in two bytes before it.
  var framed: [UInt8] {
    let bytes = wireBytes
    return [UInt8(bytes.count >> 8), UInt8(bytes.count & 0xFF)] + bytes
  }

  /// Takes one from the beginning of what has come.
  /// - Returns: `nil` while it is not complete.
  static func take(from buffer: inout [UInt8]) throws(MalformedWire) -> Introduction? {
    guard buffer.count >= 2 else { return nil }
    let count = Int(buffer[0]) << 8 | Int(buffer[1])
    guard count <= maximumBytes else { throw MalformedWire("an introduction of \(count) bytes") }
    guard buffer.count >= 2 + count else { return nil }
    let introduction = try Introduction(wireBytes: Array(buffer[2..<(2 + count)]))
    buffer.removeFirst(2 + count)
    return introduction
  }
}
