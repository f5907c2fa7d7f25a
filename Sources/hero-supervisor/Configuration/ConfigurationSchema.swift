import EventLoop
import HTTPServer
import Logging
import Supervisor
import SupervisorAPI

/// Every key of the configuration: its name, what it takes, its default. The order is that of `config show`.
/// A key added here appears in `cluster.example.json` and in docs/configuration.md too; a test compares the three.
struct ConfigurationSchema {
  /// A runner and where it was written.
  struct RunnerReading {
    var settings: RunnerSettings
    /// The node that is to own it.
    var node: NodeName?
    var path: SettingPath
  }

  /// What the file, the environment and the flags say, with references to secrets not yet followed.
  struct Reading {
    var cluster: ClusterConfiguration
    var clusterKeys: [SecretReference]
    var api: APIConfiguration
    var auth: AuthConfiguration
    var adminSecrets: [SecretReference]
    var userSecrets: [SecretReference]
    var registerSecrets: [SecretReference]
    var store: StoreReading
    var executors: [ExecutorReading]
    var runners: [RunnerReading]
    var jobs: JobsConfiguration
    var retention: RetentionConfiguration
    var log: LogConfiguration
  }

  /// The settings that exist.
  static var known: [KnownSetting] {
    let findings = ConfigurationFindings(describesSchema: true)
    _ = read(SettingNode(.object([]), source: .builtIn), findings: findings)
    return findings.known
  }

  /// Reads a merged tree; all that is wrong goes to `findings`, and the default stands in for it.
  static func read(_ tree: SettingNode, findings: ConfigurationFindings) -> Reading {
    var root = SettingReader(tree, findings: findings)
    let (cluster, clusterKeys) = readCluster(root.section("cluster"))
    let api = readAPI(root.section("api"))
    var auth = root.section("auth")
    let admin = auth.value("admin_secrets", .secrets("secrets"), default: [])
    let user = auth.value("user_secrets", .secrets("secrets"), default: [])
    let register = auth.value("register_secrets", .secrets("secrets"), default: [])
    let open = auth.value("open_methods", .openMethods, default: .automatic)
    auth.finish()
    let store = StoreReading(root.section("store"))
    let executors = root.entries("executors", what: "executors by name").compactMap(ExecutorReading.init)
    let runners = root.elements("runners", what: "runners").compactMap(readRunner)
    let jobs = readJobs(root.section("jobs"))
    let retention = readRetention(root.section("retention"))
    let log = readLog(root.section("log"))
    root.finish()
    return Reading(
      cluster: cluster, clusterKeys: clusterKeys, api: api,
      auth: AuthConfiguration(adminSecrets: [], userSecrets: [], registerSecrets: [], openMethods: open),
      adminSecrets: admin, userSecrets: user, registerSecrets: register, store: store, executors: executors,
      runners: runners, jobs: jobs, retention: retention, log: log)
  }

  private static func readCluster(_ section: SettingReader) -> (ClusterConfiguration, [SecretReference]) {
    var section = section
    defer { section.finish() }
    var cluster = ClusterConfiguration(
      name: section.value("name", .label(1...128), default: "hero"),
      listen: section.value("listen", .listenAddress, default: HostPort(host: "0.0.0.0", port: 7946)),
      advertise: section.optional("advertise", .peerAddress),
      seeds: section.value("seeds", .list(of: .peerAddress, what: "addresses as HOST:PORT"), default: []),
      zone: section.value("zone", .label(0...64), default: ""),
      profile: section.value("profile", .word, default: .lan),
      keys: .empty, tls: nil, joinTimeoutSeconds: 0, isConfigured: section.isPresent)
    let keys = section.value("keys", .secrets("keys"), default: [])
    cluster.joinTimeoutSeconds = section.value("join_timeout_seconds", .number(0...3600), default: 10)
    cluster.tls = readClusterTLS(section.section("tls"))
    return (cluster, keys)
  }

