// What travels on a peer link once both ends know each other, by TLS: a length in four bytes, then a frame.
//
//   kind (1)  call (8)  payload
//
// A message longer than a piece is sent as several frames of its call, so that others get their turn between them; the first
// one says in four bytes how long the whole is.

/// One frame.
struct Frame: Sendable {
  enum Kind: UInt8, Sendable {
    /// A whole request. The first byte is its channel.
    case request = 1
    /// The length of a request that comes in pieces, and the first of them.
    case requestStart = 2
    case requestPiece = 3
    /// A whole answer.
    case answer = 4
    case answerStart = 5
    case answerPiece = 6
    /// The call has no answer; the payload is one byte, a `Refusal`.
    case refusal = 7
    /// Nobody waits for the answer any more; no more pieces of the request come.
    case cancel = 8
    case ping = 9
    case pong = 10
    /// This end closes the link on purpose; its peer need not worry.
    case goodbye = 11
    /// This end has sent its last request on this link, since there is another.
    case retire = 12
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
  /// Of a message's length, before its first piece.
  static let lengthBytes = 4
  /// Of a frame, without its length.
  static let bytes = headBytes...(headBytes + pieceBytes)
  /// Of a message; one that is longer ends the link.
  static let maximumMessageBytes = 256 << 20

  let kind: Kind
  let call: UInt64
  let payload: [UInt8]
}

extension Frame {
  /// Appends a frame to `output`, its length before it.
  /// - Parameters:
  ///   - total: the length of the message of which this is the first piece.
  ///   - channel: of a request, with its first frame.
  static func append(
    _ kind: Kind, call: UInt64, total: Int? = nil, channel: LinkChannel? = nil, _ payload: UnsafeRawBufferPointer,
    to output: inout [UInt8]
  ) {
    withUnsafeTemporaryAllocation(byteCount: 24, alignment: 8) { head in
      var count = lengthBytes
      head[count] = kind.rawValue
      head.storeBytes(of: call.bigEndian, toByteOffset: count + 1, as: UInt64.self)
      count += headBytes
      if let total {
        head.storeBytes(of: UInt32(total).bigEndian, toByteOffset: count, as: UInt32.self)
        count += lengthBytes
      }
      if let channel {
        head[count] = channel.rawValue
        count += 1
      }
      head.storeBytes(of: UInt32(count - lengthBytes + payload.count).bigEndian, toByteOffset: 0, as: UInt32.self)
      output.append(contentsOf: UnsafeRawBufferPointer(rebasing: head[..<count]))
      output.append(contentsOf: payload)
    }
  }

  /// - Parameter bytes: as `FrameBuffer` cuts them.
  init(_ bytes: UnsafeRawBufferPointer) throws(LinkFault) {
    guard bytes.count >= Self.headBytes, let kind = Kind(rawValue: bytes[0]) else {
      throw LinkFault(reason: "a frame of no known kind")
    }
    self.kind = kind
    call = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 1, as: UInt64.self))
    payload = Array(bytes[Self.headBytes...])
  }
}

/// A message that arrives in pieces.
struct Assembly: Sendable {
  private(set) var bytes: [UInt8] = []
  /// How much of it has still to come.
  private(set) var missing: Int

  /// - Parameter start: its length, and the first piece.
  init(_ start: [UInt8]) throws(LinkFault) {
    guard start.count >= Frame.lengthBytes else { throw LinkFault(reason: "a message without a length") }
    let length = start.withUnsafeBytes { Int(UInt32(bigEndian: $0.loadUnaligned(as: UInt32.self))) }
    guard length <= Frame.maximumMessageBytes else { throw LinkFault(reason: "a message of \(length) bytes") }
    missing = length
    try add(start[Frame.lengthBytes...])
  }

  /// The whole of it is kept in one place from the beginning, and not moved as it grows.
  mutating func add(_ piece: some Collection<UInt8>) throws(LinkFault) {
    guard piece.count <= missing else { throw LinkFault(reason: "more of a message than its length") }
    if bytes.isEmpty { bytes.reserveCapacity(missing) }
    bytes.append(contentsOf: piece)
    missing -= piece.count
  }

  /// It is not wanted; only what is missing counts.
  mutating func forget() { bytes = [] }

  /// So much has come of one that is not wanted.
  mutating func drop(_ count: Int) throws(LinkFault) {
    guard count <= missing else { throw LinkFault(reason: "more of a message than its length") }
    missing -= count
  }
}

/// Why a link ends by what its peer did.
struct LinkFault: Error {
  let reason: String
}
