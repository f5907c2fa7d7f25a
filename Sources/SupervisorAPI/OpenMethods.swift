import EventLoop
import HTTPServer

/// To whom the methods whose contract has no `secret` are open without a key.
///
/// Clients of the contract send no key there, so a node of which nobody has configured anything is open to its own
/// machine. As soon as an operator lets others in, by whatever setting, a key is needed.
public enum OpenMethods: Hashable, Sendable {
  /// To whoever reaches the node: the configuration says so.
  case toAll
  /// To requests of this machine (`RequestOrigin.thisMachine`).
  case toThisMachine
  /// To nobody.
  /// - Parameter reason: the setting that closed them, in words for the client and for the log.
  case closed(reason: String)

  /// The setting `auth.open_methods`.
  public enum Setting: Sendable {
    case automatic, always, never
  }

  /// What lets others in than the users of this machine. Each is a reason to ask for a key.
  public struct Openings: Sendable {
    /// The settings that hold a key, such as `auth.user_secrets`. A key that the node made for itself is none.
    public var keySettings: [String] = []
    /// Whether a key was made at run time.
    public var hasCreatedKeys = false
    public var hasAllowedHosts = false
    public var hasCORSOrigins = false
    public var hasTrustedProxies = false
    public var hasTLS = false
    /// Where the API is served by TCP.
    public var listeners: [SocketAddress] = []
    /// Executors whose jobs run as another user than the node's: a user of this machine who is not to read the API.
    public var executorsOfOtherUsers: [String] = []
    /// Executors whose jobs run in a sandbox, which the node's network may be part of.
    public var executorsWithSandbox: [String] = []

    public init() {}
  }

  /// The rule.
  public static func decide(_ setting: Setting, _ openings: Openings) -> OpenMethods {
    switch setting {
    case .always: .toAll
    case .never: .closed(reason: "auth.open_methods is false")
    case .automatic: openings.reason.map { .closed(reason: $0) } ?? .toThisMachine
    }
  }

  /// Why a request without a key is refused; `nil` when it is not.
  func refusal(of origin: RequestOrigin) -> String? {
    switch (self, origin) {
    case (.toAll, _), (.toThisMachine, .thisMachine): nil
    case (.closed(let reason), _): reason
    case (.toThisMachine, .proxy(let field)):
      "the request came through a proxy (\(field)), and without a configured key this node serves its own machine only"
    case (.toThisMachine, .elsewhere):
      "the request is not of this machine, and without a configured key this node serves its own machine only"
    }
  }
}

extension OpenMethods.Openings {
  /// The first that there is.
  fileprivate var reason: String? {
    if let setting = keySettings.first { return "\(setting) is set" }
    if hasCreatedKeys { return "a key was created" }
    if hasAllowedHosts { return "api.allowed_hosts is set" }
    if hasCORSOrigins { return "api.cors_origins is set" }
    if hasTrustedProxies { return "api.trusted_proxies is set" }
    if hasTLS { return "api.tls is set" }
    if let address = listeners.first(where: { !$0.isLoopback }) {
      return "the node listens on \(address), which other machines can reach"
    }
    if listeners.count > 1 { return "the node listens on more than one address" }
    if let executor = executorsWithSandbox.first { return "executors.\(executor).sandbox keeps jobs from the node" }
    if let executor = executorsOfOtherUsers.first {
      return "executors.\(executor).user is another user than the node's"
    }
    return nil
  }
}
