import Glibc
import Supervisor

/// What no key can be judged for alone: settings that contradict each other, and what this machine cannot do.
enum ConfigurationChecks {
  static func run(_ reading: ConfigurationSchema.Reading, _ findings: ConfigurationFindings) {
    checkKeys(reading, findings)
    checkOpenMethods(reading, findings)
    checkBuffers(reading.api, findings)
    checkClusterKeys(reading, findings)
    checkRunners(reading, findings)
    checkRunnerNodes(reading, findings)
    for executor in reading.executors { checkMachine(executor.configuration, findings) }
  }

  private static func checkKeys(_ reading: ConfigurationSchema.Reading, _ findings: ConfigurationFindings) {
    guard !reading.api.listen.isLoopback else { return }
    let source = findings.source(of: "api.listen")
    let hasKeys = !(reading.adminSecrets + reading.userSecrets + reading.registerSecrets).isEmpty
    if !hasKeys, !findings.problems.contains(where: { $0.path.hasPrefix("auth") }) {
      findings.problem(
        "api.listen",
        "\(reading.api.listen) is reachable from other machines and no key is configured; "
          + "set auth.admin_secrets, or listen on 127.0.0.1", source)
    }
  }

  private static func checkOpenMethods(_ reading: ConfigurationSchema.Reading, _ findings: ConfigurationFindings) {
    guard reading.auth.openMethods == .always else { return }
    let source = findings.source(of: "auth.open_methods")
    if !reading.api.corsOrigins.isEmpty {
      findings.problem(
        "auth.open_methods",
        "true and api.cors_origins exclude each other, since every page of those origins could call without a key",
        source)
    }
    if !reading.api.listen.isLoopback {
      findings.warning(
        "auth.open_methods", "anyone who reaches \(reading.api.listen) may stop and remove runners without a key",
        source)
    }
  }

  /// Whoever may read the file has the keys that stand in it, and whoever may write it can put his own there.
  static func checkLiteralKeys(
    _ reading: ConfigurationSchema.Reading, in file: FileBytes, _ findings: ConfigurationFindings
  ) {
    guard file.isReadableByOthers || file.isWritableByOthers else { return }
    let settings = [
      ("auth.admin_secrets", reading.adminSecrets), ("auth.user_secrets", reading.userSecrets),
      ("auth.register_secrets", reading.registerSecrets), ("cluster.keys", reading.clusterKeys),
    ]
    for (setting, references) in settings {
      let source = findings.source(of: setting)
      guard case .file(let path) = source, let index = references.firstIndex(where: \.isLiteral) else { continue }
      let remedy = "(mode \(file.permissions)); do `chmod 600 \(path)`, or name the key by file: or env:"
      if file.isWritableByOthers {
        findings.problem("\(setting)[\(index)]", "stands in a file that other users may write \(remedy)", source)
      } else {
        findings.warning("\(setting)[\(index)]", "stands in a file that other users may read \(remedy)", source)
      }
    }
  }

  /// A request or an answer of the largest size needs room, or it would be refused for ever.
  private static func checkBuffers(_ api: APIConfiguration, _ findings: ConfigurationFindings) {
    for (name, bytes) in [("max_request_bytes", api.maxRequestBytes), ("max_response_bytes", api.maxResponseBytes)]
    where 2 * bytes > api.maxBufferedBytes {
      findings.problem(
        "api.max_buffered_bytes", "expected at least twice api.\(name) (\(bytes)), got \(api.maxBufferedBytes)",
        findings.source(of: "api.max_buffered_bytes"))
    }
  }

