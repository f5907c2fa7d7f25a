import Glibc
import JSONRPC
import PostgresJobStore
import Supervisor

/// A flag of the command line that sets a key of the configuration.
struct FlagSetting: Sendable {
  /// As the user wrote it: `--api`.
  var flag: String
  /// The key it sets: `api.listen`.
  var path: String
  var values: [String]
  /// Whether the key is a list.
  var isList = false
}

/// Makes a `Configuration` from its layers: default < file < environment < flag.
struct ConfigurationLoader {
  /// What becomes of `env:` and `file:` secrets that are not there.
  enum MissingSecrets { case areProblems, areWarnings }

  /// The file, `nil` for none.
  var file: String?
  /// The variables of this process, for `HERO_…` and `env:NAME`.
  var environment: [String: String]
  /// Those of them that are not UTF-8, and cannot be passed on as they are.
  var unreadableVariables: Set<String> = []
  /// Whether `HERO_…` variables count; `config check` looks at the file alone.
  var appliesEnvironment = true
  var flags: [FlagSetting] = []
  var nodeName: String?
  var dataDirectory: String?
  var missingSecrets = MissingSecrets.areProblems

  /// A valid configuration and what else is worth knowing of it.
  struct Loaded: Sendable {
    var configuration: Configuration
    var warnings: [ConfigurationProblem]
    /// Every setting as it is in force, in the order of the schema.
    var effective: [EffectiveSetting]
  }

  /// Reads and judges all layers.
  /// - Throws: every problem there is.
  func load() throws(ConfigurationError) -> Loaded {
    let findings = ConfigurationFindings()
    let contents = try fileContents()
    var tree = try fileTree(contents)
    if appliesEnvironment { applyEnvironment(to: &tree, findings) }
    for flag in flags where !flag.values.isEmpty { apply(flag, to: &tree) }

    let reading = ConfigurationSchema.read(tree, findings: findings)
    ConfigurationChecks.run(reading, findings)
    if let contents { ConfigurationChecks.checkLiteralKeys(reading, in: contents, findings) }
    let name = resolveNodeName(findings)
    let directory = DataDirectory.absolute(dataDirectory ?? DataDirectory.standard(environment: environment))

    func resolve(_ references: [SecretReference], _ path: String) -> [Secret] {
      let source = findings.source(of: path)
      return references.enumerated().flatMap { index, reference in
        let keys = self.resolve(reference, "\(path)[\(index)]", source, findings)
        if keys.contains(where: \.isShorterThanKeys) {
          findings.problem(
            "\(path)[\(index)]",
            "expected a key of at least \(Secret.minimumKeyBytes) bytes (\(reference)); `openssl rand -hex 32` makes one",
            source)
        }
        return keys
      }
    }
    var cluster = reading.cluster
    cluster.keys = loadKeys(reading.clusterKeys, findings)
    cluster.tls = checkClusterTLS(reading.cluster.tls, name, findings)
    var api = reading.api
    api.tls = checkTLS(reading.api.tls, findings)
    var auth = reading.auth
    auth.adminSecrets = resolve(reading.adminSecrets, "auth.admin_secrets")
    auth.userSecrets = resolve(reading.userSecrets, "auth.user_secrets")
    auth.registerSecrets = resolve(reading.registerSecrets, "auth.register_secrets")
    let store: StoreConfiguration =
      switch reading.store.choice {
      case .sqlite(let path): .sqlite(path: absolutePath(path, relativeTo: directory))
      case .postgres(let url, let leaseSeconds, let connections):
        .postgres(
          PostgresConfiguration(
            url: databaseURL(url, reading.store.source, findings),
            source: url.absolute(relativeTo: self.directory(of: findings.source(of: "store.postgres.url"))),
            leaseSeconds: leaseSeconds, connections: connections))
      }

    for executor in reading.executors {
      let path = "executors.\(executor.configuration.name).pass_env"
      for variable in executor.passedVariables where unreadableVariables.contains(variable.rawValue) {
        findings.problem(path, "the value of \(variable.rawValue) is not UTF-8", findings.source(of: path))
      }
    }
    guard findings.problems.isEmpty, let name else {
      throw ConfigurationError(problems: findings.problems, warnings: findings.warnings)
    }
    var log = reading.log
    log.auditFile = log.auditFile.map { absolutePath($0, relativeTo: directory) }
    let configuration = Configuration(
      nodeName: name, dataDirectory: directory, file: file, cluster: cluster, api: api, auth: auth,
      store: store, executors: reading.executors.map { $0.resolved(environment) },
      runners: reading.runners.map(\.settings), runnerNodes: reading.runnerNodes,
      jobs: reading.jobs, retention: reading.retention, log: log, keyFiles: keyFiles(reading, findings))
    return Loaded(configuration: configuration, warnings: findings.warnings, effective: findings.effective)
  }

