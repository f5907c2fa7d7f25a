import DequeModule

// Messages that wait for their turn on a link. A message of one frame goes before those of many; of the long ones each
// sends a piece in turn. So a call of 64 MiB delays others by a piece, and never is nothing of it sent.

struct Outbox: Sendable {
  /// A request or an answer, by the number of its call.
  enum Key: Hashable, Sendable {
    case request(UInt64)
    case answer(UInt64)
  }

  /// One frame's share of a message.
  struct Piece {
    let key: Key
    /// Of a request, with its first piece.
    let channel: LinkChannel?
    let body: [UInt8]
    let range: Range<Int>

    var isFirst: Bool { range.lowerBound == 0 }
    var isLast: Bool { range.upperBound == body.count }
  }

  private struct Message {
    let channel: LinkChannel?
    let body: [UInt8]
    var sent = 0

    var isShort: Bool { Outbox.isShort(body) }
  }

  /// Whether a message takes one frame, with its channel if it has one.
  static func isShort(_ body: [UInt8]) -> Bool { body.count < Frame.pieceBytes }

  private var messages: [Key: Message] = [:]
  /// Turns of short and of long messages; those of messages that were removed are passed over.
  private var short = Deque<Key>()
  private var long = Deque<Key>()
  /// Of short messages since a long one had its turn.
  private var bytesBeforeLong = 0
  private(set) var requests = 0
  /// Of all answers that wait.
  private(set) var answerBytes = 0

  var isEmpty: Bool { messages.isEmpty }

  mutating func add(_ key: Key, channel: LinkChannel? = nil, _ body: [UInt8]) {
    let message = Message(channel: channel, body: body)
    messages[key] = message
    if message.isShort { short.append(key) } else { long.append(key) }
    count(key, body.count, 1)
  }

  /// It shall not be sent, as far as it was not yet.
  /// - Returns: how much of it was sent, `nil` when it is not here: all of it was, or nothing.
  mutating func remove(_ key: Key) -> Int? {
    guard let message = messages.removeValue(forKey: key) else { return nil }
    count(key, -message.body.count, -1)
    return message.sent
  }

  /// The next piece to send.
  mutating func next() -> Piece? {
    while let key = takeTurn() {
      guard let message = messages[key] else { continue }
      let isFirst = message.sent == 0
      // Its length and its channel take a few bytes of the first piece.
      let room = isFirst && !message.isShort ? Frame.pieceBytes - Frame.lengthBytes - 1 : Frame.pieceBytes
      let end = min(message.sent + room, message.body.count)
      let piece = Piece(
        key: key, channel: isFirst ? message.channel : nil, body: message.body, range: message.sent..<end)
      if message.isShort { bytesBeforeLong += end } else { bytesBeforeLong = 0 }
      if piece.isLast {
        _ = remove(key)
      } else {
        messages[key]!.sent = end
        long.append(key)
      }
      return piece
    }
    return nil
  }

  private mutating func takeTurn() -> Key? {
    if bytesBeforeLong < Frame.pieceBytes || long.isEmpty, let key = short.popFirst() { return key }
    return long.popFirst() ?? short.popFirst()
  }

  private mutating func count(_ key: Key, _ bytes: Int, _ messages: Int) {
    switch key {
    case .request: requests += messages
    case .answer: answerBytes += bytes
    }
  }
}
