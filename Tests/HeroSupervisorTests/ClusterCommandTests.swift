import JSONRPC
import Testing

@testable import hero_supervisor

@Suite("The commands of clusters", .timeLimit(.minutes(5)))
struct ClusterCommandTests {
  private static let members: JSON = [
    [
      "name": "n1", "state": "alive", "address": "10.0.0.1:7946", "api": "10.0.0.1:8082", "incarnation": 3,
      "zone": "a", "version": "0.2.0", "runners": 12, "since": "2026-11-24T08:00:00.000Z", "draining": false,
    ],
    [
      "name": "n22", "state": "alive", "address": "10.0.0.22:7946", "api": "10.0.0.22:8082", "incarnation": 0,
      "zone": "", "version": "0.2.0", "runners": 0, "since": "2026-11-24T09:00:00.000Z", "draining": true,
    ],
    [
      "name": "n3", "state": "failed", "address": "10.0.0.3:7946", "api": "10.0.0.3:8082", "incarnation": 7,
      "zone": "b", "version": "0.1.0", "runners": 4, "since": "2026-11-24T09:30:00.000Z", "draining": true,
    ],
  ]

  private static let status: JSON = [
    "node": "n1", "cluster": "hero", "members": ["alive": 2, "suspect": 0, "failed": 1, "left": 0],
    "runners": ["owned": 12, "total": 16, "unavailable": 4], "unreachable": ["n3", "n4"], "health": 2, "ready": false,
    "reason": "the disk is full", "handover": ["jobs": 5, "in_doubt": 2],
  ]

  private func node(unreachable: String? = nil) async throws -> FakeNode {
    try await FakeNode(unreachable: unreachable) { call throws(JSONRPCError) in
      switch call.method {
      case "cluster.members": Self.members
      case "cluster.status": Self.status
      case "node.drain", "runner.move", "cluster.forget": .null
      case "store.confirm_clock": ["confirmed_seconds": 864_000]
      case "list_runners": ["a", "b"]
      case "get_all_status": [["a", "running"]]
      case "get_all_runner_status": [["name": "a"]]
      case "stop_all": [["a", "success"]]
      case "jobs.query":
        ["jobs": [["id": "j1"]], "next": call.params["cursor"] == nil ? "2" : nil]
      default: throw .methodNotFound(call.method)
      }
    }
  }