  /// The file, if one is named.
  private func fileContents() throws(ConfigurationError) -> FileBytes? {
    guard let file else { return nil }
    do throws(FileBytes.Failure) { return try .read(file, limit: 16 << 20) } catch {
      throw failure("cannot read the configuration: \(error.reason)", of: file)
    }
  }

  private func fileTree(_ contents: FileBytes?) throws(ConfigurationError) -> SettingNode {
    guard let file, let contents else { return SettingNode(.object([]), source: .builtIn) }
    do throws(JSONParseError) {
      return SettingNode(try JSON.parse(contents.bytes), source: .file(file))
    } catch {
      throw failure("not valid JSON: \(error)", of: file)
    }
  }

  private func failure(_ message: String, of file: String) -> ConfigurationError {
    ConfigurationError(problems: [ConfigurationProblem(path: "", message: message, source: .file(file))])
  }

  private func applyEnvironment(to tree: inout SettingNode, _ findings: ConfigurationFindings) {
    let known = ConfigurationSchema.known.compactMap { setting in
      setting.environmentName.map { (name: $0, path: setting.pattern.split(separator: ".").map(String.init)) }
    }
    for (name, path) in known {
      // An empty variable is as good as none: compose files and units pass variables on that way.
      guard let text = environment[name], !text.isEmpty else { continue }
      tree.put(SettingNode(.text(text), source: .environment(name)), at: path[...])
    }
    let names = known.map(\.name) + Self.otherVariables
    for name in environment.keys.sorted() where name.hasPrefix("HERO_") && !names.contains(name) {
      guard let near = suggestion(for: String(name.dropFirst(5)), among: known.map { String($0.name.dropFirst(5)) })
      else { continue }
      findings.warning("", "sets nothing; did you mean HERO_\(near)?", .environment(name))
    }
  }

  /// Variables with a meaning of their own, which set no key of the file.
  private static let otherVariables = [
    "HERO_CONFIG", "HERO_DATA_DIR", "HERO_NODE_NAME", "HERO_ENDPOINTS", "HERO_SECRET", "HERO_ADMIN",
    "HERO_CA_FILE", "HERO_TLS_CERTIFICATE", "HERO_TLS_KEY",
    // What a node sets for its jobs, in which this program may run as well.
    "HERO_JOB_ID", "HERO_RUNNER", "HERO_NODE", "HERO_CALLER_ID", "HERO_CONTEXT_ID",
  ]

  private func apply(_ flag: FlagSetting, to tree: inout SettingNode) {
    let source = SettingSource.flag(flag.flag)
    let values = flag.values.map { SettingNode(.text($0), source: source) }
    let path = flag.path.split(separator: ".").map(String.init)
    tree.put(flag.isList ? SettingNode(.list(values), source: source) : values[values.count - 1], at: path[...])
  }

