// Bytes to requests, over llhttp. llhttp finds the ends of heads and bodies; it is paused at each of them, so that the
// rules about a request are applied here, between two calls, and not inside callbacks from C.
import CLLHTTP

/// An incremental parser of the requests of one connection.
///
/// `parse` consumes a part of what it is given and says what it came to; the caller goes on with the rest:
/// ```swift
/// let (consumed, step) = parser.parse(rest)
/// ```
/// After `.head` it must be called again even when nothing is left, because a request may end with its head.
final class RequestParser {
  enum Phase { case boundary, head, body, trailers }
  enum Step {
    /// Everything was consumed and the message is not complete.
    case needsMore
    /// The head is complete: look at it, then call again.
    case head(RequestHead)
    /// The message is complete: `takeBody()` and the head that came before make the request.
    case message
    /// No more can be parsed on this connection.
    case refused(Refusal)
  }

  private(set) var phase = Phase.boundary
  /// Bytes of the present body so far.
  var bodyCount: Int { body.count }
  /// Bytes that are kept of a message that is not complete, its head left out once that is.
  var heldBytes: Int { body.count + partialLines.count }
  /// Whether the request that was parsed last lets the connection live on.
  private(set) var keepsAlive = true

  private let limits: HTTPServerConfiguration
  private let wantsOrigin: Bool
  private let raw: UnsafeMutablePointer<llhttp_t>
  private var body: [UInt8] = []
  /// The head, or the trailers, of a message whose bytes come in more than one read.
  private var partialLines: [UInt8] = []
  private var wireBytesOfBody = 0
  private var chunks = 0

  init(limits: HTTPServerConfiguration, wantsOrigin: Bool) {
    self.limits = limits
    self.wantsOrigin = wantsOrigin
    raw = .allocate(capacity: 1)
    llhttp_init(raw, HTTP_REQUEST, requestCallbacks.settings)
    // Unretained: the parser owns `raw` and outlives every call that hands this pointer back.
    raw.pointee.data = Unmanaged.passUnretained(self).toOpaque()
  }

  deinit { raw.deallocate() }

  /// The body of the message that is complete.
  func takeBody() -> [UInt8] {
    let complete = body
    body = []
    return complete
  }

  /// Forgets what came of a message that will not be served; nothing may be parsed afterwards.
  func discard() {
    body = []
    partialLines = []
  }

  func parse(_ bytes: UnsafeRawBufferPointer) -> (consumed: Int, step: Step) {
    if phase == .boundary {
      guard !bytes.isEmpty else { return (0, .needsMore) }
      phase = .head
    }
    // llhttp wants an address even for no bytes.
    let start = bytes.baseAddress?.assumingMemoryBound(to: CChar.self) ?? emptyBytes.address
    switch llhttp_execute(raw, start, bytes.count) {
    case HPE_OK:
      return (bytes.count, more(bytes))
    case HPE_PAUSED:
      let consumed = UnsafePointer(raw.pointee.error_pos)! - start
      llhttp_resume(raw)
      return (consumed, paused(UnsafeRawBufferPointer(rebasing: bytes[..<consumed])))
    case let code:
      return (bytes.count, .refused(refusal(code, bytes)))
    }
  }

  /// The message goes on beyond these bytes.
  private func more(_ bytes: UnsafeRawBufferPointer) -> Step {
    switch phase {
    case .boundary: break
    case .head, .trailers:
      partialLines.append(contentsOf: bytes)
      guard partialLines.count <= limits.maxHeaderBytes else { return .refused(tooLongHead) }
    case .body:
      wireBytesOfBody += bytes.count
      guard hasReasonableFraming else { return .refused(Refusal(431, "the chunk extensions are too long")) }
    }
    return .needsMore
  }

  /// llhttp stopped at the end of a head, of the last chunk, or of a message.
  private func paused(_ bytes: UnsafeRawBufferPointer) -> Step {
    do throws(Refusal) {
      switch phase {
      case .boundary: return .needsMore
      case .head:
        let head = try readLines(bytes) { lines throws(Refusal) in try self.head(lines) }
        try begin(head)
        return .head(head)
      case .body:
        wireBytesOfBody += bytes.count
        guard hasReasonableFraming else { throw Refusal(431, "the chunk extensions are too long") }
        if raw.pointee.flags & UInt16(F_CHUNKED.rawValue) != 0 {
          phase = .trailers
          return .needsMore
        }
      case .trailers:
        try readLines(bytes) { lines throws(Refusal) in try RequestHead.checkTrailers(lines) }
      }
      phase = .boundary
      return .message
    } catch {
      return .refused(error)
    }
  }

