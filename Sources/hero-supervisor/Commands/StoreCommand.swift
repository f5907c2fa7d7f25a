import ArgumentParser
import EventLoop
import Logging

/// `hero-supervisor store …`: the jobs of a store as a file, without asking a node; and its clock, by asking one.
struct StoreCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "store", abstract: "Back a store up, or move its jobs to another one.",
    discussion: """
      EXAMPLES
        hero-supervisor store export --output jobs.jsonl
        hero-supervisor store import jobs.jsonl --data-dir /srv/hero
        hero-supervisor store export | hero-supervisor store import --config b.json -
        hero-supervisor store confirm-clock
      """,
    subcommands: [StoreExport.self, StoreImport.self, StoreConfirmClock.self])
}

/// Which store: the one that a node with the same flags would use.
struct StoreOptions: ParsableArguments {
  @Option(
    name: .customLong("config"),
    help: ArgumentHelp("The node's configuration file. (default: $HERO_CONFIG, or none)", valueName: "file"),
    completion: .file(extensions: ["json"]))
  var file: String?

  @Option(
    help: ArgumentHelp(
      "The node's data directory. (default: $HERO_DATA_DIR, or where a node without the flag keeps its state)",
      valueName: "directory"),
    completion: .directory)
  var dataDir: String?

  /// Reads the layers that a node reads; secrets that only a node needs may be missing.
  func load() throws(CommandFailure) -> Configuration {
    let environment = processEnvironment()
    let variable = environment["HERO_CONFIG"].flatMap { $0.isEmpty ? nil : $0 }
    let loader = ConfigurationLoader(
      file: file ?? variable, environment: environment, dataDirectory: dataDir, missingSecrets: .areWarnings)
    let loaded: ConfigurationLoader.Loaded
    do throws(ConfigurationError) { loaded = try loader.load() } catch { throw CommandFailure(error) }
    if case .postgres(let postgres) = loaded.configuration.store, postgres.url.reveal().isEmpty {
      let problems = loaded.warnings.filter { $0.path.hasPrefix("store.") }
      throw CommandFailure(ConfigurationError(problems: problems))
    }
    return loaded.configuration
  }

  /// Opens the store on a loop of its own, and closes it in the end.
  func withStore<Value>(
    _ open: (Configuration, EventLoop, Logger) async throws -> MovableStore,
    _ body: (MovableStore) async throws -> Value
  ) async throws -> Value {
    let configuration = try load()
    var log = configuration.log
    log.level = .warning
    let logger = Logger(label: "store") { [log] in LineLogHandler(label: $0, configuration: log) }
    let loop = try EventLoop(name: "hero-store")
    loop.start()
    let result: Result<Value, any Error>
    do {
      let store = try await open(configuration, loop, logger)
      do { result = .success(try await body(store)) } catch { result = .failure(error) }
      await store.close()
    } catch {
      await loop.stop()
      throw error
    }
    await loop.stop()
    return try result.get()
  }
}
