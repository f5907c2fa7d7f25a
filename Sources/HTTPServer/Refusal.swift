/// A request that the server turns away by itself, and why, in words for the client.
struct Refusal: Error, Equatable {
  let status: Int
  let reason: String
  /// The value of `Allow`, for 405.
  var allow: String?
  /// The value of `Retry-After` in seconds, for 503.
  var retryAfter: Int?

  init(_ status: Int, _ reason: String, retryAfter: Int? = nil) {
    self.status = status
    self.reason = reason
    self.retryAfter = retryAfter
  }

  static let methodNotAllowed: Refusal = {
    var refusal = Refusal(405, "this method is not served here")
    refusal.allow = servedMethods
    return refusal
  }()

  static let versionNotSpoken = Refusal(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
  static let hostNotServed = Refusal(403, "this server does not serve that host name (see api.allowed_hosts)")
  static let userNotServed = Refusal(403, "this socket serves the node's own user and root only")
  static let tooManyConnections = Refusal(503, "too many connections, try again later", retryAfter: 1)
  static let noRoom = Refusal(
    503, "the server holds as many bytes as it may (see api.max_buffered_bytes), try again later", retryAfter: 1)
  /// - Parameter bytes: what strangers may send.
  static func tooLargeForStranger(_ bytes: Int) -> Refusal {
    Refusal(401, "a body of more than \(bytes) bytes needs the header Authorization: Bearer")
  }
  static let servedMethods = "GET, HEAD, POST, OPTIONS"

  /// The answer, with the body that the layer above wants for it.
  func response(_ configuration: HTTPServerConfiguration) -> HTTPResponse {
    var response: HTTPResponse
    if let body = configuration.errorBody?(status, reason) {
      response = .bytes(body.bytes, contentType: body.contentType, status: status)
    } else {
      response = .text(reason + "\n", status: status)
    }
    if let allow { response.headers.append(("Allow", allow)) }
    if let retryAfter { response.headers.append(("Retry-After", "\(retryAfter)")) }
    // RFC 9110, section 11.6.1: a 401 names the way to authenticate.
    if status == 401 { response.headers.append(("WWW-Authenticate", "Bearer")) }
    return response
  }
}