  /// Hands over lines that ended just now: from this read alone if they began in it.
  private func readLines<Result>(
    _ bytes: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) throws(Refusal) -> Result
  ) throws(Refusal) -> Result {
    guard partialLines.count + bytes.count <= limits.maxHeaderBytes else {
      partialLines.append(contentsOf: bytes)
      throw tooLongHead
    }
    if partialLines.isEmpty { return try body(bytes) }
    var lines = partialLines
    partialLines = []
    lines.append(contentsOf: bytes)
    let outcome = lines.withUnsafeBytes { whole -> Swift.Result<Result, Refusal> in
      do throws(Refusal) { return .success(try body(whole)) } catch { return .failure(error) }
    }
    return try outcome.get()
  }

  private func head(_ lines: UnsafeRawBufferPointer) throws(Refusal) -> RequestHead {
    try RequestHead(
      lines, method: method, version: Int(raw.pointee.http_major) * 10 + Int(raw.pointee.http_minor),
      maxTargetBytes: limits.maxTargetBytes, wantsOrigin: wantsOrigin)
  }

  private func begin(_ head: RequestHead) throws(Refusal) {
    keepsAlive = llhttp_should_keep_alive(raw) != 0
    // CONNECT is refused, and an offer to upgrade may be ignored (RFC 9110 §7.8): neither ends HTTP here.
    raw.pointee.upgrade = 0
    phase = .body
    wireBytesOfBody = 0
    chunks = 0
    if case .length(let length) = head.framing {
      guard length <= UInt64(limits.maxRequestBytes) else { throw tooLargeBody }
    }
  }

  private var method: HTTPMethod {
    switch llhttp_method_t(rawValue: UInt32(raw.pointee.method)) {
    case HTTP_GET: .get
    case HTTP_HEAD: .head
    case HTTP_POST: .post
    case HTTP_OPTIONS: .options
    case let other: .other(String(cString: llhttp_method_name(other)))
    }
  }

  /// Extensions of chunks are read past, but not without end; 16 bytes is more than the framing of a chunk needs.
  private var hasReasonableFraming: Bool {
    wireBytesOfBody - body.count <= limits.maxHeaderBytes + 16 * chunks
  }

  private var tooLongHead: Refusal {
    partialLines.contains(.lineFeed) || phase == .trailers
      ? Refusal(431, "the header fields are longer than \(limits.maxHeaderBytes) bytes")
      : Refusal(414, "the request target is longer than \(limits.maxTargetBytes) bytes")
  }

  private var tooLargeBody: Refusal { Refusal(413, "the body is larger than \(limits.maxRequestBytes) bytes") }

  private func refusal(_ code: llhttp_errno_t, _ bytes: UnsafeRawBufferPointer) -> Refusal {
    switch code {
    case HPE_USER, HPE_CB_CHUNK_HEADER: return tooLargeBody
    case HPE_PAUSED_H2_UPGRADE: return .versionNotSpoken
    case HPE_INVALID_METHOD:
      // A word that HTTP could know some day, or no HTTP at all (a TLS handshake, for one).
      let offset = raw.pointee.error_pos.map { UnsafeRawPointer($0) - bytes.baseAddress! } ?? 0
      if bytes.indices.contains(offset), bytes[offset].isASCIILetter { return Refusal(501, "unknown method") }
      return Refusal(400, "this is not an HTTP request")
    default:
      let reason = raw.pointee.reason.map { String(cString: $0) } ?? "malformed request"
      // The same code stands for a version that does not exist and for a malformed end of the line.
      if code == HPE_INVALID_VERSION, reason == "Invalid HTTP version" { return .versionNotSpoken }
      return Refusal(400, reason)
    }
  }

  // MARK: callbacks

  fileprivate func onBody(_ bytes: UnsafeRawBufferPointer) -> Int32 {
    guard body.count + bytes.count <= limits.maxRequestBytes else { return Int32(HPE_USER.rawValue) }
    body.append(contentsOf: bytes)
    return 0
  }

  /// - Parameter size: what the chunk says of itself; nothing of it has come.
  fileprivate func onChunkHeader(size: UInt64) -> Int32 {
    chunks += 1
    if size == 0 { return Int32(HPE_PAUSED.rawValue) }
    return size <= UInt64(limits.maxRequestBytes - body.count) ? 0 : Int32(HPE_USER.rawValue)
  }
}

/// The table of callbacks that llhttp reads for every parser; filled once, never written again.
private let requestCallbacks = RequestCallbacks()

private struct RequestCallbacks: @unchecked Sendable {
  // Unchecked: llhttp takes a pointer to memory that must not move; it is immutable after `init` and never freed.
  let settings: UnsafeMutablePointer<llhttp_settings_t>

  init() {
    settings = .allocate(capacity: 1)
    llhttp_settings_init(settings)
    settings.pointee.on_headers_complete = { _ in Int32(HPE_PAUSED.rawValue) }
    settings.pointee.on_message_complete = { _ in Int32(HPE_PAUSED.rawValue) }
    settings.pointee.on_body = { raw, bytes, count in
      Unmanaged<RequestParser>.fromOpaque(raw!.pointee.data)._withUnsafeGuaranteedRef {
        $0.onBody(UnsafeRawBufferPointer(start: bytes, count: count))
      }
    }
    settings.pointee.on_chunk_header = { raw in
      Unmanaged<RequestParser>.fromOpaque(raw!.pointee.data)._withUnsafeGuaranteedRef {
        $0.onChunkHeader(size: raw!.pointee.content_length)
      }
    }
  }
}

/// An address for reads of no bytes.
private let emptyBytes = EmptyBytes()

private struct EmptyBytes: @unchecked Sendable {
  // Unchecked: one byte that nobody writes or frees.
  let address = UnsafePointer(UnsafeMutablePointer<CChar>.allocate(capacity: 1))
}
