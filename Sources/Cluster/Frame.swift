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
    /// The call has no answer; the payload is one byte, a `Refusal`.
    case refusal = 5
    /// Nobody waits for the answer any more; no more pieces of the request come.
    case cancel = 6
    case ping = 7
    case pong = 8
    /// This end closes the link on purpose; its peer need not worry.
    case goodbye = 9
    /// This end has sent its last request on this link, since there is another.
    case retire = 10
  }

  enum Refusal: UInt8, Sendable {
    /// Too much is under way; the request was not carried out.
    case overloaded = 1
    case failed = 2
    /// The answer is larger than a message may be.
    case tooBig = 3
  }

  /// Of a payload in one frame. Small enough that nobody waits long behind it, large enough that its head does not matter.
  static let pieceBytes = 65_536
  static let headBytes = 9
  /// Of a sealed frame.
  static let sealedBytes = (headBytes + FrameCipher.tagBytes)...(headBytes + pieceBytes + FrameCipher.tagBytes)
  /// Of a message in pieces; a longer one ends the link.
  static let maximumMessageBytes = 256 << 20

  let kind: Kind
  let call: UInt64
  let payload: [UInt8]
}

/// Why a link ends by what its peer did.
struct LinkFault: Error {
  let reason: String
}
