import COpenSSL
import HTTPServer
import JSONRPC
import Logging

/// What a key allows: `admin` includes the other two.
public enum Scope: String, Sendable, CaseIterable {
  case admin
  /// Jobs.
  case user
  /// Runners.
  case register

  func includes(_ other: Scope) -> Bool { self == other || self == .admin }
}

/// Knows the keys, and decides who may call what.
public struct Authenticator: Sendable {
  private let keys: [(scope: Scope, secret: [UInt8])]
  /// To whom the methods are open whose contract has no secret.
  private let openMethods: OpenMethods
  private let proxied: ProxiedRequests

  public init(keys: [(scope: Scope, secret: String)], openMethods: OpenMethods, logger: Logger) {
    self.keys = keys.map { ($0.scope, Array($0.secret.utf8)) }
    self.openMethods = openMethods
    proxied = ProxiedRequests(logger: logger)
  }

  /// A method that takes a secret, as a parameter or as the request's bearer key.
  func require(_ scope: Scope, secret: String?, _ call: APICall) throws(JSONRPCError) {
    let given = secret.flatMap { $0.isEmpty ? nil : $0 } ?? call.bearer
    guard let given else {
      throw .unauthorized("params.secret or the header Authorization: Bearer is missing")
    }
    try check(given, scope, call)
  }

  /// A method whose contract has no secret: open, or with a key.
  /// - Parameters:
  ///   - scope: `nil` when any key will do.
  ///   - params: may have a `secret` all the same.
  func admit(_ scope: Scope?, _ params: Params, _ call: APICall) throws(JSONRPCError) {
    try admit(scope, secret: try params.optionalString("secret"), call)
  }

  /// A page for operators: open as those methods are, or with any key.
  func admit(_ call: APICall) throws(JSONRPCError) { try admit(nil, secret: nil, call) }

  private func admit(_ scope: Scope?, secret: String?, _ call: APICall) throws(JSONRPCError) {
    if let given = secret.flatMap({ $0.isEmpty ? nil : $0 }) ?? call.bearer { return try check(given, scope, call) }
    let words = "a key is needed (Authorization: Bearer, or the parameter secret of a call)"
    if let refusal = refusal(of: call, withoutKey: words) { throw refusal }
  }

  /// Why a request of which no call carries a key is not served; `nil` if it may be.
  /// - Parameter words: what is missing.
  func refusal(of call: APICall, withoutKey words: String) -> JSONRPCError? {
    guard let reason = openMethods.refusal(of: call.origin) else { return nil }
    if openMethods == .toThisMachine, case .proxy(let field) = call.origin { proxied.refused(call, field: field) }
    return .unauthorized(words, since: reason)
  }

  /// What it counts, for `GET /metrics`.
  public var families: [Metrics.Family] {
    [
      .init(
        "hero_open_methods", "gauge", "1 while methods whose contract has no secret need no key.",
        openMethods.refusal(of: .thisMachine) == nil ? 1 : 0),
      .init(
        "hero_proxied_requests_refused_total", "counter",
        "Requests without a key that came through a proxy to a node that is open to its own machine only.",
        Double(proxied.count)),
    ]
  }

  /// Whether this is a key of any scope.
  func knows(_ secret: String) -> Bool { !scopes(of: secret).isEmpty }

  private func check(_ secret: String, _ scope: Scope?, _ call: APICall) throws(JSONRPCError) {
    let scopes = scopes(of: secret)
    guard !scopes.isEmpty else { throw .unauthorized("the key is not known here") }
    call.room?.showKey()
    guard let scope, !scopes.contains(where: { $0.includes(scope) }) else { return }
    throw .unauthorized("the key does not have the scope \"\(scope.rawValue)\"")
  }

  /// What a key allows; nothing, if there is no such key.
  private func scopes(of secret: String) -> [Scope] {
    let given = Array(secret.utf8)
    var scopes: [Scope] = []
    // All keys are compared, each in constant time: how long it takes says nothing about them but their length.
    for key in keys where key.secret.count == given.count && CRYPTO_memcmp(key.secret, given, given.count) == 0 {
      scopes.append(key.scope)
    }
    return scopes
  }

  /// Which key this is: its scope, and its number among the keys of that scope, from 1, in the order of the
  /// configuration; `nil` for one that is not known. Compares as `check` does.
  func place(of secret: String) -> (scope: Scope, number: Int)? {
    let given = Array(secret.utf8)
    var place: (scope: Scope, number: Int)?
    var counts: [Scope: Int] = [:]
    for key in keys {
      counts[key.scope, default: 0] += 1
      let isSame = key.secret.count == given.count && CRYPTO_memcmp(key.secret, given, given.count) == 0
      if isSame, place == nil { place = (key.scope, counts[key.scope]!) }
    }
    return place
  }

  /// A new random key: 256 bits, in hexadecimal.
  public static func makeSecret() -> String {
    var bytes = [UInt8](repeating: 0, count: 32)
    precondition(RAND_bytes(&bytes, Int32(bytes.count)) == 1, "no random numbers")
    return bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}

/// What a method knows of the request besides its parameters.
public struct APICall: Sendable {
  /// The key of `Authorization: Bearer`.
  public let bearer: String?
  /// Who asked, for logs.
  public let client: HTTPPeer
  let origin: RequestOrigin
  /// Where a method of a whole cluster says what its answer is missing; `nil` when there is no cluster.
  let missing: MissingNodes?
  /// Where a method takes room for what it builds.
  let room: BudgetShare?

  init(_ request: HTTPRequest, missing: MissingNodes? = nil) {
    bearer = HTTPEndpoint.bearer(request.headers)
    client = request.client
    origin = request.origin
    self.missing = missing
    room = request.room
  }

  /// Takes room for what is about to be read.
  /// - Throws: -32009 when there is none.
  func take(_ bytes: Int) throws(JSONRPCError) {
    if let room, !room.take(bytes) { throw .noRoom }
  }

  func giveBack(_ bytes: Int) { room?.giveBack(bytes) }
}
