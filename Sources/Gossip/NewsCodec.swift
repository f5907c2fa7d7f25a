import ExactText

// News, claims and the whole state as bytes.
//
//   news   state (1)  [age in seconds (4), of the failed and left]  incarnation (8)  name  address  api  zone  version
//          flags (1: draining)  lowest and highest protocol (1, 1)  start in ms since 1970 (8)  source
//   claim  state (1)  [age in seconds (4), of the removed]  epoch (8)  revision (8)  runner  queue  owner
//   state  format (1)  count of news (4)  news …  count of claims (4)  claims …
//          count of records (4)  records … (`RecordCodec.swift`)

extension MembershipState {
  static let format: UInt8 = 2

  /// Of `encoded`, in bytes.
  package var encodedSize: Int {
    news.reduce(13) { $0 + $1.encodedSize } + claims.reduce(0) { $0 + $1.encodedSize }
      + records.reduce(0) { $0 + $1.encodedSize }
  }

  public func encoded() -> [UInt8] {
    var writer = ByteWriter()
    writer.add(Self.format)
    writer.add(UInt32(news.count))
    for news in news { news.encode(into: &writer) }
    writer.add(UInt32(claims.count))
    for claim in claims { claim.encode(into: &writer) }
    writer.add(raw: Record.encoded(records))
    return writer.bytes
  }

  /// - Throws: `MalformedPacket`, whatever the bytes are.
  public init(decoding bytes: [UInt8]) throws(MalformedPacket) {
    var reader = ByteReader(bytes)
    guard try reader.byte() == Self.format else { throw MalformedPacket("unknown format") }
    self.init()
    // Nothing is reserved for a count that bytes may not follow.
    for _ in 0..<(try reader.integer() as UInt32) { news.append(try News(from: &reader)) }
    for _ in 0..<(try reader.integer() as UInt32) { claims.append(try RunnerClaim(from: &reader)) }
    records = try Record.read(from: &reader)
    guard reader.isAtEnd else { throw MalformedPacket("bytes after the end") }
  }
}

extension News: Spreadable {
  /// Largest incarnation, epoch and revision that is accepted: it must be possible to count on.
  static let maximumCounter = UInt64.max / 2
  /// With a name and an address of one byte.
  static let smallestSize = 29
  /// With all texts as long as they may be.
  static let largestSize =
    smallestSize - 3 + 4 + 2 * MemberName.maximumBytes + MemberAddress.maximumBytes
    + MemberProfile.maximumAPIBytes + 2 * MemberProfile.maximumTextBytes

  var subject: MemberName { name }

  var encodedSize: Int {
    Self.smallestSize - 3 + (isGone ? 4 : 0) + name.rawValue.utf8.count + profile.address.rawValue.utf8.count
      + profile.api.utf8.count + profile.zone.utf8.count + profile.version.utf8.count + source.rawValue.utf8.count
  }

  func encode(into writer: inout ByteWriter) {
    writer.add(state.rawValue)
    if isGone { writer.add(age) }
    writer.add(incarnation.rawValue)
    writer.add(name.rawValue)
    writer.add(profile.address.rawValue)
    writer.add(profile.api)
    writer.add(profile.zone)
    writer.add(profile.version)
    writer.add(profile.isDraining ? 1 : 0 as UInt8)
    writer.add(profile.protocols.lowerBound)
    writer.add(profile.protocols.upperBound)
    writer.add(profile.startedAt)
    writer.add(source.rawValue)
  }

  init(from reader: inout ByteReader) throws(MalformedPacket) {
    guard let state = MemberState(rawValue: try reader.byte()) else { throw MalformedPacket("unknown state") }
    let age = state == .failed || state == .left ? try reader.integer() as UInt32 : 0
    let incarnation = Incarnation(try reader.counter())
    let name = try reader.name()
    var profile = MemberProfile(
      address: try reader.address(), api: try reader.string(atMost: MemberProfile.maximumAPIBytes),
      zone: try reader.string(atMost: MemberProfile.maximumTextBytes),
      version: try reader.string(atMost: MemberProfile.maximumTextBytes))
    let flags = try reader.byte()
    guard flags <= 1 else { throw MalformedPacket("unknown flags") }
    profile.isDraining = flags == 1
    let (lowest, highest) = (try reader.byte(), try reader.byte())
    guard lowest <= highest else { throw MalformedPacket("no protocol") }
    profile.protocols = lowest...highest
    profile.startedAt = try reader.integer()
    self.init(name: name, state: state, incarnation: incarnation, profile: profile, source: try reader.name())
    self.age = age
  }
}

extension RunnerClaim: Spreadable {
  /// With names of one byte.
  static let smallestSize = 23
  /// With names as long as they may be.
  static let largestSize = smallestSize - 3 + 4 + 2 * maximumNameBytes + MemberName.maximumBytes

  var subject: ExactText { ExactText(runner) }

  var encodedSize: Int {
    Self.smallestSize - 3 + (state == .removed ? 4 : 0) + runner.utf8.count + queue.utf8.count
      + owner.rawValue.utf8.count
  }

  func encoded() -> [UInt8] {
    var writer = ByteWriter()
    encode(into: &writer)
    return writer.bytes
  }

  func encode(into writer: inout ByteWriter) {
    writer.add(state.rawValue)
    if state == .removed { writer.add(age) }
    writer.add(epoch)
    writer.add(revision)
    writer.add(runner)
    writer.add(queue)
    writer.add(owner.rawValue)
  }

  init(from reader: inout ByteReader) throws(MalformedPacket) {
    guard let state = RunnerClaimState(rawValue: try reader.byte()) else { throw MalformedPacket("unknown state") }
    let age = state == .removed ? try reader.integer() as UInt32 : 0
    let (epoch, revision) = (try reader.counter(), try reader.counter())
    let runner = try reader.string(atMost: Self.maximumNameBytes)
    let queue = try reader.string(atMost: Self.maximumNameBytes)
    guard !runner.isEmpty, !queue.isEmpty else { throw MalformedPacket("an empty name") }
    self.init(
      runner: runner, queue: queue, owner: try reader.name(), epoch: epoch, revision: revision, state: state)
    self.age = age
  }
}
