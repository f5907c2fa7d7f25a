import Gossip

// How two nodes come to know each other on a new connection. Nothing is said before both have shown that they have a key
// of the cluster and its name:
//
//   1  dialler → listener   "hero" 1, 32 random bytes
//   2  listener → dialler   32 random bytes
//   3  dialler → listener   length (2), its introduction, sealed
//   4  listener → dialler   length (2), its introduction, sealed
//
// The sealing keys are derived from a key of the ring, the cluster's name and both random numbers (`Keyring.linkKey`):
// whoever opens an introduction knows that its sender has the key and sealed it for this connection. The dialler uses its
// first key; the listener tries all of its own. Frames follow under the same two keys, so the introductions are frame 0.

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

/// One end's part of it, as a value: bytes in, bytes out.
struct Handshake: Sendable {
  enum Role: Sendable { case dialler, listener }

  enum Step: Sendable {
    case needsMore
    case send([UInt8])
    /// Both know each other. `send` goes out first; what `rest` holds belongs to the frames.
    case done(send: [UInt8], Introduction, sealing: FrameCipher, opening: FrameCipher, rest: [UInt8])
    case refused(LinkRefusal)
  }

  static let magic: [UInt8] = Array("hero".utf8) + [1]
  static let randomBytes = 32
  /// Of a sealed introduction; nothing longer is waited for from a stranger.
  static let maximumIntroductionBytes = 2048

  private enum State: Sendable { case nothing, randomReceived, done }

  private let role: Role
  private let introduction: Introduction
  private let keyring: Keyring
  private let random = Keyring.randomBytes(Handshake.randomBytes)
  private var state = State.nothing
  private var salt: [UInt8] = []
  private var buffer: [UInt8] = []
  private var sealing: FrameCipher?

  init(_ role: Role, _ introduction: Introduction, _ keyring: Keyring) {
    self.role = role
    self.introduction = introduction
    self.keyring = keyring
  }

  /// What the dialler sends first.
  var opening: [UInt8] { role == .dialler ? Self.magic + random : [] }

  /// Bytes arrived; called until there is nothing more to do with them.
  mutating func receive(_ bytes: some Collection<UInt8>) -> Step {
    buffer.append(contentsOf: bytes)
    switch (state, role) {
    case (.nothing, .listener):
      let start = min(buffer.count, Self.magic.count)
      guard buffer[..<start] == Self.magic[..<start] else { return .refused(.notOfThisCluster) }
      guard buffer.count >= Self.magic.count + Self.randomBytes else { return .needsMore }
      salt = Array(buffer[Self.magic.count..<(Self.magic.count + Self.randomBytes)]) + random
      buffer.removeFirst(Self.magic.count + Self.randomBytes)
      state = .randomReceived
      return .send(random)
    case (.nothing, .dialler):
      guard buffer.count >= Self.randomBytes else { return .needsMore }
      salt = random + buffer[..<Self.randomBytes]
      buffer.removeFirst(Self.randomBytes)
      state = .randomReceived
      let sealing = cipher(key: 0, "dialler", isSealing: true)
      self.sealing = sealing
      return .send(sealed(introduction, by: sealing))
    case (.randomReceived, _): return introduced()
    case (.done, _): return .needsMore
    }
  }

  private mutating func introduced() -> Step {
    guard buffer.count >= 2 else { return .needsMore }
    let count = Int(buffer[0]) << 8 | Int(buffer[1])
    guard count <= Self.maximumIntroductionBytes else { return .refused(.notOfThisCluster) }
    guard buffer.count >= 2 + count else { return .needsMore }
    let sealed = Array(buffer[2..<(2 + count)])
    let theirs = role == .dialler ? "listener" : "dialler"
    // The dialler used its first key, which may be any of the listener's; the answer comes under the same one.
    for number in 0..<(role == .dialler ? 1 : keyring.count) {
      let opening = cipher(key: number, theirs, isSealing: false)
      guard let bytes = opening.open(sealed) else { continue }
      guard let peer = try? Introduction(wireBytes: bytes) else { return .refused(.notOfThisCluster) }
      state = .done
      var answer: [UInt8] = []
      let sealing = self.sealing ?? cipher(key: number, "listener", isSealing: true)
      if role == .listener { answer = self.sealed(introduction, by: sealing) }
      let rest = Array(buffer[(2 + count)...])
      buffer = []
      return .done(send: answer, peer, sealing: sealing, opening: opening, rest: rest)
    }
    return .refused(.notOfThisCluster)
  }

  private func cipher(key: Int, _ label: String, isSealing: Bool) -> FrameCipher {
    FrameCipher(key: keyring.linkKey(key, label: label, salt: salt), isSealing: isSealing)
  }

  private func sealed(_ introduction: Introduction, by cipher: FrameCipher) -> [UInt8] {
    let bytes = cipher.seal(introduction.wireBytes)
    return [UInt8(bytes.count >> 8), UInt8(bytes.count & 0xFF)] + bytes
  }
}