  private static func readAPI(_ section: SettingReader) -> APIConfiguration {
    var section = section
    defer { section.finish() }
    var api = APIConfiguration(
      listen: section.value("listen", .listenAddress, default: .defaultAPI),
      allowedHosts: section.value("allowed_hosts", .list(of: .hostName, what: "host names"), default: []),
      corsOrigins: section.value("cors_origins", .list(of: .origin, what: "origins or \"*\""), default: []),
      trustedProxies: section.value(
        "trusted_proxies", .list(of: .addressRange, what: "addresses or CIDR blocks"), default: []),
      maxRequestBytes: section.value("max_request_bytes", .int(1024...(1 << 30)), default: 10 << 20),
      maxResponseBytes: section.value("max_response_bytes", .int(1024...(1 << 30)), default: 10 << 20),
      maxBufferedBytes: section.value("max_buffered_bytes", .int((32 << 20)...(1 << 40)), default: 256 << 20),
      maxBatch: section.value("max_batch", .int(1...1_000_000), default: 1000),
      maxConnections: section.value("max_connections", .int(1...1_000_000), default: 10_000))
    api.tls = readTLS(section.section("tls"))
    return api
  }

  /// Paths as they are written; all of it or nothing, but for the revocation list.
  private static func readClusterTLS(_ section: SettingReader) -> ClusterTLSFiles? {
    var section = section
    defer { section.finish() }
    let certificate = section.optional("certificate", .path)
    let key = section.optional("private_key", .path)
    let ca = section.optional("ca", .path)
    let crl = section.optional("crl", .path)
    if let certificate, let key, let ca {
      return ClusterTLSFiles(certificate: certificate, privateKey: key, ca: ca, crl: crl)
    }
    let all = [("certificate", certificate), ("private_key", key), ("ca", ca), ("crl", crl)]
    if let given = all.first(where: { $0.1 != nil })?.0 {
      for (missing, value) in all.dropLast() where value == nil {
        section.findings.problem(
          "\(section.path)", "\"\(given)\" needs the key \"\(missing)\" beside it", section.node.source)
      }
    }
    return nil
  }

  /// Paths as they are written.
  private static func readTLS(_ section: SettingReader) -> TLSFiles? {
    var section = section
    defer { section.finish() }
    let certificate = section.optional("certificate", .path)
    let key = section.optional("key", .path)
    let clientCA = section.optional("client_ca", .path)
    let clientCRL = section.optional("client_crl", .path)
    func need(_ missing: String, for given: String) {
      section.findings.problem(
        "\(section.path)", "\"\(given)\" needs the key \"\(missing)\" beside it", section.node.source)
    }
    if clientCRL != nil, clientCA == nil { need("client_ca", for: "client_crl") }
    switch (certificate, key) {
    case (let certificate?, let key?):
      return TLSFiles(certificate: certificate, key: key, clientCA: clientCA, clientCRL: clientCRL)
    case (nil, nil): if clientCA != nil { need("certificate", for: "client_ca") }
    case (nil, _): need("certificate", for: "key")
    case (_, nil): need("key", for: "certificate")
    }
    return nil
  }

  private static func readRunner(_ entry: SettingReader) -> RunnerReading? {
    var entry = entry
    defer { entry.finish() }
    let name: RunnerName? = entry.required("name", .name)
    let queue: QueueName? = entry.optional("queue", .name)
    let node: NodeName? = entry.optional("node", .name)
    let concurrency = entry.value("concurrency", .int(1...10_000), default: 1)
    let executors: [ExecutorName]? = entry.optional(
      "executors", .list(of: .name, atLeast: 1, what: "names of executors"))
    let onNodeLoss: NodeLossPolicy = entry.value("on_node_loss", .word, default: .requeue)
    let maxAttempts = entry.value("max_attempts", .int(1...1000), default: 3)
    let timeout = entry.value("default_timeout_seconds", .number(0...31_536_000), default: 300)
    guard let name else { return nil }
    let settings = RunnerSettings(
      name: name, queue: queue ?? QueueName(trusted: name.rawValue), concurrency: concurrency,
      executors: executors.map(Set.init), onNodeLoss: onNodeLoss, maxAttempts: maxAttempts,
      defaultTimeoutSeconds: timeout)
    return RunnerReading(settings: settings, node: node, path: entry.path)
  }

