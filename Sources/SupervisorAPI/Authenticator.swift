import COpenSSL
import HTTPServer
import JSONRPC
import Logging
import Synchronization

/// What a key allows.
public enum Scope: String, Sendable, CaseIterable {
  /// Everything.
  case admin
  /// Jobs.
  case user
  /// Runners.
  case register
  /// What only reads: states, results, output, lists, metrics.
  case read
  /// To execute jobs for a runner. It opens nothing yet.
  case worker
}

extension [Scope] {
  /// For what reads jobs.
  static let jobReading: [Scope] = [.user, .read]
  /// For what tells of runners and of the cluster.
  static let reading: [Scope] = [.user, .register, .read]
}

/// Knows the keys, and decides who may call what.
public struct Authenticator: Sendable {
  private let keys: [(scope: Scope, secret: [UInt8])]
  /// Those that were made at run time.
  private let created: KeyDirectory
  private let decision: OpenMethods
  private let proxied: ProxiedRequests
  let guesses: GuessDelay

  /// - Parameters:
  ///   - keys: those of the configuration.
  ///   - created: those that were made at run time.
  ///   - guesses: where wrong keys are counted.
  public init(
    keys: [(scope: Scope, secret: String)], created: KeyDirectory, guesses: GuessDelay, openMethods: OpenMethods,
    logger: Logger
  ) {
    self.keys = keys.map { ($0.scope, Array($0.secret.utf8)) }
    self.created = created
    self.guesses = guesses
    decision = openMethods
    proxied = ProxiedRequests(logger: logger)
  }

  /// To whom the methods are open whose contract has no secret. A key that was made at run time lets others in as a
  /// configured one does.
  public var openMethods: OpenMethods {
    guard decision == .toThisMachine, created.hasEverHadKeys else { return decision }
    var openings = OpenMethods.Openings()
    openings.hasCreatedKeys = true
    return OpenMethods.decide(.automatic, openings)
  }

  /// A method that takes a secret, as a parameter or as the request's bearer key.
  /// - Parameter scopes: one of these must be the key's, or admin.
  func require(_ scopes: [Scope], secret: String?, _ call: APICall) throws(JSONRPCError) -> Grant {
    guard let given = Self.given(secret, call) else {
      throw .unauthorized("params.secret or the header Authorization: Bearer is missing")
    }
    return try check(given, scopes, call)
  }

  /// A method whose contract has no secret: open, or with a key.
  /// - Parameters:
  ///   - scopes: one of these must be the key's, or admin.
  ///   - params: may have a `secret` all the same.
  func admit(_ scopes: [Scope], _ params: Params, _ call: APICall) throws(JSONRPCError) -> Grant {
    try admit(scopes, secret: try params.optionalString("secret"), call)
  }

  /// The metrics, for operators: open as those methods are, or with a key that may read of all runners.
  func admitToMetrics(_ call: APICall) throws(JSONRPCError) {
    try admit(.reading, secret: nil, call).requireAllRunners()
  }

  private func admit(_ scopes: [Scope], secret: String?, _ call: APICall) throws(JSONRPCError) -> Grant {
    if let given = Self.given(secret, call) { return try check(given, scopes, call) }
    let words = "a key is needed (Authorization: Bearer, or the parameter secret of a call)"
    if let refusal = refusal(of: call, withoutKey: words) { throw refusal }
    return .everything
  }

  /// The key that a call shows: its secret, or else its bearer key.
  static func given(_ secret: String?, _ call: APICall) -> String? {
    secret.flatMap { $0.isEmpty ? nil : $0 } ?? call.bearer
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
    let counts = created.counts
    return [
      .init(
        "hero_open_methods", "gauge", "1 while methods whose contract has no secret need no key.",
        openMethods.refusal(of: .thisMachine) == nil ? 1 : 0),
      .init(
        "hero_proxied_requests_refused_total", "counter",
        "Requests without a key that came through a proxy to a node that is open to its own machine only.",
        Double(proxied.count)),
      .init(
        "hero_created_keys", "gauge", "Keys that were made at run time, by state.",
        [("valid", counts.valid), ("expired", counts.expired), ("revoked", counts.revoked)].map {
          ([("state", $0.0)], Double($0.1))
        }),
    ] + guesses.families
  }

  private func check(_ secret: String, _ scopes: [Scope], _ call: APICall) throws(JSONRPCError) -> Grant {
    let standing = standing(of: secret)
    guard case .valid(let allowed, let grant, _) = standing else {
      call.wrongKeys.add(standing.reason)
      throw .unauthorized(standing.words)
    }
    call.room?.showKey()
    guard !allowed.contains(.admin), allowed.isDisjoint(with: scopes) else { return grant }
    throw .unauthorized(
      "the key does not have the scope \(scopes.map { "\"\($0.rawValue)\"" }.joined(separator: " or "))")
  }

  // MARK: Keys

  /// What a key is.
  enum Standing {
    /// - Parameter label: what it is called in logs.
    case valid(Set<Scope>, Grant, label: Label)
    case expired(KeyName)
    case revoked(KeyName)
    case unknown

    /// How a key is called: by its name, or by its scope and its number among the configured ones of that scope, from 1.
    enum Label: Hashable {
      case configured(Scope, number: Int)
      case created(KeyName)
    }

    var isValid: Bool { if case .valid = self { true } else { false } }

    /// For whoever showed it.
    var words: String {
      switch self {
      case .expired: "the key has expired"
      case .revoked: "the key was revoked"
      case .valid, .unknown: "the key is not known here"
      }
    }

    /// For the metric.
    var reason: String {
      switch self {
      case .expired: "expired"
      case .revoked: "revoked"
      case .valid, .unknown: "unknown"
      }
    }
  }

  func standing(of secret: String) -> Standing {
    let given = Array(secret.utf8)
    var scopes: Set<Scope> = []
    var label: Standing.Label?
    var counts: [Scope: Int] = [:]
    // All are compared, each in constant time: how long it takes says nothing about them but their length.
    for key in keys {
      counts[key.scope, default: 0] += 1
      guard key.secret.count == given.count, CRYPTO_memcmp(key.secret, given, given.count) == 0 else { continue }
      scopes.insert(key.scope)
      label = label ?? .configured(key.scope, number: counts[key.scope]!)
    }
    if let label { return .valid(scopes, .everything, label: label) }
    switch created.find(secret) {
    case .valid(let name, let key):
      return .valid(key.scopes, Grant(runners: key.runners.map { Set($0) }), label: .created(name))
    case .expired(let name): return .expired(name)
    case .revoked(let name): return .revoked(name)
    case nil: return .unknown
    }
  }

  /// Whether this is a key of any scope.
  func knows(_ secret: String) -> Bool { standing(of: secret).isValid }

  /// Holds back the answer to a request that showed keys which are none, once too many came from where it comes from.
  func holdBack(_ call: APICall) async {
    await guesses.wait(for: call.client, reasons: call.wrongKeys.counts)
  }

  /// A new random key: 256 bits, in hexadecimal.
  public static func makeSecret() -> String {
    var bytes = [UInt8](repeating: 0, count: 32)
    precondition(RAND_bytes(&bytes, Int32(bytes.count)) == 1, "no random numbers")
    return bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}

/// Why keys that one request showed are none, and how often.
final class WrongKeys: Sendable {
  private let found = Mutex<[String: Int]>([:])

  var counts: [String: Int] { found.withLock { $0 } }
  func add(_ reason: String) { found.withLock { $0[reason, default: 0] += 1 } }
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
  /// The keys that are none of which the request's calls were refused.
  let wrongKeys = WrongKeys()

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
