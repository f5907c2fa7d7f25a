import Cluster
import JSONRPC
import Supervisor

/// The methods of `openrpc.json` over the domain, a group a file.
public struct SupervisorAPI: Sendable {
  let registry: RunnerRegistry
  let authenticator: Authenticator
  let maximumResponseBytes: Int
  private let document: JSON
  let keys: RecordKeeper?
  private let audit: AuditTrail?
  /// Takes the date for right, and answers how far it had leapt, in milliseconds.
  let confirmClock: @Sendable () async -> Int64

  /// - Parameters:
  ///   - keys: where keys are made and revoked at run time.
  ///   - document: `openrpc.json`, served by `rpc.discover`.
  ///   - audit: who is told of changes and refusals.
  ///   - confirmClock: takes the date for right, and answers how far it had leapt, in milliseconds.
  public init(
    registry: RunnerRegistry, authenticator: Authenticator, keys: RecordKeeper? = nil, maximumResponseBytes: Int,
    document: JSON,
    audit: AuditTrail? = nil, confirmClock: @escaping @Sendable () async -> Int64 = { 0 }
  ) {
    self.confirmClock = confirmClock
    self.audit = audit
    self.registry = registry
    self.keys = keys
    self.authenticator = authenticator
    self.maximumResponseBytes = maximumResponseBytes
    self.document = document
  }

  /// `openrpc.json` as the binary carries it.
  public static var openRPCDocument: JSON {
    do { return try JSON.parse(PackageResources.openrpc_json) } catch {
      preconditionFailure("openrpc.json is not JSON: \(error)")
    }
  }

  /// All methods, by name.
  public var methods: [String: Method<APICall>] {
    let discover: [String: Method<APICall>] = [
      "rpc.discover": Method(byName: ["secret"]) { [document] (_, _) in document }
    ]
    let all = [runnerMethods, jobMethods, queryMethods, clusterMethods, keyMethods, storeMethods, discover]
      .reduce(into: [:]) { $0.merge($1) { _, _ in preconditionFailure("two methods of one name") } }
    return Dictionary(
      uniqueKeysWithValues: all.map { name, method in
        (name, audit?.following(method, named: name, authenticator) ?? method)
      })
  }
}