  private static func readJobs(_ section: SettingReader) -> JobsConfiguration {
    var section = section
    defer { section.finish() }
    return JobsConfiguration(
      maxOutputBytes: section.value("max_output_bytes", .int(0...(1 << 30)), default: 1 << 20),
      killGraceSeconds: section.value("kill_grace_seconds", .number(0...3600), default: 5),
      drainSeconds: section.value("drain_seconds", .number(0...86_400), default: 30),
      controlGroups: section.value("control_groups", .controlGroups, default: .whereAvailable))
  }

  private static func readRetention(_ section: SettingReader) -> RetentionConfiguration {
    var section = section
    defer { section.finish() }
    return RetentionConfiguration(
      days: section.value("days", .number(0...36_500), default: 7),
      maxJobs: section.value("max_jobs", .int(1...(.max)), default: 1_000_000))
  }

  private static func readLog(_ section: SettingReader) -> LogConfiguration {
    var section = section
    defer { section.finish() }
    return LogConfiguration(
      level: section.value("level", .logLevel, default: .info),
      format: section.value("format", .word, default: .text),
      auditFile: section.optional("audit_file", .string("a path")))
  }
}

extension HostPort {
  /// Where a node serves its API, and where the command line looks for the local one.
  static let defaultAPI = HostPort(host: "127.0.0.1", port: 8082)
}

extension SettingKind<AddressRange> {
  static let addressRange = simple(
    "an address or a CIDR block, such as \"127.0.0.1\" or \"10.0.0.0/8\"", show: { .string("\($0)") },
    parse: { node in node.asString.flatMap(AddressRange.init) })
}

extension SettingKind<OpenMethods.Setting> {
  static let openMethods = SettingKind(
    expected: "\"auto\", true or false",
    read: { node, path, findings in
      if let bool = node.asBool { return bool ? .always : .never }
      switch node.asString {
      case "auto": return .automatic
      case "loopback":
        findings.warning(
          path, "\"loopback\" means \"auto\" now, which asks for a key once one is configured", node.source)
        return .automatic
      default:
        findings.problem(path, "expected \"auto\", true or false, got \(node.shown)", node.source)
        return nil
      }
    }, show: { $0 == .automatic ? .string("auto") : .bool($0 == .always) })
}

extension SettingKind<JobsConfiguration.ControlGroups> {
  static let controlGroups = simple(
    "true, false or \"auto\"", show: { $0 == .whereAvailable ? .string("auto") : .bool($0 == .always) },
    parse: { node in
      if let bool = node.asBool { return bool ? .always : .never }
      return node.asString == "auto" ? .whereAvailable : nil
    })
}

extension SettingKind<Logger.Level> {
  static let logLevel = SettingKind.word(Logger.Level.allCases) { $0.rawValue }
}

extension SettingKind<String> {
  /// Of a file, relative to the file of the configuration.
  static let path = string("the path of a file")

  /// A name or an address as `Host` carries it, with or without a port.
  static let hostName = simple(
    "a host name such as \"hero.example\" or \"hero.example:8082\", or \"*\"", show: { .string($0) },
    parse: { node in node.asString.flatMap { $0 == "*" || HostAuthority($0) != nil ? $0 : nil } })

  /// An origin as browsers send it: a scheme, a host, perhaps a port, no path.
  static let origin = simple(
    "an origin such as \"https://example.com\" or \"*\"", show: { .string($0) },
    parse: { node in
      node.asString.flatMap { origin in
        if origin == "*" { return origin }
        guard let scheme = ["http://", "https://"].first(where: origin.hasPrefix) else { return nil }
        let host = origin.dropFirst(scheme.count)
        return host.isEmpty || host.contains("/") || host.contains(" ") ? nil : origin
      }
    })
}

extension SettingKind<[SecretReference]> {
  static func secrets(_ what: String) -> SettingKind {
    .list(of: .secret, what: "\(what) (the literal, \"env:NAME\" or \"file:PATH\")")
  }
}
