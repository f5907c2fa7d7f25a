import ExactText
import HTTPServer
import JSONRPC

// Who did it: each call that changes something, and each whose key was refused, is told to whoever keeps the record.

/// One call as the record has it: names and outcome, no payload, no variables, no key.
public struct AuditEntry: Hashable, Sendable {
  /// Why a call is in the record.
  public enum Kind: Sendable {
    /// It makes, starts, stops, moves or forgets something, or was to.
    case change
    /// Its key was missing, unknown, or not one for this method.
    case refusal
  }

  public let kind: Kind
  /// `user key 2`, `key "ci"`, `local key`, `no key`, `unknown key`, `key "ci" expired`, `key "ci" revoked`.
  public let key: String
  /// `nil` for a call that came over no connection.
  public let peer: HTTPPeer?
  public let method: String
  public let subjects: [Subject]
  /// The code of its error; `nil` when it did what it was told.
  public let code: Int?

  /// What a call named.
  public struct Subject: Hashable, Sendable {
    /// `runner`, `job`, `queue`, `node`, or `named` for a key.
    public let kind: String
    /// As the caller wrote it, which need not be a valid name; at most 256 bytes.
    public let name: String
  }
}

/// Which calls are told, and to whom.
public struct AuditTrail: Sendable {
  private let hasOnlyLocalKey: Bool
  private let keeps: @Sendable (_ method: String) -> Bool
  private let record: @Sendable (AuditEntry) -> Void

  /// - Parameters:
  ///   - hasOnlyLocalKey: whether the one key is the node's own, which nobody configured.
  ///   - keeps: whether changes by this method are wanted; refusals always are.
  ///   - record: gets each entry once its call has ended.
  public init(
    hasOnlyLocalKey: Bool, keeps: @escaping @Sendable (_ method: String) -> Bool,
    record: @escaping @Sendable (AuditEntry) -> Void
  ) {
    self.hasOnlyLocalKey = hasOnlyLocalKey
    self.keeps = keeps
    self.record = record
  }

  /// Where each method that changes something names what it changes: paths of members, and what is there. One that is
  /// not here only reads.
  private static let changes: [String: [(path: [String], kind: String)]] = [
    "register_runner": [(["name"], "runner"), (["queue"], "queue")],
    "remove_runner": [(["actor_id"], "runner")], "start_runner": [(["actor_id"], "runner")],
    "stop_runner": [(["actor_id"], "runner")], "start_all": [], "stop_all": [],
    "jobs.create": [(["job", "runner"], "runner"), (["job", "id"], "job")],
    "job.run": [(["job", "runner"], "runner"), (["job", "id"], "job")],
    "job.start": [(["job_id"], "job")], "job.stop": [(["job_id"], "job")], "job.delete": [(["job_id"], "job")],
    "runner.move": [(["name"], "runner"), (["node"], "node")], "node.drain": [(["node"], "node")],
    "cluster.forget": [(["node"], "node")], "store.confirm_clock": [],
    "key.create": [(["name"], "named")], "key.revoke": [(["name"], "named")],
  ]

  /// Whether the method changes something.
  static func changes(_ method: String) -> Bool { changes[method] != nil }

  /// The method with its calls told.
  func following(_ method: Method<APICall>, named name: String, _ keys: Authenticator) -> Method<APICall> {
    let places = Self.changes[name]
    let keepsChanges = places != nil && keeps(name)
    return method.around { (params, call, carryOut) async throws(JSONRPCError) in
      do throws(JSONRPCError) {
        try await carryOut()
        if keepsChanges { tell(.change, name, params, call, keys, code: nil) }
      } catch {
        if error.code == JSONRPCError.unauthorizedCode {
          tell(.refusal, name, params, call, keys, code: error.code)
        } else if keepsChanges {
          tell(.change, name, params, call, keys, code: error.code)
        }
        throw error
      }
    }
  }

  /// Tells of a request that was refused for its key before it was a call, or that is none.
  func refused(_ method: String, key: Authenticator.Standing?, _ peer: HTTPPeer) {
    let code = JSONRPCError.unauthorizedCode
    record(AuditEntry(kind: .refusal, key: name(of: key), peer: peer, method: method, subjects: [], code: code))
  }

  private func tell(
    _ kind: AuditEntry.Kind, _ method: String, _ params: Params, _ call: APICall, _ keys: Authenticator, code: Int?
  ) {
    let subjects = (Self.changes[method] ?? []).compactMap { place in
      Self.text(at: place.path[...], in: params.object).map { AuditEntry.Subject(kind: place.kind, name: $0) }
    }
    record(
      AuditEntry(
        kind: kind, key: keyName(params, call, keys), peer: call.client, method: method, subjects: subjects, code: code)
    )
  }

  private static func text(at path: ArraySlice<String>, in object: JSONObject) -> String? {
    guard let key = path.first, let value = object[key] else { return nil }
    if path.count == 1 { return value.stringValue?.shortened(toBytes: 256) }
    return value.objectValue.flatMap { text(at: path.dropFirst(), in: $0) }
  }

  private func keyName(_ params: Params, _ call: APICall, _ keys: Authenticator) -> String {
    name(of: Authenticator.given(params.object["secret"]?.stringValue, call).map(keys.standing))
  }

  private func name(of key: Authenticator.Standing?) -> String {
    switch key {
    case nil: "no key"
    case .unknown: "unknown key"
    case .expired(let name): "key \"\(name)\" expired"
    case .revoked(let name): "key \"\(name)\" revoked"
    case .valid(_, _, .created(let name)): "key \"\(name)\""
    case .valid(_, _, .configured(let scope, let number)):
      hasOnlyLocalKey ? "local key" : "\(scope.rawValue) key \(number)"
    }
  }
}
