import ArgumentParser

/// The flags that configure a node; `node` and `config show` take the same.
struct NodeOptions: ParsableArguments {
  @Option(
    name: .customLong("config"),
    help: ArgumentHelp("The configuration file. (default: $HERO_CONFIG, or none)", valueName: "file"),
    completion: .file(extensions: ["json"]))
  var file: String?

  @Option(help: ArgumentHelp("This node's name. (default: $HERO_NODE_NAME, or the host's name)"))
  var name: String?

  @Option(help: ArgumentHelp("Where to serve the API. (api.listen, default: 127.0.0.1:8082)", valueName: "ip:port"))
  var api: String?

  @Option(
    help: ArgumentHelp("Where peers reach this node. (cluster.listen, default: 0.0.0.0:7946)", valueName: "ip:port"))
  var cluster: String?

  @Option(
    help: ArgumentHelp(
      "What peers are told to use instead of the --cluster address. (cluster.advertise)", valueName: "host:port"))
  var advertise: String?

  @Option(
    help: ArgumentHelp("A node to join; may be repeated. (cluster.seeds)", valueName: "host:port"))
  var join: [String] = []

  @Option(
    help: ArgumentHelp(
      "Where the node keeps its state. (default: $HERO_DATA_DIR, or /var/lib/hero-supervisor for root, or "
        + "~/.local/state/hero-supervisor)", valueName: "directory"),
    completion: .directory)
  var dataDir: String?

  @Option(
    help: ArgumentHelp("trace, debug, info, notice, warning, error or critical. (log.level)", valueName: "level"),
    completion: .list(["trace", "debug", "info", "notice", "warning", "error", "critical"]))
  var logLevel: String?

  @Option(
    help: ArgumentHelp("text or json. (log.format)", valueName: "format"), completion: .list(["text", "json"]))
  var logFormat: String?

  /// Reads all layers.
  /// - Throws: `CommandFailure` with every problem there is.
  func load(missingSecrets: ConfigurationLoader.MissingSecrets = .areProblems) throws -> ConfigurationLoader.Loaded {
    let environment = processEnvironment()
    func setting(_ flag: String, _ path: String, _ value: String?) -> FlagSetting {
      FlagSetting(flag: flag, path: path, values: value.map { [$0] } ?? [])
    }
    let variable = environment["HERO_CONFIG"].flatMap { $0.isEmpty ? nil : $0 }
    let loader = ConfigurationLoader(
      file: file ?? variable, environment: environment,
      unreadableVariables: ProgramArguments.unreadableVariables(),
      flags: [
        setting("--api", "api.listen", api),
        setting("--cluster", "cluster.listen", cluster),
        setting("--advertise", "cluster.advertise", advertise),
        FlagSetting(flag: "--join", path: "cluster.seeds", values: join, isList: true),
        setting("--log-level", "log.level", logLevel),
        setting("--log-format", "log.format", logFormat),
      ], nodeName: name, dataDirectory: dataDir, missingSecrets: missingSecrets)
    do throws(ConfigurationError) { return try loader.load() } catch { throw CommandFailure(error) }
  }
}

extension CommandFailure {
  /// All problems of a configuration, each on its line.
  init(_ error: ConfigurationError) {
    let count = error.problems.count
    self.init(
      message: "the configuration has \(count == 1 ? "a problem" : "\(count) problems")",
      hints: error.problems.map(\.description), status: .usage)
  }
}
