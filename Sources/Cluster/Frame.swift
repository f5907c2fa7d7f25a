// What travels on a peer link once both ends know each other: a length in four bytes, then a sealed frame.
//
//   kind (1)  call (8)  payload
//
// A message longer than a piece is sent as several frames of its call, so that others get their turn between them.

/// One frame, opened.
struct Frame: Sendable {
  enum Kind: UInt8, Sendable {
    /// A piece of a request that goes on.
    case requestPiece = 1
    /// The last piece of a request, mostly the only one. The first byte of the whole is its channel.
    case request = 2
    case answerPiece = 3
    case answer = 4
    /// The request was not carried out; its payload is one byte, a `Refusal`.
    case refusal = 5
    /// Nobody waits for the answer any more.
    case cancel = 6
    case ping = 7
    case pong = 8
    /// This end closes the link on purpose; its peer need not worry.
    case goodbye = 9
    /// This end makes no more calls on this link, since there is another.
    case retire = 10
  }

  enum Refusal: UInt8, Sendable {
    case overloaded = 1
    case failed = 2
  }

  /// Of a payload in one frame. Small enough that nobody waits long behind it, large enough that its head does not matter.
  static let pieceBytes = 65_536
  static let headBytes = 9
  /// Of a sealed frame.
  static let maximumBytes = headBytes + pieceBytes + FrameCipher.tagBytes
  /// Of a message in pieces; a longer one ends the link.
  static let maximumMessageBytes = 256 << 20

  var kind: Kind
  var call: UInt64
  /// The opened bytes; the payload begins after the head.
  var bytes: [UInt8]

  init?(_ bytes: [UInt8]) {
    guard bytes.count >= Self.headBytes, let kind = Kind(rawValue: bytes[0]) else { return nil }
    self.kind = kind
    call = bytes.withUnsafeBytes { UInt64(bigEndian: $0.loadUnaligned(fromByteOffset: 1, as: UInt64.self)) }
    self.bytes = bytes
  }

  static func encoded(_ kind: Kind, call: UInt64, _ payload: some Collection<UInt8>) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(headBytes + payload.count)
    bytes.append(kind.rawValue)
    withUnsafeBytes(of: call.bigEndian) { bytes.append(contentsOf: $0) }
    bytes.append(contentsOf: payload)
    return bytes
  }
}