  private func resolveNodeName(_ findings: ConfigurationFindings) -> NodeName? {
    var source = SettingSource.builtIn
    var text = hostName()
    if let variable = environment["HERO_NODE_NAME"], !variable.isEmpty {
      (text, source) = (variable, .environment("HERO_NODE_NAME"))
    }
    if let nodeName { (text, source) = (nodeName, .flag("--name")) }
    do throws(InvalidName) { return try NodeName(text) } catch {
      findings.problem("", "the node's name \(error.reason), got \(quoted(text))", source)
      return nil
    }
  }

  private func hostName() -> String {
    var buffer = [CChar](repeating: 0, count: 256)
    guard gethostname(&buffer, buffer.count - 1) == 0, buffer[0] != 0 else { return "localhost" }
    return String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  private func resolve(
    _ reference: SecretReference, _ path: String, _ source: SettingSource, _ findings: ConfigurationFindings
  ) -> [Secret] {
    do throws(SecretReference.Failure) {
      let resolution = try reference.resolve(relativeTo: directory(of: source), environment: environment)
      if let warning = resolution.warning { findings.warning(path, warning, source) }
      return resolution.secrets
    } catch {
      if error.isAbsence {
        missing(path, error.reason, source, findings)
      } else {
        findings.problem(path, error.reason, source)
      }
      return []
    }
  }

  private func keyFiles(_ reading: ConfigurationSchema.Reading, _ findings: ConfigurationFindings) -> [String] {
    var settings = [
      ("auth.admin_secrets", reading.adminSecrets), ("auth.user_secrets", reading.userSecrets),
      ("auth.register_secrets", reading.registerSecrets), ("cluster.keys", reading.clusterKeys),
    ]
    if case .postgres(let url, _, _) = reading.store.choice { settings.append(("store.postgres.url", [url])) }
    return settings.flatMap { setting, references in
      let directory = directory(of: findings.source(of: setting))
      return references.compactMap { reference in
        if case .file(let path) = reference.absolute(relativeTo: directory) { path } else { nil }
      }
    }
  }

  /// The connection string of the database, empty after a problem, which shows nothing of it.
  private func databaseURL(
    _ reference: SecretReference, _ source: SettingSource, _ findings: ConfigurationFindings
  ) -> Secret {
    let path = "store.postgres.url"
    guard let url = resolve(reference, path, source, findings).first else { return Secret("") }
    if let problem = ConnectionString.problem(with: url.reveal()) {
      findings.problem(path, "expected a connection string of libpq: \(problem)", source)
    }
    return url
  }

  /// The keys of the cluster, none after a problem.
  private func loadKeys(_ references: [SecretReference], _ findings: ConfigurationFindings) -> ClusterKeys {
    let source = findings.source(of: "cluster.keys")
    let directory = directory(of: source)
    do throws(ClusterKeys.Failure) {
      let (keys, warnings) = try ClusterKeys.load(
        references.map { $0.absolute(relativeTo: directory) }, environment: environment)
      for warning in warnings { findings.warning("cluster.keys[\(warning.index)]", warning.reason, source) }
      return keys
    } catch {
      for problem in error.problems {
        let path = "cluster.keys[\(problem.index)]"
        if problem.isAbsence {
          missing(path, problem.reason, source, findings)
        } else {
          findings.problem(path, problem.reason, source)
        }
      }
      return .empty
    }
  }

  /// The files of `cluster.tls` by absolute paths, after a look at what is in them.
  private func checkClusterTLS(
    _ files: ClusterTLSFiles?, _ name: NodeName?, _ findings: ConfigurationFindings
  ) -> ClusterTLSFiles? {
    guard var files, let name else { return nil }
    func absolute(_ path: String, _ setting: String) -> String {
      absolutePath(path, relativeTo: directory(of: findings.source(of: "cluster.tls.\(setting)")))
    }
    files.certificate = absolute(files.certificate, "certificate")
    files.privateKey = absolute(files.privateKey, "private_key")
    files.ca = absolute(files.ca, "ca")
    files.crl = files.crl.map { absolute($0, "crl") }
    do throws(TLSFileFailure) {
      let loaded = try files.load(for: name.rawValue)
      var warnings = loaded.warnings
      if let outdated = loaded.outdated { warnings.append(outdated) }
      warn(warnings, loaded.validity, of: files.certificate, "cluster.tls.certificate", findings)
    } catch {
      // Each node has its own, and a check on another machine cannot know whose it looks at.
      refuse(error, areOfOtherMachines: missingSecrets == .areWarnings, findings)
    }
    return files
  }

  /// The files of `api.tls` by absolute paths, after a look at what is in them.
  private func checkTLS(_ files: TLSFiles?, _ findings: ConfigurationFindings) -> TLSFiles? {
    guard var files else { return nil }
    func absolute(_ path: String, _ setting: String) -> String {
      absolutePath(path, relativeTo: directory(of: findings.source(of: "api.tls.\(setting)")))
    }
    files.certificate = absolute(files.certificate, "certificate")
    files.key = absolute(files.key, "key")
    files.clientCA = files.clientCA.map { absolute($0, "client_ca") }
    files.clientCRL = files.clientCRL.map { absolute($0, "client_crl") }
    do throws(TLSFileFailure) {
      let loaded = try files.load()
      warn(loaded.warnings, loaded.validity, of: files.certificate, "api.tls.certificate", findings)
    } catch {
      refuse(error, findings)
    }
    return files
  }

  private func warn(
    _ warnings: [TLSFileProblem], _ validity: CertificateValidity, of file: String, _ setting: String,
    _ findings: ConfigurationFindings
  ) {
    var warnings = warnings
    if let warning = validity.warning(at: Int64(time(nil))) {
      warnings.append(TLSFileProblem(setting: setting, reason: "\(file): \(warning)"))
    }
    for warning in warnings {
      findings.warning(warning.setting, warning.reason, findings.source(of: warning.setting))
    }
  }

  /// - Parameter areOfOtherMachines: whether the files may be meant for another one.
  private func refuse(
    _ failure: TLSFileFailure, areOfOtherMachines: Bool = false, _ findings: ConfigurationFindings
  ) {
    for problem in failure.problems {
      let source = findings.source(of: problem.setting)
      if problem.isAbsence || areOfOtherMachines {
        missing(problem.setting, problem.reason, source, findings)
      } else {
        findings.problem(problem.setting, problem.reason, source)
      }
    }
  }

  /// A path in the file is relative to the file, so that the two can be moved together.
  private func directory(of source: SettingSource) -> String {
    guard case .file(let path) = source else { return DataDirectory.workingDirectory }
    let absolute = DataDirectory.absolute(path)
    let directory = String(absolute[..<(absolute.lastIndex(of: "/") ?? absolute.startIndex)])
    return directory.isEmpty ? "/" : directory
  }

  private func missing(
    _ path: String, _ reason: String, _ source: SettingSource, _ findings: ConfigurationFindings
  ) {
    switch missingSecrets {
    case .areProblems: findings.problem(path, reason, source)
    case .areWarnings: findings.warning(path, reason, source)
    }
  }
}

extension ConfigurationSchema.Reading {
  /// Each runner of a queue that a node is named for, with that node.
  fileprivate var runnerNodes: [RunnerName: NodeName] {
    var nodes: [QueueName: NodeName] = [:]
    for runner in runners {
      if let node = runner.node { nodes[runner.settings.queue] = node }
    }
    return runners.reduce(into: [:]) { $0[$1.settings.name] = nodes[$1.settings.queue] }
  }
}

extension ExecutorReading {
  /// The executor with the variables it passes on; what it sets itself wins.
  func resolved(_ environment: [String: String]) -> ExecutorConfiguration {
    var result = configuration
    for name in passedVariables where result.environment[name] == nil {
      if let value = environment[name.rawValue] { result.environment[name] = value }
    }
    return result
  }
}
