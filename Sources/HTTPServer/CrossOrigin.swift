import ExactText

/// Cross-origin resource sharing (the Fetch standard, "HTTP-CORS protocol"): off unless origins are configured.
struct CrossOrigin: Sendable {
  private let allowsAll: Bool
  private let origins: Set<ExactText>

  init(origins: [String]) {
    allowsAll = origins.contains("*")
    self.origins = Set(origins.map { ExactText($0) })
  }

  var isOff: Bool { !allowsAll && origins.isEmpty }

  /// The fields that let a page of `origin` read an answer; none when it may not.
  func fields(for origin: String?) -> [(String, String)] {
    guard !isOff else { return [] }
    if allowsAll { return origin == nil ? [] : [("Access-Control-Allow-Origin", "*")] }
    // Caches must keep the answers to different origins apart, also those that allow nothing.
    guard let origin, origins.contains(ExactText(origin)) else { return [("Vary", "Origin")] }
    return [("Access-Control-Allow-Origin", origin), ("Vary", "Origin")]
  }

  /// The answer to any OPTIONS request: 204, with leave to call when it is a preflight from an allowed origin.
  func answerToOptions(_ headers: HTTPHeaders, origin: String?) -> HTTPResponse {
    var response = HTTPResponse(status: 204, headers: [("Allow", Refusal.servedMethods)])
    guard headers["access-control-request-method"] != nil, let first = fields(for: origin).first,
      first.0 == "Access-Control-Allow-Origin"
    else { return response }
    response.headers += [
      ("Access-Control-Allow-Methods", Refusal.servedMethods),
      ("Access-Control-Allow-Headers", "Content-Type, Authorization"),
      ("Access-Control-Max-Age", "600"),
    ]
    return response
  }
}
