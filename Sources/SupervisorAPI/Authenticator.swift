import COpenSSL
import JSONRPC

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
  /// Whether the seed's methods that take no secret are open to everyone who reaches the listener.
  private let hasOpenMethods: Bool

  public init(keys: [(scope: Scope, secret: String)], hasOpenMethods: Bool) {
    self.keys = keys.map { ($0.scope, Array($0.secret.utf8)) }
    self.hasOpenMethods = hasOpenMethods
  }

  /// A method that takes a secret, as a parameter or as the request's bearer key.
  func require(_ scope: Scope, secret: String?, _ call: APICall) throws(JSONRPCError) {
    let given = secret.flatMap { $0.isEmpty ? nil : $0 } ?? call.bearer
    guard let given else {
      throw .unauthorized("params.secret or the header Authorization: Bearer is missing")
    }
    try check(given, scope)
  }

  /// A method of the seed that takes no secret: open, or with a bearer key.
  /// - Parameter scope: `nil` when any key will do.
  func requireBearer(_ scope: Scope?, _ call: APICall) throws(JSONRPCError) {
    if let bearer = call.bearer { return try check(bearer, scope) }
    if !hasOpenMethods { throw .unauthorized("this method needs the header Authorization: Bearer") }
  }

  /// A method of ours that takes no secret by the seed's rules, but accepts one.
  func requireBearer(_ scope: Scope, orSecret secret: String?, _ call: APICall) throws(JSONRPCError) {
    if let secret, !secret.isEmpty { return try check(secret, scope) }
    try requireBearer(scope, call)
  }

  private func check(_ secret: String, _ scope: Scope?) throws(JSONRPCError) {
    let given = Array(secret.utf8)
    var isKnown = false
    var isAllowed = false
    // All keys are compared, each in constant time: how long it takes says nothing about them but their length.
    for key in keys where key.secret.count == given.count && CRYPTO_memcmp(key.secret, given, given.count) == 0 {
      isKnown = true
      isAllowed = isAllowed || scope.map { key.scope.includes($0) } ?? true
    }
    guard isKnown else { throw .unauthorized("the key is not known here") }
    if let scope, !isAllowed { throw .unauthorized("the key does not have the scope \"\(scope.rawValue)\"") }
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
  /// Where a method of a whole cluster says what its answer is missing; `nil` when there is no cluster.
  let missing: MissingNodes?

  public init(bearer: String?, missing: MissingNodes? = nil) {
    self.bearer = bearer
    self.missing = missing
  }
}
