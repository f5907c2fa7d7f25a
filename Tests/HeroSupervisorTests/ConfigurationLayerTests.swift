import Logging
import Supervisor
import SupervisorAPI
import Testing

@testable import hero_supervisor

@Suite("The layers of a configuration", .timeLimit(.minutes(5)))
struct ConfigurationLayerTests {
  private func load(
    _ json: String? = nil, environment: [String: String] = [:], flags: [FlagSetting] = []
  ) throws -> ConfigurationLoader.Loaded {
    let directory = TemporaryDirectory()
    let file = json.map { directory.write($0, to: "c.json") }
    return try ConfigurationLoader(file: file, environment: environment, flags: flags, dataDirectory: "/data").load()
  }

  @Test("without any, give the defaults of the design")
  func defaults() throws {
    let configuration = try load().configuration
    #expect("\(configuration.api.listen)" == "127.0.0.1:8082")
    #expect("\(configuration.cluster.listen)" == "0.0.0.0:7946")
    #expect(!configuration.cluster.isConfigured)
    #expect(configuration.auth.openMethods == .automatic && !configuration.auth.hasKeys)
    #expect(configuration.jobs.killGraceSeconds == 5 && configuration.jobs.drainSeconds == 30)
    #expect(configuration.log.level == .info && configuration.log.format == .text)
    guard case .sqlite("/data/jobs.db") = configuration.store else {
      Issue.record("\(configuration.store)")
      return
    }
  }

