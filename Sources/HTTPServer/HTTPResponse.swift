/// One answer. The server adds `Content-Length`, `Connection` and, where allowed, the CORS fields by itself.
public struct HTTPResponse: Sendable {
  public var status: Int
  /// Field names and values; control characters in a value are sent as spaces, so that no value can forge a field.
  public var headers: [(String, String)]
  public var body: [UInt8]

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
