// Packets as bytes. All numbers are big-endian; a string is its length in one byte, then UTF-8.
//
//   version (1)  kind (1)  [number (4)  [target  [address]]]  count of news (1)
//   news: state (1)  incarnation (8)  name  address  api  zone  version  source

extension Packet {
  /// The first byte; a member that does not know it drops the packet.
  static let version: UInt8 = 1
  /// Version, kind of message, count of news.
  static let headerBytes = 3

  public func encoded() -> [UInt8] {
    var writer = ByteWriter()
    writer.add(Self.version)
    writer.add(message?.kind ?? 0)
    if let message { message.encode(into: &writer) }
    writer.add(UInt8(news.count))
    for news in news { news.encode(into: &writer) }
    return writer.bytes
  }

  /// - Throws: `MalformedPacket`, whatever the bytes are.
  public init(decoding bytes: [UInt8]) throws(MalformedPacket) {
    var reader = ByteReader(bytes)
    guard try reader.byte() == Self.version else { throw MalformedPacket("unknown version") }
    message = try Message(kind: try reader.byte(), from: &reader)
    let count = try reader.byte()
    news = []
    for _ in 0..<count { news.append(try News(from: &reader)) }
    guard reader.isAtEnd else { throw MalformedPacket("bytes after the end") }
  }
}

/// Why bytes are not a packet. Such packets are counted and dropped.
public struct MalformedPacket: Error, Hashable, Sendable {
  public let reason: String
  init(_ reason: String) { self.reason = reason }
}

extension Message {
  fileprivate var kind: UInt8 {
    switch self {
    case .ping: 1
    case .pingRequest: 2
    case .acknowledge: 3
    case .negative: 4
    case .crashPingRequest: 5
    }
  }

  /// Without its kind.
  var encodedSize: Int {
    switch self {
    case .ping(_, let target): 5 + target.rawValue.utf8.count
    case .pingRequest(_, let target, let address), .crashPingRequest(_, let target, let address):
      6 + target.rawValue.utf8.count + address.rawValue.utf8.count
    case .acknowledge, .negative: 4
    }
  }

  fileprivate func encode(into writer: inout ByteWriter) {
    switch self {
    case .ping(let number, let target):
      writer.add(number.rawValue)
      writer.add(target.rawValue)
    case .pingRequest(let number, let target, let address), .crashPingRequest(let number, let target, let address):
      writer.add(number.rawValue)
      writer.add(target.rawValue)
      writer.add(address.rawValue)
    case .acknowledge(let number), .negative(let number): writer.add(number.rawValue)
    }
  }

  fileprivate init?(kind: UInt8, from reader: inout ByteReader) throws(MalformedPacket) {
    guard kind > 0 else { return nil }
    guard kind <= 5 else { throw MalformedPacket("unknown message") }
    let number = ProbeNumber(try reader.integer())
    switch kind {
    case 1: self = .ping(number, target: try reader.name())
    case 2: self = .pingRequest(number, target: try reader.name(), address: try reader.address())
    case 3: self = .acknowledge(number)
    case 4: self = .negative(number)
    default: self = .crashPingRequest(number, target: try reader.name(), address: try reader.address())
    }
  }
}

extension News {
  /// State, incarnation, six strings of which two are not empty.
  static let smallestSize = 17

  var encodedSize: Int {
    15 + name.rawValue.utf8.count + profile.address.rawValue.utf8.count + profile.api.utf8.count
      + profile.zone.utf8.count + profile.version.utf8.count + source.rawValue.utf8.count
  }

  fileprivate func encode(into writer: inout ByteWriter) {
    writer.add(state.rawValue)
    writer.add(incarnation.rawValue)
    for text in [name.rawValue, profile.address.rawValue, profile.api, profile.zone, profile.version, source.rawValue] {
      writer.add(text)
    }
  }

  fileprivate init(from reader: inout ByteReader) throws(MalformedPacket) {
    guard let state = MemberState(rawValue: try reader.byte()) else { throw MalformedPacket("unknown state") }
    self.state = state
    incarnation = Incarnation(try reader.integer())
    name = try reader.name()
    profile = MemberProfile(
      address: try reader.address(), api: try reader.string(), zone: try reader.string(), version: try reader.string())
    source = try reader.name()
  }
}

private struct ByteWriter {
  private(set) var bytes: [UInt8] = []

  mutating func add(_ integer: some FixedWidthInteger) {
    withUnsafeBytes(of: integer.bigEndian) { bytes.append(contentsOf: $0) }
  }

  /// - Precondition: at most 255 bytes.
  mutating func add(_ string: String) {
    bytes.append(UInt8(string.utf8.count))
    bytes.append(contentsOf: string.utf8)
  }
}

private struct ByteReader {
  private var rest: ArraySlice<UInt8>
  init(_ bytes: [UInt8]) { rest = bytes[...] }

  var isAtEnd: Bool { rest.isEmpty }

  mutating func byte() throws(MalformedPacket) -> UInt8 { try integer() }

  mutating func integer<I: FixedWidthInteger>() throws(MalformedPacket) -> I {
    let bytes = try take(I.bitWidth / 8)
    return bytes.reduce(0) { $0 << 8 | I($1) }
  }

  mutating func string() throws(MalformedPacket) -> String {
    guard let string = String(validating: try take(Int(try byte())), as: UTF8.self) else {
      throw MalformedPacket("invalid UTF-8")
    }
    return string
  }

  mutating func name() throws(MalformedPacket) -> MemberName {
    let string = try string()
    guard !string.isEmpty, string.utf8.count <= 128 else { throw MalformedPacket("invalid name") }
    return MemberName(string)
  }

  mutating func address() throws(MalformedPacket) -> MemberAddress {
    let string = try string()
    guard !string.isEmpty, string.utf8.count <= 64 else { throw MalformedPacket("invalid address") }
    return MemberAddress(string)
  }

  private mutating func take(_ count: Int) throws(MalformedPacket) -> ArraySlice<UInt8> {
    guard rest.count >= count else { throw MalformedPacket("cut short") }
    defer { rest = rest.dropFirst(count) }
    return rest.prefix(count)
  }
}
