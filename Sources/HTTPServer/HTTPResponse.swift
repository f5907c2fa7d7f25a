/// One answer. The server adds `Content-Length`, `Connection`, the fields that keep browsers from storing, guessing and
/// framing it, and, where allowed, those of CORS by itself.
public struct HTTPResponse: Sendable {
  public var status: Int
  /// Field names and values; control characters in a value are sent as spaces, so that no value can forge a field.
  public var headers: [(String, String)]
  /// The body, or its beginning.
  public var body: [UInt8]
  /// What follows `body`: then the answer goes out in chunks while it is made.
  public var rest: Rest?
  /// What a page may load, as `Content-Security-Policy` says it (CSP level 3); nil: nothing, and it is shown in no frame.
  public var contentSecurityPolicy: String?

  public init(status: Int, headers: [(String, String)] = [], body: [UInt8] = []) {
    self.status = status
    self.headers = headers
    self.body = body
  }

  /// The rest of a body whose length is not known.
  public struct Rest: Sendable {
    /// The next piece, `nil` after the last; it is asked for when the client has taken the one before. What it throws cuts
    /// the answer off: the connection is reset before the last chunk (RFC 9112, section 7.1).
    public let next: @Sendable () async throws -> [UInt8]?
    /// What follows the last piece.
    public let end: [UInt8]

    public init(end: [UInt8], next: @escaping @Sendable () async throws -> [UInt8]?) {
      self.next = next
      self.end = end
    }
  }

  /// JSON in UTF-8.
  public static func json(_ body: [UInt8], status: Int = 200) -> HTTPResponse {
    HTTPResponse(status: status, headers: jsonFields, body: body)
  }

  /// Plain text in UTF-8.
  public static func text(_ text: String, status: Int = 200) -> HTTPResponse {
    HTTPResponse(status: status, headers: textFields, body: Array(text.utf8))
  }

  /// Bytes of any other media type.
  public static func bytes(_ body: [UInt8], contentType: String, status: Int = 200) -> HTTPResponse {
    HTTPResponse(status: status, headers: [("Content-Type", contentType)], body: body)
  }

  /// An answer without a body, such as 204.
  public static func empty(_ status: Int = 204) -> HTTPResponse {
    HTTPResponse(status: status)
  }

  // Shared by all answers of a kind, so that making one allocates nothing but its body.
  private static let jsonFields = [("Content-Type", "application/json")]
  private static let textFields = [("Content-Type", "text/plain; charset=utf-8")]
}
