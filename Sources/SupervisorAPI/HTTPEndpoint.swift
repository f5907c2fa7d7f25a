import ExactText
import HTTPServer
import JSONRPC
import Supervisor

// Which path answers what. JSON-RPC by POST; for operators and their tools GET.

/// Answers the HTTP requests of a node.
public struct HTTPEndpoint: Sendable {
  private let dispatcher: Dispatcher<APICall>
  private let authenticator: Authenticator
  private let metrics: Metrics
  private let document: [UInt8]
  /// Whether answers may miss what other nodes have.
  private let isClustered: Bool
  private let audit: AuditTrail?
  /// `nil` when the node takes work, else why not.
  private let unreadiness: @Sendable () async -> String?
  /// What a node that takes work has to say all the same.
  private let notice: @Sendable () async -> String?

  public init(
    dispatcher: Dispatcher<APICall>, authenticator: Authenticator, metrics: Metrics, document: JSON,
    isClustered: Bool = false, audit: AuditTrail? = nil, unreadiness: @escaping @Sendable () async -> String?,
    notice: @escaping @Sendable () async -> String? = { nil }
  ) {
    self.dispatcher = dispatcher
    self.authenticator = authenticator
    self.metrics = metrics
    self.document = document.serialized()
    self.isClustered = isClustered
    self.audit = audit
    self.unreadiness = unreadiness
    self.notice = notice
  }

  public func answer(_ request: HTTPRequest) async -> HTTPResponse {
    switch (request.method, ExactText(request.path)) {
    case (.post, "/"), (.post, "/rpc"): await rpc(request)
    case (.get, "/health"), (.head, "/health"): .text("alive\n")
    case (.get, "/ready"), (.head, "/ready"): await readiness()
    case (.get, "/metrics"), (.head, "/metrics"): await exposition(request)
    case (.get, "/openrpc.json"), (.head, "/openrpc.json"): .json(document)
    case (.get, "/"), (.head, "/"): Self.dashboard
    case (_, "/"): Self.wrongMethod(allowed: "GET, HEAD, POST")
    case (_, "/rpc"): Self.wrongMethod(allowed: "POST")
    case (_, "/health"), (_, "/ready"), (_, "/metrics"), (_, "/openrpc.json"): Self.wrongMethod(allowed: "GET, HEAD")
    default: .text("there is nothing at this path; JSON-RPC is answered at / by POST\n", status: 404)
    }
  }

  private static let dashboard: HTTPResponse = {
    var page = HTTPResponse.bytes(Dashboard.page, contentType: "text/html; charset=utf-8")
    page.contentSecurityPolicy = Dashboard.contentSecurityPolicy
    return page
  }()

  /// RFC 9110, section 15.5.6: such an answer names the methods that would do.
  private static func wrongMethod(allowed: String) -> HTTPResponse {
    var response = HTTPResponse.text("this path answers \(allowed) only\n", status: 405)
    response.headers.append(("Allow", allowed))
    return response
  }

  /// Whether a request is answered by `rpc` as calls.
  static func isRPC(_ request: HTTPRequest) -> Bool {
    guard request.method == .post, request.headers.isMediaType("application/json"), !isEncoded(request) else {
      return false
    }
    let path = ExactText(request.path)
    return path == "/" || path == "/rpc"
  }

  /// Whether the body is compressed, or otherwise not what its type says (RFC 9110, section 8.4).
  private static func isEncoded(_ request: HTTPRequest) -> Bool {
    guard let coding = request.headers["content-encoding"] else { return false }
    return !coding.utf8.isEmpty && !coding.utf8.lazy.map({ $0 | 0x20 }).elementsEqual("identity".utf8)
  }

  private func rpc(_ request: HTTPRequest) async -> HTTPResponse {
    // A page of a foreign origin can send a form or plain text without asking; it cannot send this type.
    guard request.headers.isMediaType("application/json") else {
      return .text("the Content-Type of a JSON-RPC request must be application/json\n", status: 415)
    }
    guard !Self.isEncoded(request) else {
      var response = HTTPResponse.text("a body with Content-Encoding is not read here; send it as it is\n", status: 415)
      // RFC 9110, section 12.5.3: which codings would do.
      response.headers.append(("Accept-Encoding", "identity"))
      return response
    }
    let missing = isClustered ? MissingNodes() : nil
    let call = APICall(request, missing: missing)
    let room: any AnswerRoom = request.room ?? UnboundedRoom()
    let answer = await dispatcher.dispatch(request.body, context: call, room: room)
    await authenticator.holdBack(call)
    guard let answer else { return .empty(204) }
    var response = HTTPResponse.json(answer.bytes)
    if let rest = answer.rest {
      response.rest = HTTPResponse.Rest(end: rest.end) {
        do throws(JSONRPCError) { return try await rest.next() } catch { throw CutOff(description: error.message) }
      }
    }
    if let value = missing?.headerValue { response.headers.append(("Hero-Unreachable", value)) }
    return response
  }

  private func exposition(_ request: HTTPRequest) async -> HTTPResponse {
    let call = APICall(request)
    do throws(JSONRPCError) { try authenticator.admitToMetrics(call) } catch {
      metrics.count(method: nil, code: error.code)
      audit?.refused("GET /metrics", key: call.bearer.map(authenticator.standing), request.client)
      await authenticator.holdBack(call)
      var response = HTTPResponse.text("\(error.message)\n", status: 401)
      response.headers.append(("WWW-Authenticate", "Bearer"))
      return response
    }
    return .bytes(await metrics.exposition(), contentType: "text/plain; version=0.0.4; charset=utf-8")
  }

  /// The key of `Authorization: Bearer KEY` (RFC 6750, section 2.1); the scheme's name in any case.
  static func bearer(_ headers: HTTPHeaders) -> String? {
    guard let value = headers["authorization"]?.utf8, value.count > 7,
      value.prefix(6).lazy.map({ $0 | 0x20 }).elementsEqual("bearer".utf8), value.dropFirst(6).first == 0x20
    else { return nil }
    return String(Substring(value.dropFirst(7).drop { $0 == 0x20 }))
  }

  private func readiness() async -> HTTPResponse {
    if let reason = await unreadiness() { return .text("not ready: \(reason)\n", status: 503) }
    guard let notice = await notice() else { return .text("ready\n") }
    return .text("ready; \(notice)\n")
  }

  /// The body of an answer that the server gives by itself: a JSON-RPC error where clients look for one.
  public static func errorBody(
    maxRequestBytes: Int
  ) -> @Sendable (_ status: Int, _ reason: String) -> (contentType: String, bytes: [UInt8])? {
    { status, reason in
      let error: JSONRPCError
      switch status {
      case 401: error = .unauthorized(reason)
      case 413: error = .requestTooBig(limit: maxRequestBytes)
      case 503: error = .unavailable(reason, retryAfterMilliseconds: 1000)
      default: return nil
      }
      let answer: JSON = ["jsonrpc": "2.0", "id": nil, "error": error.json]
      return ("application/json", answer.serialized())
    }
  }
}

/// Why an answer has no end, for the log.
private struct CutOff: Error, CustomStringConvertible {
  let description: String
}
