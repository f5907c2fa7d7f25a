import ArgumentParser
import Logging

/// `hero-supervisor node`: runs a node until it is told to stop.
struct NodeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "node",
    abstract: "Run a node in the foreground.",
    discussion: """
      SIGTERM or Ctrl-C stops it: running jobs may end for jobs.drain_seconds, then
      it exits with 0. Every setting is explained in docs/configuration.md; a flag
      beats HERO_… in the environment, which beats the file. SIGHUP has it read the
      files of cluster.keys and api.tls again, without a pause.

      EXAMPLES
        hero-supervisor node
        hero-supervisor node --config cluster.json --name node-1
        HERO_LOG_LEVEL=debug hero-supervisor node --data-dir ./data
      """)

  @OptionGroup var options: NodeOptions

  func run() async throws {
    let loaded = try options.load()
    let log = loaded.configuration.log
    LoggingSystem.bootstrap { LineLogHandler(label: $0, configuration: log) }
    let logger = Logger(label: "configuration")
    for warning in loaded.warnings { logger.warning("\(warning)") }
    try await Node.run(loaded.configuration)
  }
}
