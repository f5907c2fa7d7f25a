// Bytes to answers, over llhttp: heads, bodies by length, in chunks, or until the connection ends.
import CLLHTTP

struct HTTPAnswer: Sendable {
  var status: Int
  var body: [UInt8]
  /// Whether the connection can be used again.
  var keepsAlive: Bool
  /// The value of `Hero-Unreachable`, empty without one.
  var unreachable = ""
}

/// An incremental parser of the answers on one connection.
final class HTTPAnswerParser {
  enum Step {
    case needsMore
    case answer(HTTPAnswer)
    case malformed(reason: String)
  }

  private static let maxHeadBytes = 64 * 1024
  private let maxBodyBytes: Int
  private let raw: UnsafeMutablePointer<llhttp_t>
  private var body: [UInt8] = []
  /// The name of the field that is being read, in small letters, as far as it may be the one that matters.
  private var fieldName: [UInt8] = []
  private var isFieldValue = false
  private var unreachable: [UInt8] = []
  private var keepsAlive = true
  private var isInBody = false
  private var headBytes = 0

  init(maxBodyBytes: Int) {
    self.maxBodyBytes = maxBodyBytes
    raw = .allocate(capacity: 1)
    llhttp_init(raw, HTTP_RESPONSE, answerCallbacks.settings)
    // Unretained: the parser owns `raw` and outlives every call that hands this pointer back.
    raw.pointee.data = Unmanaged.passUnretained(self).toOpaque()
  }

  deinit { raw.deallocate() }

  /// Takes bytes up to the end of an answer; nothing may follow it, since one call is on its way at a time.
  func parse(_ bytes: UnsafeRawBufferPointer) -> Step {
    guard let start = bytes.baseAddress?.assumingMemoryBound(to: CChar.self) else { return .needsMore }
    var offset = 0
    while offset < bytes.count {
      let code = llhttp_execute(raw, start + offset, bytes.count - offset)
      if code == HPE_OK {
        if !isInBody { headBytes += bytes.count - offset }
        return headBytes > Self.maxHeadBytes ? .malformed(reason: "its head is too long") : .needsMore
      }
      guard code == HPE_PAUSED else { return .malformed(reason: reason(code)) }
      offset = UnsafePointer(raw.pointee.error_pos)! - start
      llhttp_resume(raw)
      // 100 (Continue) and its like only announce the answer.
      if let answer = complete() { return .answer(answer) }
    }
    return .needsMore
  }

  /// The connection ended; a body without a length ends with it.
  func end() -> Step {
    switch llhttp_finish(raw) {
    case HPE_PAUSED, HPE_OK: isInBody ? complete().map { .answer($0) } ?? .needsMore : .needsMore
    case let code: .malformed(reason: reason(code))
    }
  }

  private func complete() -> HTTPAnswer? {
    let status = Int(raw.pointee.status_code)
    isInBody = false
    headBytes = 0
    guard status >= 200 else { return nil }
    defer {
      body = []
      unreachable = []
    }
    return HTTPAnswer(
      status: status, body: body, keepsAlive: keepsAlive, unreachable: String(decoding: unreachable, as: UTF8.self))
  }

  private func reason(_ code: llhttp_errno_t) -> String {
    if code == HPE_USER { return "its answer is larger than \(maxBodyBytes) bytes" }
    return raw.pointee.reason.map { String(cString: $0) } ?? "it does not speak HTTP"
  }

  // MARK: callbacks

  private static let unreachableField = Array("hero-unreachable".utf8)

  /// A part of a field's name; what follows a body (a trailer) is left aside.
  fileprivate func onFieldName(_ bytes: UnsafeRawBufferPointer) {
    guard !isInBody else { return }
    if isFieldValue { fieldName = [] }
    isFieldValue = false
    // One byte more than wanted tells a longer name from the one that matters.
    let room = Self.unreachableField.count + 1 - fieldName.count
    fieldName += bytes.prefix(room).map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 | 0x20 : $0 }
  }

  /// A part of a field's value. The same field again continues the list (RFC 9110, section 5.3).
  fileprivate func onFieldValue(_ bytes: UnsafeRawBufferPointer) {
    guard !isInBody else { return }
    let isFirstPart = !isFieldValue
    isFieldValue = true
    guard fieldName == Self.unreachableField else { return }
    if isFirstPart, !unreachable.isEmpty { unreachable.append(UInt8(ascii: ",")) }
    unreachable += bytes
  }

  fileprivate func onHeadersComplete() -> Int32 {
    keepsAlive = llhttp_should_keep_alive(raw) != 0
    isInBody = true
    return 0
  }

  fileprivate func onBody(_ bytes: UnsafeRawBufferPointer) -> Int32 {
    guard body.count + bytes.count <= maxBodyBytes else { return Int32(HPE_USER.rawValue) }
    body.append(contentsOf: bytes)
    return 0
  }
}

/// The table of callbacks that llhttp reads for every parser; filled once, never written again.
private let answerCallbacks = AnswerCallbacks()

private struct AnswerCallbacks: @unchecked Sendable {
  // Unchecked: llhttp takes a pointer to memory that must not move; it is immutable after `init` and never freed.
  let settings: UnsafeMutablePointer<llhttp_settings_t>

  init() {
    settings = .allocate(capacity: 1)
    llhttp_settings_init(settings)
    settings.pointee.on_message_complete = { _ in Int32(HPE_PAUSED.rawValue) }
    settings.pointee.on_header_field = { raw, bytes, count in
      Unmanaged<HTTPAnswerParser>.fromOpaque(raw!.pointee.data)._withUnsafeGuaranteedRef {
        $0.onFieldName(UnsafeRawBufferPointer(start: bytes, count: count))
      }
      return 0
    }
    settings.pointee.on_header_value = { raw, bytes, count in
      Unmanaged<HTTPAnswerParser>.fromOpaque(raw!.pointee.data)._withUnsafeGuaranteedRef {
        $0.onFieldValue(UnsafeRawBufferPointer(start: bytes, count: count))
      }
      return 0
    }
    settings.pointee.on_headers_complete = { raw in
      Unmanaged<HTTPAnswerParser>.fromOpaque(raw!.pointee.data)._withUnsafeGuaranteedRef { $0.onHeadersComplete() }
    }
    settings.pointee.on_body = { raw, bytes, count in
      Unmanaged<HTTPAnswerParser>.fromOpaque(raw!.pointee.data)._withUnsafeGuaranteedRef {
        $0.onBody(UnsafeRawBufferPointer(start: bytes, count: count))
      }
    }
  }
}