  /// Without a key anyone who reaches the cluster's port could be a member.
  private static func checkClusterKeys(_ reading: ConfigurationSchema.Reading, _ findings: ConfigurationFindings) {
    let listen = reading.cluster.listen
    guard reading.cluster.isConfigured, reading.clusterKeys.isEmpty else { return }
    guard !findings.problems.contains(where: { $0.path.hasPrefix("cluster") }) else { return }
    if listen.isLoopback {
      // Its jobs reach the port, and a member may have others run what it likes.
      let strangers = reading.executors.map(\.configuration).first { $0.user != nil || $0.sandbox?.hasNetwork == true }
      guard let strangers else { return }
      findings.problem(
        "cluster.keys",
        "there is none, so that the jobs of executor \(quoted(strangers.name.rawValue)) could take part as a node, and run "
          + "jobs as this one's user; make one with `hero-supervisor cluster keygen`",
        findings.source(of: "cluster.keys"))
      return
    }
    findings.problem(
      "cluster.keys",
      "there is none, and cluster.listen (\(listen)) is reachable from other machines; make one with "
        + "`hero-supervisor cluster keygen`, or listen on 127.0.0.1", findings.source(of: "cluster.keys"))
  }

  private static func checkRunners(_ reading: ConfigurationSchema.Reading, _ findings: ConfigurationFindings) {
    let known = ExecutorReading.builtIn + reading.executors.map(\.configuration.name.rawValue)
    var seen: [RunnerName: SettingPath] = [:]
    for runner in reading.runners {
      let settings = runner.settings
      if let first = seen[settings.name] {
        let path = "\(runner.path + "name")"
        let message = "\(quoted(settings.name.rawValue)) is the name of \(first) already"
        findings.problem(path, message, findings.source(of: path))
      }
      seen[settings.name] = seen[settings.name] ?? runner.path
      let path = "\(runner.path + "executors")"
      for name in settings.executors?.sorted() ?? [] where !known.contains(name.rawValue) {
        let hint = suggestion(for: name.rawValue, among: known).map { "did you mean \"\($0)\"?" }
        let message = "no executor is called \(quoted(name.rawValue)); "
        findings.problem(
          path, message + (hint ?? "known: \(known.joined(separator: ", "))"), findings.source(of: path))
      }
    }
  }

  /// A queue lives on one node.
  private static func checkRunnerNodes(_ reading: ConfigurationSchema.Reading, _ findings: ConfigurationFindings) {
    var seen: [QueueName: (node: NodeName, path: SettingPath)] = [:]
    for runner in reading.runners {
      guard let node = runner.node else { continue }
      let queue = runner.settings.queue
      if let first = seen[queue], first.node != node {
        let path = "\(runner.path + "node")"
        findings.problem(
          path,
          "a queue lives on one node, and \(first.path) has put \(quoted(queue.rawValue)) on "
            + quoted(first.node.rawValue), findings.source(of: path))
      }
      seen[queue] = seen[queue] ?? (node, runner.path)
    }
  }

  /// Hints only: the file may be checked on another machine than the one that will use it.
  private static func checkMachine(_ executor: ExecutorConfiguration, _ findings: ConfigurationFindings) {
    let path = "\(SettingPath.root + "executors" + executor.name.rawValue)"
    if let user = executor.user {
      let source = findings.source(of: "\(path).user")
      if getpwnam(user) == nil {
        findings.warning("\(path).user", "this machine has no user \(quoted(user))", source)
      } else if geteuid() != 0, getpwnam(user).pointee.pw_uid != geteuid() {
        findings.warning("\(path).user", "only a node that runs as root can start jobs as \(quoted(user))", source)
      }
    }
    for readable in executor.sandbox?.readablePaths ?? [] where access(readable, F_OK) != 0 {
      findings.warning(
        "\(path).sandbox.read", "\(readable): \(errorText(errno))", findings.source(of: "\(path).sandbox"))
    }
    for (key, program) in [("wrapper", executor.wrapper.first), ("command", executor.command.first)] {
      guard let program, program.hasPrefix("/"), access(program, X_OK) != 0 else { continue }
      findings.warning(
        "\(path).\(key)[0]", "\(program): \(errorText(errno))", findings.source(of: "\(path).\(key)"))
    }
  }
}
