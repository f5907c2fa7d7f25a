// Answers to bytes: head and body in one buffer, so that an answer is one write and usually one packet.

/// What the connection, not the handler, decides about an answer.
struct ResponseFraming: Sendable {
  /// Nothing follows on this connection.
  var closes: Bool
  /// The answer to HEAD says how long the body would be and leaves it out.
  var leavesBodyOut = false
  /// An HTTP/1.0 client keeps the connection only if it is told so.
  var isHTTP10 = false
  /// What CORS adds.
  var extraFields: [(String, String)] = []

  /// Whether the bytes of the body follow the head; 204 and 304 have none by definition (RFC 9110 §6.4.1).
  func sendsBody(of response: HTTPResponse) -> Bool {
    !leavesBodyOut && response.status != 204 && response.status != 304
  }
}

extension [UInt8] {
  /// Appends the head of an answer, with its empty line.
  mutating func append(headOf response: HTTPResponse, _ framing: ResponseFraming) {
    appendStatusLine(response.status)
    for (name, value) in response.headers { appendField(name, value) }
    if let policy = response.contentSecurityPolicy {
      append(cautionFields)
      appendField("Content-Security-Policy", policy)
    } else {
      append(cautionFieldsOfData)
    }
    if !framing.extraFields.isEmpty {
      for (name, value) in framing.extraFields { appendField(name, value) }
    }
    if framing.closes {
      append("Connection: close\r\n")
    } else if framing.isHTTP10 {
      append("Connection: keep-alive\r\n")
    }
    // A 204 must not tell a length, and a 304 would tell that of another answer (RFC 9110 §8.6).
    guard response.status != 204, response.status != 304 else { return append("\r\n") }
    if response.rest != nil {
      // To HTTP/1.0, which knows no chunks, the end of the connection is the body's.
      return append(framing.isHTTP10 ? "\r\n" : "Transfer-Encoding: chunked\r\n\r\n")
    }
    append("Content-Length: ")
    appendDecimal(response.body.count)
    append("\r\n\r\n")
  }

  /// Appends what begins a chunk (RFC 9112, section 7.1).
  mutating func appendChunkSize(_ size: Int) {
    append(contentsOf: String(size, radix: 16).utf8)
    append("\r\n")
  }

  @inline(__always)
  mutating func append(_ text: StaticString) {
    append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  private mutating func appendField(_ name: String, _ value: String) {
    append(contentsOf: name.utf8)
    append(": ")
    let start = count
    append(contentsOf: value.utf8)
    for offset in start..<count where self[offset] < 32 || self[offset] == 127 { self[offset] = 32 }
    append("\r\n")
  }

  private mutating func appendDecimal(_ number: Int) {
    var divisor = 1
    while number / divisor >= 10 { divisor *= 10 }
    while divisor > 0 {
      append(UInt8(48 + number / divisor % 10))
      divisor /= 10
    }
  }

  private mutating func appendStatusLine(_ status: Int) {
    switch status {
    case 200: append("HTTP/1.1 200 OK\r\n")
    case 204: append("HTTP/1.1 204 No Content\r\n")
    case 400: append("HTTP/1.1 400 Bad Request\r\n")
    case 401: append("HTTP/1.1 401 Unauthorized\r\n")
    case 403: append("HTTP/1.1 403 Forbidden\r\n")
    case 404: append("HTTP/1.1 404 Not Found\r\n")
    case 405: append("HTTP/1.1 405 Method Not Allowed\r\n")
    case 408: append("HTTP/1.1 408 Request Timeout\r\n")
    case 413: append("HTTP/1.1 413 Content Too Large\r\n")
    case 414: append("HTTP/1.1 414 URI Too Long\r\n")
    case 415: append("HTTP/1.1 415 Unsupported Media Type\r\n")
    case 417: append("HTTP/1.1 417 Expectation Failed\r\n")
    case 429: append("HTTP/1.1 429 Too Many Requests\r\n")
    case 431: append("HTTP/1.1 431 Request Header Fields Too Large\r\n")
    case 500: append("HTTP/1.1 500 Internal Server Error\r\n")
    case 501: append("HTTP/1.1 501 Not Implemented\r\n")
    case 503: append("HTTP/1.1 503 Service Unavailable\r\n")
    case 505: append("HTTP/1.1 505 HTTP Version Not Supported\r\n")
    default:
      append("HTTP/1.1 ")
      appendDecimal(status)
      append(" \r\n")
    }
  }
}

/// Of every answer: nobody keeps it (keys and jobs may be in it), guesses another type for it, or learns its address.
private let cautionFields: StaticString = """
  Cache-Control: no-store\r
  X-Content-Type-Options: nosniff\r
  Referrer-Policy: no-referrer\r

  """

/// The same, for what is no page: a browser that shows it all the same loads nothing and runs nothing. One block, since it
/// is copied into every answer.
private let cautionFieldsOfData: StaticString = """
  Cache-Control: no-store\r
  X-Content-Type-Options: nosniff\r
  Referrer-Policy: no-referrer\r
  Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r

  """
