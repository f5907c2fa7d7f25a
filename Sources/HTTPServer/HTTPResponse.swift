/// One answer. The server adds `Content-Length`, `Connection`, the fields that keep browsers from storing, guessing and
/// framing it, and, where allowed, those of CORS by itself.
public struct HTTPResponse: Sendable {
  public var status: Int
  /// Field names and values; control characters in a value are sent as spaces, so that no value can forge a field.
  public var headers: [(String, String)]
  public var body: [UInt8]
  /// What a page may load, as `Content-Security-Policy` says it (CSP level 3); nil: nothing, and it is shown in no frame.
  public var contentSecurityPolicy: String?

  public init(status: Int, headers: [(String, String)] = [], body: [UInt8] = []) {
    self.status = status
    self.headers = headers
    self.body = body
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
