import ArgumentParser
import JSONRPC

/// `hero-supervisor cluster …`: the nodes and what they see of each other, through any of them.
struct ClusterCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cluster", abstract: "Look at the nodes, empty one, make keys and certificates.",
    discussion: """
      EXAMPLES
        hero-supervisor cluster members
        hero-supervisor cluster status
        hero-supervisor cluster drain node-2
        hero-supervisor cluster forget node-9
        hero-supervisor cluster keygen --file gossip.keys
        hero-supervisor cluster certs init --out authority
      """,
    subcommands: [
      ClusterMembers.self, ClusterStatus.self, ClusterDrain.self, ClusterForget.self, ClusterKeygen.self,
      ClusterCerts.self,
    ])
}

struct ClusterMembers: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "members", abstract: "List the members of the cluster, as one node sees them.",
    discussion: """
      STATE is alive, suspect, failed or left; "alive,draining" is a node that
      takes no runners. SINCE is when that state began. "alive, no link from n3" is
      one that n3 cannot call, nor it n3; "no UDP" one whose packets do not arrive.

      EXAMPLES
        hero-supervisor cluster members
        hero-supervisor cluster members --endpoint 10.0.0.2:8082
        hero-supervisor cluster members --json | jq -r '.[] | .name, .state'
      """)

  @OptionGroup var client: ClientOptions
  @Flag(name: .shortAndLong, help: "Print names only.") var quiet = false

  private static let columns: [(key: String, alignment: Table.Alignment)] = [
    ("name", .left), ("state", .left), ("address", .left), ("api", .left), ("zone", .left), ("version", .left),
    ("runners", .right), ("since", .left),
  ]

  func run() async throws {
    let result = try await NodeConnection.open(client).call("cluster.members", .array([]))
    if client.json { return StandardStreams.out(result.pretty()) }
    if quiet {
      for member in result.elements { StandardStreams.out(name: member["name"]?.cell ?? "") }
      return
    }
    var table = Table(Self.columns.map { ($0.key.uppercased(), $0.alignment) })
    for member in result.elements {
      table.add(
        Self.columns.map { key, _ in
          let cell = member[key]?.cell ?? ""
          // One that is gone takes no runners anyway.
          if key == "state", cell == "alive" || cell == "suspect" {
            let state = member["draining"] == .bool(true) ? "\(cell),draining" : cell
            return ([state] + (member["problems"]?.elements.map(\.cell) ?? [])).joined(separator: ", ")
          }
          return cell.isEmpty ? "-" : cell
        })
    }
    StandardStreams.out(table.rendered)
  }
}

struct ClusterDrain: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "drain", abstract: "Move a node's runners to its peers; it takes no more.",
    discussion: """
      The jobs that wait move with their runners, and jobs that run end where they
      are. The node stays a member and answers calls; --undo lets it take runners
      again. Needs an admin key.

      EXAMPLES
        hero-supervisor cluster drain node-2
        hero-supervisor cluster drain node-2 --undo
      """)

  @OptionGroup var client: ClientOptions
  @Argument(help: "The node.", completion: .nodeName) var node: String
  @Flag(help: "Let it take runners again.") var undo = false

  func run() async throws {
    let result = try await NodeConnection.open(client).call(
      "node.drain", ["node": .string(node), "undo": .bool(undo)])
    if client.json { return StandardStreams.out(result.pretty()) }
    StandardStreams.out(undo ? "\(node) takes runners again\n" : "drained \(node)\n")
  }
}

struct ClusterForget: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "forget", abstract: "Have all nodes forget one that failed or left for good.",
    discussion: """
      Without this they remember it for 72 hours: it is listed, and an unknown job
      may be one that only it has. Afterwards such a job is unknown. A node that
      takes part is refused; one that comes back is a member again. Needs an admin
      key.

      EXAMPLES
        hero-supervisor cluster forget node-9
      """)

  @OptionGroup var client: ClientOptions
  @Argument(help: "The node.", completion: .nodeName) var node: String

  func run() async throws {
    let result = try await NodeConnection.open(client).call("cluster.forget", ["node": .string(node)])
    if client.json { return StandardStreams.out(result.pretty()) }
    StandardStreams.out("forgot \(node)\n")
  }
}
