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

  /// The whole as text, invalid UTF-8 repaired; says so when something was dropped.
  var text: String {
    var text = String(decoding: bytes, as: UTF8.self)
    if dropped > 0 { text += "\n[output cut: \(dropped) bytes beyond max_output_bytes (\(limit)) were dropped]\n" }
    return text
  }

  /// The last part as text, without surrounding white space, at most `maximum` bytes.
  func end(maximum: Int = OutputCapture.endBytes) -> String {
    let last = droppedEnd.isEmpty ? bytes[...] : droppedEnd[...]
    let trimmed = last.suffix(maximum).drop { $0 <= 0x20 }
    let stop = trimmed.lastIndex { $0 > 0x20 } ?? trimmed.startIndex - 1
    let text = String(decoding: trimmed[trimmed.startIndex..<stop + 1], as: UTF8.self)
    return last.count > maximum || dropped > 0 || !droppedEnd.isEmpty ? "… \(text)" : text
  }
}
