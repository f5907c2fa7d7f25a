// The request line and header fields of one request, read from the bytes that llhttp has accepted. The lines are
// walked a second time here because llhttp 8.1 still takes what RFC 9112 tells a server to refuse (folded lines, bare
// line feeds before a request, a request line without a version, several blanks between its parts), and because a
// proxy in front that reads the same bytes differently is how requests are smuggled.

struct RequestHead {
  let method: HTTPMethod
  let target: String
  let headers: HTTPHeaders
  let isHTTP10: Bool
  let framing: Framing
  let expectation: Expectation
  /// Where the one value of `Host` stands in the block of `headers`; nil when HTTP/1.0 sent none.
  let host: Range<Int>?
  /// The value of `Origin`, which only browsers send.
  let origin: String?
  /// The name of the first field that only proxies send, cut if it is long.
  let proxyField: String?
  /// Bytes of it that are kept in memory.
  var heldBytes: Int { target.utf8.count + headers.block.count }

  enum Framing: Equatable {
    case length(UInt64)
    case chunked
  }
  enum Expectation { case none, `continue`, unknown }
}

extension RequestHead {
  /// Reads a head.
  /// - Parameters:
  ///   - bytes: from the first byte of the message to the end of its empty line.
  ///   - method: as llhttp named it.
  ///   - version: major × 10 + minor, as llhttp read it.
  /// - Throws: `Refusal` for what must not be served.
  init(
    _ bytes: UnsafeRawBufferPointer, method: HTTPMethod, version: Int, maxTargetBytes: Int, wantsOrigin: Bool
  ) throws(Refusal) {
    var lines = HeadLines(bytes)
    lines.skipEmptyLines()
    guard let requestLine = try lines.next() else { throw Refusal(400, "the request line is missing") }
    target = try Self.target(bytes, requestLine, maxBytes: maxTargetBytes)
    guard version == 11 || version == 10 else { throw .versionNotSpoken }

    let fieldsStart = lines.offset
    var fields = SpecialFields()
    while let line = try lines.next() {
      try fields.note(line, in: bytes, wantsOrigin: wantsOrigin)
    }
    guard lines.isAtEnd else { throw Refusal(400, "the head ends in a wrong place") }

    isHTTP10 = version == 10
    framing = try fields.framing(isHTTP10: isHTTP10)
    if !isHTTP10, fields.host == nil { throw Refusal(400, "the Host field is missing") }
    host = fields.host.map { $0.lowerBound - fieldsStart..<$0.upperBound - fieldsStart }
    origin = fields.origin
    // Answers and the log repeat it, and the client has chosen its end.
    proxyField = fields.proxy.map { String(decoding: bytes[$0].prefix(32), as: UTF8.self) }
    expectation = isHTTP10 ? .none : fields.expectation
    self.method = method
    headers = HTTPHeaders(block: Array(bytes[fieldsStart..<bytes.count - 2]))
  }

  /// Checks a trailer section, from behind the last chunk to the empty line: the same rules for lines as in a head.
  static func checkTrailers(_ bytes: UnsafeRawBufferPointer) throws(Refusal) {
    var lines = HeadLines(bytes)
    while let line = try lines.next() { _ = try HeadLines.name(of: line, in: bytes) }
    guard lines.isAtEnd else { throw Refusal(400, "the trailers end in a wrong place") }
  }

  /// The target: what stands between the one space after the method and the one before the version.
  private static func target(
    _ bytes: UnsafeRawBufferPointer, _ line: Range<Int>, maxBytes: Int
  ) throws(Refusal) -> String {
    let versionStart = line.upperBound - 9  // " HTTP/1.1"
    guard let space = bytes.firstOffset(of: .space, in: line), space + 1 < versionStart,
      bytes.firstOffset(of: .space, in: space + 1..<line.upperBound) == versionStart,
      bytes.matches("http/", in: versionStart + 1..<versionStart + 6)
    else { throw Refusal(400, "the request line is malformed") }
    let range = space + 1..<versionStart
    guard range.count <= maxBytes else { throw Refusal(414, "the request target is longer than \(maxBytes) bytes") }
    return String(decoding: bytes[range], as: UTF8.self)
  }
}

