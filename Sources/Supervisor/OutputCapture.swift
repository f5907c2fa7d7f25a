/// What is kept of one output stream: the first `limit` bytes, the number of bytes dropped after them, and the last few
/// of those, since the end of standard error is what explains a failure.
struct OutputCapture {
  private(set) var bytes: [UInt8] = []
  private(set) var dropped = 0
  private var droppedEnd: [UInt8] = []
  private let limit: Int

  /// How many of the last dropped bytes are kept.
  private static let endBytes = 4096

  init(limit: Int) { self.limit = limit }

  mutating func append(_ chunk: UnsafeRawBufferPointer) {
    let kept = min(chunk.count, limit - bytes.count)
    bytes.append(contentsOf: chunk.prefix(kept))
    guard kept < chunk.count else { return }
    dropped += chunk.count - kept
    droppedEnd.append(contentsOf: chunk.dropFirst(kept).suffix(Self.endBytes))
    if droppedEnd.count > 2 * Self.endBytes { droppedEnd.removeFirst(droppedEnd.count - Self.endBytes) }
  }

  /// The whole as text, invalid UTF-8 repaired; says so when something was dropped, and then ends with a whole character.
  var text: String {
    guard dropped > 0 else { return String(decoding: bytes, as: UTF8.self) }
    let text = String(decoding: bytes.dropLast(Self.incompleteEnd(of: bytes)), as: UTF8.self)
    return "\(text)\n[output cut: \(dropped) bytes beyond max_output_bytes (\(limit)) were dropped]\n"
  }

  /// The last part as text, without surrounding white space, at most `maximum` bytes, from the beginning of a character on.
  func end(maximum: Int = OutputCapture.endBytes) -> String {
    // What was dropped follows on what was kept, as long as all of it is there.
    let last = dropped == droppedEnd.count ? bytes.suffix(maximum) + droppedEnd : droppedEnd[...]
    let isCut = last.count > maximum || dropped > 0 || bytes.count > maximum
    var part = last.suffix(maximum)
    // RFC 3629: a character has at most three bytes after its first.
    if isCut { part = part.dropFirst(part.prefix(3).prefix { $0 & 0xC0 == 0x80 }.count) }
    let trimmed = part.drop(while: Self.isSpace)
    let stop = trimmed.lastIndex { !Self.isSpace($0) } ?? trimmed.startIndex - 1
    let text = String(decoding: trimmed[trimmed.startIndex..<stop + 1], as: UTF8.self)
    return isCut ? "… \(text)" : text
  }

  private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }

  /// How many bytes at the end begin a character that is not whole.
  private static func incompleteEnd(of bytes: [UInt8]) -> Int {
    for (index, byte) in bytes.suffix(3).reversed().enumerated() where byte & 0xC0 != 0x80 {
      let size = byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4
      return size > index + 1 ? index + 1 : 0
    }
    return 0
  }
}
