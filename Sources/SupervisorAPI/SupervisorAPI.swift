import JSONRPC
import Supervisor

/// The methods of `openrpc.json` over the domain, a group a file.
public struct SupervisorAPI: Sendable {
  let registry: RunnerRegistry
  let authenticator: Authenticator
  let maximumResponseBytes: Int
  private let document: JSON

  /// - Parameter document: `openrpc.json`, served by `rpc.discover`.
  public init(registry: RunnerRegistry, authenticator: Authenticator, maximumResponseBytes: Int, document: JSON) {
    self.registry = registry
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
    return [runnerMethods, jobMethods, queryMethods, clusterMethods, discover]
      .reduce(into: [:]) { $0.merge($1) { _, _ in preconditionFailure("two methods of one name") } }
  }
}
