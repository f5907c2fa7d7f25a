import ArgumentParser
import JSONRPC

/// `hero-supervisor config …`: looks at a configuration without starting anything.
struct ConfigCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "config", abstract: "Check a configuration, or show what is in force.",
    discussion: """
      EXAMPLES
        hero-supervisor config check cluster.json
        hero-supervisor config show --config cluster.json
      """,
    subcommands: [Check.self, Show.self])

  struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Check a configuration file by itself.",
      discussion: """
        Prints "ok", or every problem with its path in the file. The environment
        and flags are left aside. What may differ on the machine that will use the
        file (a secret, a program or a path that is missing here) is a warning,
        and a problem with --strict.

        EXAMPLES
          hero-supervisor config check cluster.json
          hero-supervisor config check --strict --json cluster.json

        EXIT STATUS
          0 ok; 2 problems.
        """)

    @Argument(help: "The configuration file.", completion: .file(extensions: ["json"]))
    var file: String

    @Flag(help: "Treat warnings as problems.")
    var strict = false

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
      let loader = ConfigurationLoader(
        file: file, environment: processEnvironment(), appliesEnvironment: false, missingSecrets: .areWarnings)
      var problems: [ConfigurationProblem] = []
      var warnings: [ConfigurationProblem] = []
      do throws(ConfigurationError) { warnings = try loader.load().warnings } catch {
        (problems, warnings) = (error.problems, error.warnings)
      }
      if strict { (problems, warnings) = (problems + warnings, []) }

      if json {
        StandardStreams.out(
          JSON.object(["ok": .bool(problems.isEmpty), "problems": list(problems), "warnings": list(warnings)]).pretty())
        if !problems.isEmpty { throw ExitCode(ExitStatus.usage.rawValue) }
        return
      }
      for warning in warnings { StandardStreams.error("warning: \(warning)\n") }
      guard problems.isEmpty else { throw CommandFailure(ConfigurationError(problems: problems)) }
      StandardStreams.out("ok\n")
    }

    private func list(_ problems: [ConfigurationProblem]) -> JSON {
      .array(
        problems.map { problem in
          ["path": .string(problem.path), "message": .string(problem.message), "source": .string("\(problem.source)")]
        })
    }
  }

  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Show every setting as it is in force, and where it comes from.",
      discussion: """
        Takes the flags of `hero-supervisor node` and reads the same layers.
        Secrets are shown as ***, references (env:NAME, file:PATH) as they are.

        EXAMPLES
          hero-supervisor config show
          hero-supervisor config show --config cluster.json --api 127.0.0.1:9000
          hero-supervisor config show --json | jq .sources
        """)

    @OptionGroup var options: NodeOptions

    @Flag(
      help: "Print JSON: the configuration under \"configuration\", where each setting comes from under \"sources\".")
    var json = false

    func run() throws {
      let loaded = try options.load(missingSecrets: .areWarnings)
      for warning in loaded.warnings { StandardStreams.error("warning: \(warning)\n") }
      let presentation = ConfigurationPresentation(loaded)
      StandardStreams.out(json ? presentation.json.pretty() : presentation.table)
    }
  }
}
