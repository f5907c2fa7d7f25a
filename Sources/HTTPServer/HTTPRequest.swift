/// One request, complete with its body.
public struct HTTPRequest: Sendable {
  public let method: HTTPMethod
  /// The request target as it was sent (RFC 9112 §3.2), such as `/rpc?trace=1`.
  public let target: String
  public let headers: HTTPHeaders
  /// The body, freed of its transfer coding.
  public let body: [UInt8]
  /// Whose connection it came by: the client's, or a proxy's.
  public let peer: HTTPPeer
  /// Who asked, for logs: the peer, or whom a trusted proxy names.
  public let client: HTTPPeer
  public let origin: RequestOrigin
  /// Where the handler takes room for what it builds, before it builds it: nothing is held beyond the end of the answer.
  /// nil outside of a server.
  public let room: BudgetShare?

  public init(
    method: HTTPMethod, target: String, headers: HTTPHeaders = HTTPHeaders(), body: [UInt8] = [], peer: HTTPPeer,
    client: HTTPPeer? = nil, origin: RequestOrigin = .elsewhere, room: BudgetShare? = nil
  ) {
    self.method = method
    self.target = target
    self.headers = headers
    self.body = body
    self.peer = peer
    self.client = client ?? peer
    self.origin = origin
    self.room = room
  }

  /// The target without scheme, authority and query; not percent-decoded.
  public var path: String {
    let start = pathStart
    guard let mark = target.utf8[start...].firstIndex(of: 63) else {
      return start == target.startIndex ? target : String(target[start...])
    }
    return String(target[start..<mark])
  }

  /// What follows the first `?` of the target, if there is one; not percent-decoded.
  public var query: String? {
    guard let mark = target.utf8.firstIndex(of: 63) else { return nil }
    return String(target[target.utf8.index(after: mark)...])
  }

  /// Where the path starts: at once, except in the absolute form that proxies send (`http://node:8082/rpc`).
  private var pathStart: String.Index {
    let bytes = target.utf8
    guard bytes.first != 47, let colon = bytes.firstIndex(of: 58) else { return target.startIndex }
    let authority = bytes.index(colon, offsetBy: 3, limitedBy: bytes.endIndex) ?? bytes.endIndex
    return bytes[authority...].firstIndex(of: 47) ?? bytes.endIndex
  }
}
