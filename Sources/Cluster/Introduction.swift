import Gossip

/// What a node says of itself to a peer.
public struct Introduction: Hashable, Sendable, WireValue {
  public var name: MemberName
  public var profile: MemberProfile
  /// Random, one a run of the program: tells a restarted node from the one before.
  public var instance: UInt64

  public init(name: MemberName, profile: MemberProfile, instance: UInt64) {
    self.name = name
    self.profile = profile
    self.instance = instance
  }

  public func encode(into writer: inout WireWriter) {
    writer.addInteger(profile.protocols.lowerBound)
    writer.addInteger(profile.protocols.upperBound)
    writer.addInteger(instance)
    writer.addInteger(profile.startedAt)
    for text in [name.rawValue, profile.address.rawValue, profile.api, profile.zone, profile.version] {
      writer.add(text)
    }
  }

  public init(from reader: inout WireReader) throws(MalformedWire) {
    let low: UInt8 = try reader.integer()
    let high: UInt8 = try reader.integer()
    guard low <= high else { throw MalformedWire("an empty range of versions") }
    instance = try reader.integer()
    let startedAt: UInt64 = try reader.integer()
    let name: String = try reader.value()
    let address: String = try reader.value()
    guard (1...128).contains(name.utf8.count), (1...64).contains(address.utf8.count) else {
      throw MalformedWire("invalid name or address")
    }
    self.name = MemberName(name)
    profile = MemberProfile(
      address: MemberAddress(address), api: try reader.value(), zone: try reader.value(), version: try reader.value(),
      protocols: low...high, startedAt: startedAt)
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
