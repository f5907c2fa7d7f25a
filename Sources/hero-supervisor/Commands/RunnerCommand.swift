import ArgumentParser
import JSONRPC

/// `hero-supervisor runner …`: the runners of a cluster, through any of its nodes.
struct RunnerCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "runner", abstract: "Register, watch, start, stop, move and remove runners.",
    discussion: """
      EXAMPLES
        hero-supervisor runner register default
        hero-supervisor runner status
        hero-supervisor runner stop default --force
      """,
    subcommands: [
      RunnerRegister.self, RunnerList.self, RunnerStatus.self, RunnerStart.self, RunnerStop.self, RunnerMove.self,
      RunnerRemove.self,
    ])
}

extension CompletionKind {
  /// The names of the runners, asked of the node.
  static var runnerName: CompletionKind { .shellCommand("hero-supervisor runner list --quiet 2>/dev/null") }
  /// The names of the members.
  static var nodeName: CompletionKind { .shellCommand("hero-supervisor cluster members --quiet 2>/dev/null") }
  /// The ids of the latest jobs.
  static var jobID: CompletionKind { .shellCommand("hero-supervisor job list --quiet 2>/dev/null") }
}

struct RunnerRegister: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "register", abstract: "Register a runner.",
    discussion: """
      The runner starts by itself. Registering the same runner with the same queue
      again changes nothing.

      EXAMPLES
        hero-supervisor runner register default
        hero-supervisor runner register nightly-2 --queue nightly
      """)

  @OptionGroup var client: ClientOptions
  @Argument(help: "The runner's name.") var name: String
  @Option(help: "The queue that it drains. (default: the runner's name)") var queue: String?

  func run() async throws {
    let params: JSON = ["name": .string(name), "queue": .string(queue ?? name)]
    let result = try await NodeConnection.open(client).call("register_runner", params)
    if client.json { StandardStreams.out(result.pretty()) } else { StandardStreams.out("registered \(name)\n") }
  }
}

struct RunnerList: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "List the runners and their states.",
    discussion: """
      EXAMPLES
        hero-supervisor runner list
        hero-supervisor runner list --quiet | xargs -n 1 hero-supervisor runner start
      """)

  @OptionGroup var client: ClientOptions
  @Flag(name: .shortAndLong, help: "Print names only.") var quiet = false

  func run() async throws {
    let node = try NodeConnection.open(client)
    let result = try await node.answer(to: quiet ? "list_runners" : "get_all_status", .array([]))
      .warningOfMissing().result
    if client.json { return StandardStreams.out(result.pretty()) }
    if quiet {
      for name in result.elements { StandardStreams.out(name: name.cell) }
      return
    }
    var table = Table([("NAME", .left), ("STATE", .left)])
    for pair in result.elements where pair.elements.count == 2 { table.add(pair.elements.map(\.cell)) }
    StandardStreams.out(table.rendered)
  }
}

struct RunnerStatus: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status", abstract: "Show runners with their node and their numbers of jobs.",
    discussion: """
      EXAMPLES
        hero-supervisor runner status
        hero-supervisor runner status default --json
      """)

  @OptionGroup var client: ClientOptions
  @Argument(help: "The runner; all without it.", completion: .runnerName) var name: String?

  private static let columns: [(key: String, alignment: Table.Alignment)] = [
    ("name", .left), ("queue", .left), ("node", .left), ("state", .left), ("epoch", .right), ("concurrency", .right),
    ("queued", .right), ("running", .right), ("completed", .right), ("failed", .right), ("timeout", .right),
  ]

  func run() async throws {
    let node = try NodeConnection.open(client)
    let result =
      if let name { try await node.call("get_runner_status", ["actor_id": .string(name)]) } else {
        try await node.answer(to: "get_all_runner_status", .array([])).warningOfMissing().result
      }
    if client.json { return StandardStreams.out(result.pretty()) }
    var table = Table(Self.columns.map { ($0.key.uppercased(), $0.alignment) })
    for status in name == nil ? result.elements : [result] {
      table.add(Self.columns.map { status[$0.key]?.cell ?? "-" })
    }
    StandardStreams.out(table.rendered)
  }
}

struct RunnerMove: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "move", abstract: "Move a runner, and all of its queue, to another node.",
    discussion: """
      All runners of its queue move with it, and so do the jobs that wait in it.
      Jobs that run end where they are.

      EXAMPLES
        hero-supervisor runner move default node-2
      """)

  @OptionGroup var client: ClientOptions
  @Argument(help: "The runner.", completion: .runnerName) var name: String
  @Argument(help: "The node that is to own it.", completion: .nodeName) var node: String

  func run() async throws {
    let result = try await NodeConnection.open(client).call(
      "runner.move", ["name": .string(name), "node": .string(node)])
    StandardStreams.out(client.json ? result.pretty() : "moved \(name) to \(node)\n")
  }
}

struct RunnerRemove: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "remove", abstract: "Stop a runner, fail its unfinished jobs, and forget it.",
    discussion: """
      EXAMPLES
        hero-supervisor runner remove nightly-2
      """)

  @OptionGroup var client: ClientOptions
  @Argument(help: "The runner.", completion: .runnerName) var name: String

  func run() async throws {
    let result = try await NodeConnection.open(client).call("remove_runner", ["actor_id": .string(name)])
    if client.json { StandardStreams.out(result.pretty()) } else { StandardStreams.out("removed \(name)\n") }
  }
}
