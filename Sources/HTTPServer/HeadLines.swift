/// Walks the lines of a head or of trailers: each ends with CRLF, none holds a bare CR or LF, none is folded.
struct HeadLines {
  private let bytes: UnsafeRawBufferPointer
  private(set) var offset = 0
  private(set) var isAtEnd = false

  init(_ bytes: UnsafeRawBufferPointer) {
    self.bytes = bytes
  }

  /// Empty lines before a request are left over from clients that end a body with CRLF (RFC 9112 §2.2).
  mutating func skipEmptyLines() {
    while offset + 1 < bytes.count, bytes[offset] == .carriageReturn, bytes[offset + 1] == .lineFeed { offset += 2 }
  }

  /// The next line without its CRLF; nil at the empty line, which must be the end (`isAtEnd`).
  mutating func next() throws(Refusal) -> Range<Int>? {
    let start = offset
    guard let feed = bytes.firstOffset(of: .lineFeed, in: start..<bytes.count), feed > start,
      bytes.firstOffset(of: .carriageReturn, in: start..<feed) == feed - 1
    else { throw Refusal(400, "a line does not end with CRLF") }
    offset = feed + 1
    if feed - 1 == start {
      isAtEnd = offset == bytes.count
      return nil
    }
    return start..<feed - 1
  }

  /// The name of a field line; a blank before it (folding, RFC 9112 §5.2) or behind it (§5.1) is refused.
  static func name(of line: Range<Int>, in bytes: UnsafeRawBufferPointer) throws(Refusal) -> Range<Int> {
    guard !bytes[line.lowerBound].isBlank else { throw Refusal(400, "folded header fields are not accepted") }
    guard let colon = bytes.firstOffset(of: .colon, in: line), colon > line.lowerBound, !bytes[colon - 1].isBlank
    else { throw Refusal(400, "a header field has no valid name") }
    return line.lowerBound..<colon
  }
}
