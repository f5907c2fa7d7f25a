/// A request that the server turns away by itself, and why, in words for the client.
struct Refusal: Error, Equatable {
  let status: Int
  let reason: String
  /// The value of `Allow`, for 405.
  var allow: String?

  init(_ status: Int, _ reason: String) {
    self.status = status
    self.reason = reason
  }

  static let methodNotAllowed: Refusal = {
    var refusal = Refusal(405, "this method is not served here")
    refusal.allow = servedMethods
    return refusal
  }()

  static let versionNotSpoken = Refusal(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
  static let hostNotServed = Refusal(403, "this server does not serve that host name (see api.allowed_hosts)")
  static let userNotServed = Refusal(403, "this socket serves the node's own user and root only")
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
    return response
  }
}
