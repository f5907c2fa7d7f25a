import EventLoop
import Logging
import Supervisor
import SupervisorAPI

/// What one node was told, valid by construction: `ConfigurationLoader` is the only place that makes one, from the
/// file, the environment and the flags. docs/configuration.md explains every key.
struct Configuration: Sendable {
  /// This node's name: `--name`, `HERO_NODE_NAME`, or the host's name.
  var nodeName: NodeName
  /// Absolute path of the directory that holds the store, `admin.secret` and the jobs' working directories.
  var dataDirectory: String
  /// The file that was read, `nil` when there was none.
  var file: String?
  var cluster: ClusterConfiguration
  var api: APIConfiguration
  var auth: AuthConfiguration
  var store: StoreConfiguration
  /// Configured executors beside the built-in ones, in the order of their names in the file.
  var executors: [ExecutorConfiguration]
  /// Runners that exist from the start.
  var runners: [RunnerSettings]
  /// Which node is to own a configured runner, where the configuration says so. A queue lives on one node, so what is
  /// said of one of its runners is said of all.
  var runnerNodes: [RunnerName: NodeName]
  var jobs: JobsConfiguration
  var retention: RetentionConfiguration
  var log: LogConfiguration
  /// Files that hold keys, by absolute paths: what the configuration names as `file:`.
  var keyFiles: [String]

  /// What is the node's alone, and no job in a sandbox may see.
  var privatePaths: [String] {
    var paths = [dataDirectory] + keyFiles
    if let file { paths.append(DataDirectory.absolute(file)) }
    if let tls = api.tls { paths.append(tls.key) }
    if let tls = cluster.tls { paths.append(tls.privateKey) }
    if case .sqlite(let path) = store { paths.append(path) }
    if let path = log.auditFile { paths.append(path) }
    return paths
  }
}

/// The section `cluster`.
struct ClusterConfiguration: Sendable {
  /// Timing of membership, chosen by the network between the nodes.
  enum Profile: String, CaseIterable, Sendable { case lan, wan, local }

  var name: String
  var listen: HostPort
  /// What peers are told to use; `nil` is the address of `listen`.
  var advertise: HostPort?
  var seeds: [HostPort]
  /// Where the node stands, for people; gossiped.
  var zone: String
  var profile: Profile
  /// The first encrypts, all decrypt. Without any the node listens for its cluster on loopback only.
  var keys: ClusterKeys
  /// With it, peer links are made by certificates.
  var tls: ClusterTLSFiles?
  var joinTimeoutSeconds: Double
  /// Whether anyone set a key of this section; a node of which nobody said so is alone.
  var isConfigured: Bool
}

/// The section `api`.
struct APIConfiguration: Sendable {
  var listen: HostPort
  /// Names accepted in `Host` beside those of the listener; against DNS rebinding.
  var allowedHosts: [String]
  /// Origins that browsers may call from; `*` is any.
  var corsOrigins: [String]
  /// Proxies whose `X-Forwarded-For` is believed.
  var trustedProxies: [AddressRange]
  var maxRequestBytes: Int
  var maxResponseBytes: Int
  /// Bytes held for requests under way, and as many for answers.
  var maxBufferedBytes: Int
  /// Calls in one batch.
  var maxBatch: Int
  var maxConnections: Int
  /// With it the API speaks HTTPS only.
  var tls: TLSFiles?
}

/// The section `auth`: keys by scope. With no key at all the node makes one (`AdminSecretFile`).
struct AuthConfiguration: Sendable {
  var adminSecrets: [Secret]
  var userSecrets: [Secret]
  var registerSecrets: [Secret]
  /// Whether methods whose contract has no `secret` may be called without a key.
  var openMethods: OpenMethods.Setting

  /// Whether a key of any scope is configured.
  var hasKeys: Bool { !(adminSecrets.isEmpty && userSecrets.isEmpty && registerSecrets.isEmpty) }
}

/// The section `store`.
enum StoreConfiguration: Sendable {
  /// The database file, an absolute path.
  case sqlite(path: String)
  case postgres(PostgresConfiguration)
}

/// The section `store.postgres`.
struct PostgresConfiguration: Sendable {
  /// A connection string, which may hold a password.
  var url: Secret
  /// Where it comes from, by an absolute path: a file may have another password later.
  var source: SecretReference
  /// For how long a node may work without reaching the database.
  var leaseSeconds: Double
  /// How many connections a node has.
  var connections: Int
}

/// The section `jobs`.
struct JobsConfiguration: Sendable {
  /// How much of each of stdout and stderr is kept.
  var maxOutputBytes: Int
  /// Between SIGTERM and SIGKILL.
  var killGraceSeconds: Double
  /// How long a stopping node lets its running jobs run.
  var drainSeconds: Double
  /// Whether each job gets a control group.
  var controlGroups: ControlGroups

  enum ControlGroups: String, Sendable { case always, never, whereAvailable }
}

/// The section `retention`: how long finished jobs are kept.
struct RetentionConfiguration: Sendable {
  var days: Double
  var maxJobs: Int
}

/// The section `log`.
struct LogConfiguration: Sendable {
  enum Format: String, CaseIterable, Sendable { case text, json }

  var level: Logger.Level
  var format: Format
  /// Where each call that changes something is written as well, an absolute path; `nil` for nowhere.
  var auditFile: String?
}

extension Configuration {
  /// What it says that lets others in. Where the node listens, and as whom its jobs run, is known when it starts.
  var openings: OpenMethods.Openings {
    var openings = OpenMethods.Openings()
    openings.keySettings = [
      ("auth.admin_secrets", auth.adminSecrets), ("auth.user_secrets", auth.userSecrets),
      ("auth.register_secrets", auth.registerSecrets),
    ].compactMap { $1.isEmpty ? nil : $0 }
    openings.hasAllowedHosts = !api.allowedHosts.isEmpty
    openings.hasCORSOrigins = !api.corsOrigins.isEmpty
    openings.hasTrustedProxies = !api.trustedProxies.isEmpty
    openings.hasTLS = api.tls != nil
    return openings
  }
}