  @Test("say what lets others in than the users of this machine")
  func openings() throws {
    func reason(_ json: String) throws -> OpenMethods {
      let configuration = try load(json).configuration
      return OpenMethods.decide(configuration.auth.openMethods, configuration.openings)
    }
    #expect(try reason("{}") == .toThisMachine)
    #expect(try reason(#"{"auth": {"open_methods": "auto"}}"#) == .toThisMachine)
    for (json, closed) in [
      (#"{"auth": {"open_methods": false}}"#, "auth.open_methods is false"),
      (#"{"auth": {"admin_secrets": ["0123456789abcdef"]}}"#, "auth.admin_secrets is set"),
      (#"{"auth": {"user_secrets": ["0123456789abcdef"]}}"#, "auth.user_secrets is set"),
      (#"{"auth": {"register_secrets": ["0123456789abcdef"]}}"#, "auth.register_secrets is set"),
      (#"{"api": {"allowed_hosts": ["a"]}}"#, "api.allowed_hosts is set"),
      (#"{"api": {"cors_origins": ["*"]}}"#, "api.cors_origins is set"),
      (#"{"api": {"trusted_proxies": ["127.0.0.1"]}}"#, "api.trusted_proxies is set"),
    ] {
      #expect(try reason(json) == .closed(reason: closed))
    }
  }

  @Test("take the old word for open methods, and warn of it")
  func loopbackMeansAuto() throws {
    let loaded = try load(#"{"auth": {"open_methods": "loopback"}}"#)
    #expect(loaded.configuration.auth.openMethods == .automatic)
    #expect(loaded.warnings.map(\.path) == ["auth.open_methods"])
    #expect(loaded.warnings.first?.message.contains("means \"auto\"") == true)
  }

  @Test("go default < file < environment < flag")
  func order() throws {
    let json = #"{"api": {"listen": "127.0.0.1:1", "max_batch": 2}, "log": {"level": "error"}}"#
    let environment = ["HERO_API_LISTEN": "127.0.0.1:3", "HERO_LOG_LEVEL": "debug", "HERO_API_MAX_BATCH": ""]
    let flags = [FlagSetting(flag: "--api", path: "api.listen", values: ["127.0.0.1:4"])]
    #expect(try load(json).configuration.api.listen.port == 1)
    #expect(try load(json, environment: environment).configuration.api.listen.port == 3)
    let all = try load(json, environment: environment, flags: flags)
    #expect(all.configuration.api.listen.port == 4)
    #expect(all.configuration.api.maxBatch == 2, "an empty variable sets nothing")
    #expect(all.configuration.log.level == .debug)
    let sources = Dictionary(uniqueKeysWithValues: all.effective.map { ("\($0.path)", $0.source) })
    #expect(sources["api.listen"] == .flag("--api"))
    #expect(sources["log.level"] == .environment("HERO_LOG_LEVEL"))
    #expect(sources["api.max_connections"] == .builtIn)
  }

  @Test("take lists from the environment with commas or as JSON")
  func lists() throws {
    for text in ["10.0.0.1:1, 10.0.0.2:2", #"["10.0.0.1:1","10.0.0.2:2"]"#] {
      let environment = ["HERO_CLUSTER_SEEDS": text, "HERO_CLUSTER_LISTEN": "127.0.0.1:7946"]
      let cluster = try load(environment: environment).configuration.cluster
      #expect(cluster.seeds.map(\.description) == ["10.0.0.1:1", "10.0.0.2:2"] && cluster.isConfigured)
    }
    let runners = #"[{"name": "a", "concurrency": 2}]"#
    #expect(try load(environment: ["HERO_RUNNERS": runners]).configuration.runners.map(\.concurrency) == [2])
  }

  @Test("let a store of a higher layer replace that of a lower one")
  func stores() throws {
    let json = #"{"store": {"sqlite": {"path": "/a.db"}}}"#
    let url = ["HERO_STORE_POSTGRES_URL": "postgres://h/d"]
    guard case .postgres(let postgres) = try load(json, environment: url).configuration.store,
      postgres.url == Secret("postgres://h/d"), postgres.leaseSeconds == 15, postgres.connections == 4
    else {
      Issue.record("the variable does not count")
      return
    }
    guard case .sqlite("/b.db") = try load(json, environment: ["HERO_STORE_SQLITE_PATH": "/b.db"]).configuration.store
    else {
      Issue.record("the variable does not count")
      return
    }
  }

  @Test("warn of a variable that nearly is a setting")
  func nearlyVariables() throws {
    let warnings = try load(environment: ["HERO_API_LISTN": "x", "HERO_SOMETHING_ELSE": "y"]).warnings
    #expect(
      warnings.map(\.description) == [
        "sets nothing; did you mean HERO_API_LISTEN? (environment variable HERO_API_LISTN)"
      ])
  }

  @Test("read runners and executors as the domain has them")
  func domain() throws {
    let json = """
      {"executors": {"rhai": {"command": ["rhai-run", "{payload_file}"], "payload": "file", "wrapper": ["nice"],
                              "env": {"A": "1"}, "pass_env": ["A", "B", "C"], "limits": {"open_files": 64}}},
       "runners": [{"name": "r", "executors": ["rhai", "shell"], "default_timeout_seconds": 1.5}]}
      """
    let configuration = try load(json, environment: ["A": "2", "B": "3"]).configuration
    #expect(
      configuration.executors == [
        ExecutorConfiguration(
          name: try ExecutorName("rhai"), command: ["rhai-run", "{payload_file}"], payload: .file, wrapper: ["nice"],
          environment: ["A": "1", "B": "3"], limits: ResourceLimits(openFiles: 64))
      ])
    #expect(
      configuration.runners == [
        RunnerSettings(
          name: try RunnerName("r"), queue: try QueueName("r"),
          executors: [try ExecutorName("rhai"), try ExecutorName("shell")],
          defaultTimeoutSeconds: 1.5)
      ])
  }

  @Test("leave the data directory to flag, variable, or the kind of user")
  func dataDirectory() {
    #expect(DataDirectory.standard(environment: ["HERO_DATA_DIR": "/x"], isRoot: true) == "/x")
    #expect(DataDirectory.standard(environment: ["HOME": "/root"], isRoot: true) == "/var/lib/hero-supervisor")
    let state = ["HOME": "/home/a", "XDG_STATE_HOME": "/state"]
    #expect(DataDirectory.standard(environment: state, isRoot: false) == "/state/hero-supervisor")
    #expect(
      DataDirectory.standard(environment: ["HOME": "/home/a"], isRoot: false) == "/home/a/.local/state/hero-supervisor")
  }

  @Test("name the node by flag, variable, or host")
  func nodeName() throws {
    #expect(try load(environment: ["HERO_NODE_NAME": "n1"]).configuration.nodeName.rawValue == "n1")
    let loader = ConfigurationLoader(environment: ["HERO_NODE_NAME": "n1"], nodeName: "n2")
    #expect(try loader.load().configuration.nodeName.rawValue == "n2")
    #expect(try !load().configuration.nodeName.rawValue.isEmpty)
  }
}