/// The fields that decide how a request is framed and whether it is served.
private struct SpecialFields {
  var host: Range<Int>?
  var origin: String?
  /// The name of the first field of a proxy.
  var proxy: Range<Int>?
  var expectation = RequestHead.Expectation.none
  private var length: UInt64?
  private var isChunked = false

  mutating func note(_ line: Range<Int>, in bytes: UnsafeRawBufferPointer, wantsOrigin: Bool) throws(Refusal) {
    let name = try HeadLines.name(of: line, in: bytes)
    if proxy == nil, Self.isOfProxy(name, in: bytes) { proxy = name }
    // The lengths keep all other fields out of the comparisons.
    switch name.count {
    case 4 where bytes.matches("host", in: name):
      guard host == nil else { throw Refusal(400, "the Host field appears twice") }
      host = value(line, name, bytes)
    case 6 where bytes.matches("expect", in: name):
      expectation = bytes.matches("100-continue", in: value(line, name, bytes)) ? .continue : .unknown
    case 6 where wantsOrigin && bytes.matches("origin", in: name):
      origin = String(decoding: bytes[value(line, name, bytes)], as: UTF8.self)
    case 14 where bytes.matches("content-length", in: name):
      guard length == nil else { throw Refusal(400, "the Content-Length field appears twice") }
      length = try Self.number(bytes, value(line, name, bytes))
    case 17 where bytes.matches("transfer-encoding", in: name):
      guard !isChunked else { throw Refusal(400, "the Transfer-Encoding field appears twice") }
      try Self.checkCoding(bytes, value(line, name, bytes))
      isChunked = true
    default: break
    }
  }

  /// `Via` (RFC 9110 §7.6.3), `Forwarded` (RFC 7239), and what stood in for it before: `X-Forwarded-…`, `X-Real-IP`.
  private static func isOfProxy(_ name: Range<Int>, in bytes: UnsafeRawBufferPointer) -> Bool {
    switch bytes[name.lowerBound].asciiLowercased {
    case UInt8(ascii: "v"): bytes.matches("via", in: name)
    case UInt8(ascii: "f"): bytes.matches("forwarded", in: name)
    case UInt8(ascii: "x"):
      bytes.matches("x-real-ip", in: name)
        || name.count >= 11 && bytes.matches("x-forwarded", in: name.lowerBound..<name.lowerBound + 11)
    default: false
    }
  }

  /// RFC 9112 §6.1 and §6.3: one way to find the end of the body, or none at all.
  func framing(isHTTP10: Bool) throws(Refusal) -> RequestHead.Framing {
    guard isChunked else { return .length(length ?? 0) }
    guard length == nil else { throw Refusal(400, "Content-Length and Transfer-Encoding must not appear together") }
    guard !isHTTP10 else { throw Refusal(400, "HTTP/1.0 knows no Transfer-Encoding") }
    return .chunked
  }

  /// Codings before a final `chunked` are lawful but not understood; anything else leaves the body without an end
  /// (RFC 9112 §6.1 and §6.3).
  private static func checkCoding(_ bytes: UnsafeRawBufferPointer, _ value: Range<Int>) throws(Refusal) {
    if bytes.matches("chunked", in: value) { return }
    let last = bytes[value].lastIndex(of: UInt8(ascii: ",")).map { bytes.trimmed($0 + 1..<value.upperBound) }
    guard let last, bytes.matches("chunked", in: last) else { throw Refusal(400, "Transfer-Encoding is malformed") }
    throw Refusal(501, "the only transfer coding understood is chunked")
  }

  private func value(_ line: Range<Int>, _ name: Range<Int>, _ bytes: UnsafeRawBufferPointer) -> Range<Int> {
    bytes.trimmed(name.upperBound + 1..<line.upperBound)
  }

  private static func number(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) throws(Refusal) -> UInt64 {
    guard !range.isEmpty, range.count <= 19 else { throw Refusal(400, "Content-Length is malformed") }
    var number: UInt64 = 0
    for offset in range {
      let digit = bytes[offset] &- 48
      guard digit < 10 else { throw Refusal(400, "Content-Length is malformed") }
      number = number * 10 + UInt64(digit)
    }
    return number
  }
}
