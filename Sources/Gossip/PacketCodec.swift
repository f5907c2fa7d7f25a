// Packets as bytes. All numbers are big-endian; a string is its length in one byte, then UTF-8.
//
//   version (1)  kind (1)  [number (4)  [target  [address]]]  [digest (8)]
//   count of news (1)  news …  count of claims (1)  claims …  count of records (1)  records …
//
// `NewsCodec.swift` says how news and claims are written, `RecordCodec.swift` how records are.

extension Packet {
  /// The first byte; a member that does not know it drops the packet.
  static let version: UInt8 = 2
  /// Version, kind of message, counts of news, claims and records.
  static let headerBytes = 5
  /// Of the digest, if there is one.
  static let digestBytes = 8
  /// Added to the kind of message when a digest follows it.
  private static let digestFlag: UInt8 = 0x80

  /// - Precondition: at most 255 news, 255 claims and 255 records, and texts as long as their types say.
  public func encoded() -> [UInt8] {
    var writer = ByteWriter()
    writer.add(Self.version)
    writer.add((message?.kind ?? 0) | (digest == nil ? 0 : Self.digestFlag))
    if let message { message.encode(into: &writer) }
    if let digest { writer.add(digest) }
    writer.add(UInt8(news.count))
    for news in news { news.encode(into: &writer) }
    writer.add(UInt8(claims.count))
    for claim in claims { claim.encode(into: &writer) }
    writer.add(UInt8(records.count))
    for record in records { record.encode(into: &writer) }
    return writer.bytes
  }

  /// - Throws: `MalformedPacket`, whatever the bytes are.
  public init(decoding bytes: [UInt8]) throws(MalformedPacket) {
    self.init()
    var reader = ByteReader(bytes)
    guard try reader.byte() == Self.version else { throw MalformedPacket("unknown version") }
    let kind = try reader.byte()
    message = try Message(kind: kind & ~Self.digestFlag, from: &reader)
    digest = kind & Self.digestFlag == 0 ? nil : try reader.integer()
    for _ in 0..<(try reader.byte()) { news.append(try News(from: &reader)) }
    for _ in 0..<(try reader.byte()) { claims.append(try RunnerClaim(from: &reader)) }
    for _ in 0..<(try reader.byte()) { records.append(try Record(from: &reader)) }
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