  @Test("show the members in a table, or their names for completion")
  func members() async throws {
    let node = try await node()
    let table = try await CommandLineTool.run("cluster", "members", "--endpoint", node.endpoint)
    #expect(
      table.output == """
        NAME  STATE           ADDRESS         API             ZONE  VERSION  RUNNERS  SINCE
        n1    alive           10.0.0.1:7946   10.0.0.1:8082   a     0.2.0         12  2026-11-24T08:00:00.000Z
        n22   alive,draining  10.0.0.22:7946  10.0.0.22:8082  -     0.2.0          0  2026-11-24T09:00:00.000Z
        n3    failed          10.0.0.3:7946   10.0.0.3:8082   b     0.1.0          4  2026-11-24T09:30:00.000Z

        """)
    #expect(table.status == 0 && table.error == "")
    let names = try await CommandLineTool.run("cluster", "members", "-q", "--endpoint", node.endpoint)
    #expect(names.output == "n1\nn22\nn3\n")
    let json = try await CommandLineTool.run("cluster", "members", "--json", "--endpoint", node.endpoint)
    #expect(try JSON.parse(json.output) == Self.members)
    await node.stop()
  }

  @Test("show how the cluster is")
  func status() async throws {
    let node = try await node()
    let table = try await CommandLineTool.run("cluster", "status", "--endpoint", node.endpoint)
    #expect(
      table.output == """
        ABOUT        VALUE
        node         n1
        cluster      hero
        ready        no: the disk is full
        members      2 alive, 0 suspect, 1 failed, 0 left
        runners      12 here, 16 in all, 4 unavailable
        unreachable  n3, n4
        health       2
        handover     5 jobs wait, 2 in doubt
        store        of each node

        """)
    #expect(table.status == 0)
    let json = try await CommandLineTool.run("cluster", "status", "--json", "--endpoint", node.endpoint)
    #expect(try JSON.parse(json.output) == Self.status)
    // A node that knows less is no reason to fail.
    let rows = ClusterStatus.rows(["ready": true, "unreachable": []])
    #expect(rows.map(\.1).contains("yes") && rows.contains { $0 == ("unreachable", "-") })
    let shared = ClusterStatus.rows(["store": ["shared": true, "lease_remaining_seconds": 11.4, "schema": 1]])
    #expect(shared.contains { $0 == ("store", "shared, lease for 11.4 s, schema 1") })
    await node.stop()
  }

  @Test("confirm a node's clock")
  func confirmClock() async throws {
    let node = try await node()
    let confirmed = try await CommandLineTool.run("store", "confirm-clock", "--endpoint", node.endpoint)
    #expect(confirmed.status == 0 && confirmed.output == "confirmed a leap of 864000 s\n")
    #expect(node.calls.map(\.method) == ["store.confirm_clock"])
    await node.stop()
  }

  @Test("have a node forgotten")
  func forget() async throws {
    let node = try await node()
    let forgotten = try await CommandLineTool.run("cluster", "forget", "n3", "--endpoint", node.endpoint)
    #expect(forgotten.status == 0 && forgotten.output == "forgot n3\n")
    #expect(node.calls.map(\.method) == ["cluster.forget"] && node.calls.first?.params["node"] == "n3")
    await node.stop()
  }

  @Test("drain a node and undo that, and move a runner")
  func acts() async throws {
    let node = try await node()
    let drain = try await CommandLineTool.run("cluster", "drain", "n2", "--endpoint", node.endpoint)
    #expect(drain.status == 0 && drain.output == "drained n2\n")
    let undo = try await CommandLineTool.run("cluster", "drain", "n2", "--undo", "--endpoint", node.endpoint)
    #expect(undo.output == "n2 takes runners again\n")
    let move = try await CommandLineTool.run("runner", "move", "a", "n2", "--endpoint", node.endpoint)
    #expect(move.status == 0 && move.output == "moved a to n2\n")
    #expect(node.calls.map(\.method) == ["node.drain", "node.drain", "runner.move"])
    #expect(
      node.calls.map(\.params) == [
        ["node": "n2", "undo": false], ["node": "n2", "undo": true], ["name": "a", "node": "n2"],
      ])
    await node.stop()
  }

  @Test(
    "warn of members that cannot be reached, and print what there is",
    arguments: [
      (["runner", "list"], "what they have is missing"), (["runner", "list", "--quiet"], "what they have is missing"),
      (["runner", "list", "--json"], "what they have is missing"), (["runner", "status"], "what they have is missing"),
      (["job", "list"], "what they have is missing"), (["rpc", "list_runners"], "what they have is missing"),
      (["runner", "stop", "--all"], "their runners stay as they are"),
    ])
  func missing(arguments: [String], consequence: String) async throws {
    let node = try await node(unreachable: "n3, n4")
    let tool = try CommandLineTool(arguments, environment: ["HERO_ENDPOINTS": node.endpoint])
    try tool.start()
    let outcome = await tool.outcome()
    #expect(outcome.status == 0 && !outcome.output.isEmpty)
    #expect(outcome.error == "warning: n3, n4 cannot be reached; \(consequence)\n")
    await node.stop()
  }

  @Test("say so of one member in the singular, and nothing when none is missing")
  func oneMissing() async throws {
    let lacking = try await node(unreachable: "n3")
    let warned = try await CommandLineTool.run("job", "list", "--endpoint", lacking.endpoint)
    #expect(warned.error == "warning: n3 cannot be reached; what it has is missing\n")
    await lacking.stop()
    let whole = try await node()
    #expect(try await CommandLineTool.run("job", "list", "--endpoint", whole.endpoint).error == "")
    await whole.stop()
  }

  @Test("name the node of an owner that cannot be reached, and where to look")
  func ownerUnreachable() async throws {
    let node = try await FakeNode { _ throws(JSONRPCError) in
      throw JSONRPCError(
        code: -32005, message: "Node \"n3\", which has job \"j1\", cannot be reached", data: ["node": "n3"])
    }
    let outcome = try await CommandLineTool.run("job", "status", "j1", "--endpoint", node.endpoint)
    #expect(outcome.status == 4)
    #expect(
      outcome.error == """
        hero-supervisor: job.status was refused: Node "n3", which has job "j1", cannot be reached (-32005)
          node: n3
          `hero-supervisor cluster members` shows the nodes and their states

        """)
    await node.stop()
    let other = try await FakeNode { _ throws(JSONRPCError) in throw .notFound("node", "n9") }
    let unknown = try await CommandLineTool.run("runner", "move", "a", "n9", "--endpoint", other.endpoint)
    #expect(unknown.status == 4 && unknown.error.contains("`hero-supervisor cluster members`"), "\(unknown)")
    await other.stop()
  }

  @Test("turn to the next endpoint when one is away, however the endpoints are given")
  func endpoints() async throws {
    let away = try await node()
    await away.stop()
    let node = try await node()
    let both = "\(away.endpoint), \(node.endpoint)"
    let named = try await CommandLineTool.run("cluster", "members", "-q", environment: ["HERO_ENDPOINTS": both])
    #expect(named.status == 0 && named.output == "n1\nn22\nn3\n" && named.error == "", "\(named)")
    let repeated = try await CommandLineTool.run(
      "cluster", "drain", "n2", "--endpoint", away.endpoint, "--endpoint", node.endpoint)
    #expect(repeated.status == 0 && node.calls.map(\.method) == ["cluster.members", "node.drain"])
    await node.stop()
    let none = try await CommandLineTool.run("cluster", "members", environment: ["HERO_ENDPOINTS": both])
    #expect(none.status == 3 && none.error.contains("any of \(away.endpoint), \(node.endpoint)"), "\(none)")
  }
}
