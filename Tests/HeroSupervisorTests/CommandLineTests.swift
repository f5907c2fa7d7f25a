import ArgumentParser
import JSONRPC
import Testing

@testable import hero_supervisor

@Suite("The command line", .timeLimit(.minutes(5)))
struct CommandLineTests {
  @Test("ends with 0 for --help and --version")
  func help() async throws {
    let version = try await CommandLineTool.run("--version")
    #expect(version.status == 0 && version.output == "\(HeroSupervisor.version)\n")
    for arguments in [["--help"], ["job", "--help"], ["help", "node"]] {
      let tool = try CommandLineTool(arguments)
      try tool.start()
      let outcome = await tool.outcome()
      #expect(outcome.status == 0 && outcome.output.contains("EXAMPLES") && outcome.error == "")
    }
  }

  @Test("gives every command a help page with examples that fits 80 columns")
  func examples() {
    func check(_ command: any ParsableCommand.Type) {
      let page = command.helpMessage(includeHidden: false, columns: 80)
      #expect(page.contains("EXAMPLES") || !command.configuration.subcommands.isEmpty, "\(command)")
      for line in command.configuration.discussion.split(separator: "\n") { #expect(line.count <= 80, "\(line)") }
      for child in command.configuration.subcommands { check(child) }
    }
    check(HeroSupervisor.self)
  }

  @Test(
    "ends with 2 for wrong usage",
    arguments: [
      ["frob"], ["job", "run", "x"], ["job", "run", "--runner", "r"], ["job", "run", "-r", "r", "--env", "A", "x"],
      ["job", "run", "-r", "r", "--timeout", "-1", "x"], ["job", "list", "--status", "done"], ["runner", "stop"],
      ["runner", "stop", "a", "--all"], ["runner", "move", "a"], ["cluster", "drain"],
      ["cluster", "keygen", "x"], ["rpc"], ["rpc", "m", "{"], ["rpc", "m", "3"],
      ["job", "list", "--endpoint", "x y"],
      ["job", "list", "--secret-file", "/nonexistent"], ["node", "--api", "nowhere"],
      ["config", "check", "/nonexistent"],
      ["node", "--config", "/nonexistent"],
    ])
  func usage(arguments: [String]) async throws {
    let tool = try CommandLineTool(arguments)
    try tool.start()
    let outcome = await tool.outcome()
    #expect(outcome.status == 2 && outcome.output == "" && outcome.error.hasPrefix("hero-supervisor: "), "\(outcome)")
  }

  @Test("ends with 3 and says what to do when no node answers")
  func unreachable() async throws {
    let node = try await FakeNode { _ throws(JSONRPCError) in .null }
    await node.stop()
    let outcome = try await CommandLineTool.run("runner", "list", "--endpoint", node.endpoint)
    #expect(outcome.status == 3 && outcome.output == "")
    #expect(
      outcome.error == """
        hero-supervisor: cannot reach a node at \(node.endpoint): connection refused
          start one with `hero-supervisor node`, or name another with --endpoint or HERO_ENDPOINTS

        """)
  }

  @Test("ends with 4 and the node's reason when the node refuses")
  func refused() async throws {
    let node = try await FakeNode { call throws(JSONRPCError) in
      if call.method == "job.stop" { throw .unauthorized("the key is missing") }
      throw .notFound("job", "j9")
    }
    let missing = try await CommandLineTool.run("job", "status", "j9", "--endpoint", node.endpoint)
    #expect(missing.status == 4 && missing.error.hasPrefix("hero-supervisor: job.status was refused: "), "\(missing)")
    #expect(missing.error.contains("(-32002)\n") && missing.error.contains("`hero-supervisor job list`"))
    let unauthorized = try await CommandLineTool.run("job", "stop", "j9", "--endpoint", node.endpoint)
    #expect(unauthorized.status == 4 && unauthorized.error.contains("--secret-file or HERO_SECRET"))
    await node.stop()
  }

