import ArgumentParser
import JSONRPC

struct RunnerStart: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "start", abstract: "Start a stopped runner, or all.",
    discussion: """
      EXAMPLES
        hero-supervisor runner start default
        hero-supervisor runner start --all
      """)

  @OptionGroup var client: ClientOptions
  @OptionGroup var which: WhichRunners

  func run() async throws {
    try await which.act(client, one: "start_runner", all: "start_all", extra: nil, done: "started")
  }
}

struct RunnerStop: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stop", abstract: "Stop a runner, or all; wait until their running jobs have ended.",
    discussion: """
      EXAMPLES
        hero-supervisor runner stop default
        hero-supervisor runner stop --all --force
      """)

  @OptionGroup var client: ClientOptions
  @OptionGroup var which: WhichRunners
  @Flag(help: "Stop the running jobs too, which fail.") var force = false

  func run() async throws {
    try await which.act(client, one: "stop_runner", all: "stop_all", extra: ("force", .bool(force)), done: "stopped")
  }
}

/// One runner by its name, or `--all`.
struct WhichRunners: ParsableArguments {
  @Argument(help: "The runner.", completion: .runnerName) var name: String?
  @Flag(help: "All runners.") var all = false

  func validate() throws {
    if name != nil && all { throw ValidationError("name a runner or say --all, not both") }
    if name == nil && !all { throw ValidationError("name a runner, or say --all") }
  }

  /// Calls the method for one or for all, and says what became of each.
  func act(
    _ client: ClientOptions, one: String, all method: String, extra: (key: String, value: JSON)?, done: String
  ) async throws {
    let node = try NodeConnection.open(client)
    var members: [(String, JSON)] = name.map { [("actor_id", .string($0))] } ?? []
    if let extra { members.append((extra.key, extra.value)) }
    let answer = try await node.answer(to: name == nil ? method : one, .object(JSONObject(members: members)))
    let result = answer.result
    var missing = MissingMembers()
    missing.add(answer)
    missing.warn(one: "its runners stay as they are", several: "their runners stay as they are")
    let outcomes: [(name: String, outcome: String)] =
      if let name { [(name, "success")] } else {
        result.elements.filter { $0.elements.count == 2 }.map { ($0.elements[0].cell, $0.elements[1].cell) }
      }
    if client.json { StandardStreams.out(result.pretty()) }
    var failures = 0
    for (name, outcome) in outcomes {
      if outcome == "success" {
        if !client.json { StandardStreams.out("\(done) \(name)\n") }
      } else {
        failures += 1
        StandardStreams.error("hero-supervisor: \("\(name): \(outcome)".printableBelow)\n")
      }
    }
    if failures > 0 { throw ExitCode(ExitStatus.failed.rawValue) }
  }
}