  @Test("takes the key from --secret-file, HERO_SECRET, or the local node's admin.secret, in that order")
  func keys() async throws {
    let directory = TemporaryDirectory()
    let socket = "\(directory.path)/api.sock"
    let node = try await FakeNode(socket: socket) { _ throws(JSONRPCError) in .array([]) }
    func run(_ arguments: [String], _ environment: [String: String]) async throws -> CommandLineTool.Outcome {
      let tool = try CommandLineTool(["runner", "list"] + arguments, environment: environment)
      tool.write("from-node\n", to: "admin.secret")
      tool.write("from-file\n", to: "key")
      try tool.start()
      return await tool.outcome()
    }
    for endpoint in ["unix:\(socket)", node.endpoint] {
      let environment = ["HERO_ENDPOINTS": endpoint]
      _ = try await run(["--secret-file", "key"], environment.merging(["HERO_SECRET": "from-env"]) { $1 })
      _ = try await run([], environment.merging(["HERO_SECRET": "from-env"]) { $1 })
      _ = try await run([], environment)
    }
    // What the user names goes where she says; what the program finds does not go to a port, whoever listens there.
    #expect(
      node.calls.map(\.authorization) == [
        "Bearer from-file", "Bearer from-env", "Bearer from-node", "Bearer from-file", "Bearer from-env", nil,
      ])
    await node.stop()
  }

  @Test("calls any method by rpc and prints its result as JSON")
  func rpc() async throws {
    let node = try await FakeNode { call throws(JSONRPCError) in
      ["method": .string(call.method), "params": call.params]
    }
    let environment = ["HERO_ENDPOINTS": " \(node.endpoint) "]
    let plain = try await CommandLineTool.run("rpc", "list_runners", environment: environment)
    #expect(plain.status == 0)
    #expect(try JSON.parse(plain.output) == ["method": "list_runners", "params": []])
    let piped = try await CommandLineTool.run(
      "rpc", "start_runner", "-", environment: environment, input: #"{"actor_id": "r"}"#)
    #expect(try JSON.parse(piped.output)["params"] == ["actor_id": "r"])
    await node.stop()
  }

  @Test("shows runners in a table, and ends with 1 when one of all refuses")
  func runners() async throws {
    let node = try await FakeNode { call throws(JSONRPCError) in
      switch call.method {
      case "get_all_status": [["default", "running"], ["nightly-2", "stopped"]]
      case "stop_all": [["default", "success"], ["nightly-2", "it is away"]]
      case "register_runner": .null
      default: throw .methodNotFound(call.method)
      }
    }
    let list = try await CommandLineTool.run("runner", "list", "--endpoint", node.endpoint)
    #expect(list.output == "NAME       STATE\ndefault    running\nnightly-2  stopped\n")
    let stop = try await CommandLineTool.run("runner", "stop", "--all", "--force", "--endpoint", node.endpoint)
    #expect(stop.status == 1 && stop.output == "stopped default\n")
    #expect(stop.error == "hero-supervisor: nightly-2: it is away\n")
    #expect(node.calls.last?.params == ["force": true])
    _ = try await CommandLineTool.run("runner", "register", "a", "--endpoint", node.endpoint)
    #expect(node.calls.last?.params == ["name": "a", "queue": "a"])
    await node.stop()
  }

  @Test("checks a configuration, and shows what is in force without its secrets")
  func config() async throws {
    let tool = try CommandLineTool(["config", "check", "c.json"])
    tool.write(#"{"jobs": {"kill_grace_seconds": "five"}}"#, to: "c.json")
    try tool.start()
    let check = await tool.outcome()
    #expect(check.status == 2)
    #expect(
      check.error == """
        hero-supervisor: the configuration has a problem
          jobs.kill_grace_seconds: expected a number from 0 to 3600, got "five" (c.json)

        """)
    let show = try await CommandLineTool.run(
      "config", "show", "--json",
      environment: ["HERO_AUTH_ADMIN_SECRETS": "correct-battery-staple", "HERO_LOG_LEVEL": "debug"])
    #expect(show.status == 0 && !show.output.contains("battery"))
    let json = try JSON.parse(show.output)
    #expect(json["configuration"]?["auth"]?["admin_secrets"] == ["***"])
    #expect(json["sources"]?["log.level"] == "environment variable HERO_LOG_LEVEL")
  }

  @Test("has completions for the shells", arguments: ["bash", "zsh", "fish"])
  func completions(shell: String) async throws {
    let outcome = try await CommandLineTool.run("--generate-completion-script", shell)
    #expect(outcome.status == 0 && outcome.output.contains("hero-supervisor runner list --quiet"))
  }
}
