import Foundation
import Glibc
import JSONRPC
import Testing

@testable import hero_supervisor

/// The program as people use it: a node of its own, and the commands that talk to it.
@Suite("A node and the commands", .timeLimit(.minutes(5)))
struct NodeCommandTests {
  /// Starts a node on a free port and waits until it says that it is ready.
  private func startNode(_ arguments: String...) async throws -> (node: CommandLineTool, environment: [String: String])
  {
    let node = try CommandLineTool(["node", "--api", "127.0.0.1:0", "--name", "n1"] + arguments)
    try node.start()
    _ = try await node.endpoint()
    return (node, ["HERO_DATA_DIR": node.directoryPath])
  }

  @Test("run a job with the node's own key, and end as the job ends")
  func jobs() async throws {
    let (node, environment) = try await startNode()
    func run(_ arguments: String...) async throws -> CommandLineTool.Outcome {
      let tool = try CommandLineTool(arguments, environment: environment)
      try tool.start()
      return await tool.outcome()
    }
    #expect(try await run("runner", "register", "r").output == "registered r\n")
    #expect(try await run("runner", "list").output == "NAME  STATE\nr     running\n")
    let hello = try await run("job", "run", "-r", "r", "--env", "WHO=world", "echo hello $WHO")
    #expect(hello.status == 0 && hello.output == "hello world\n" && hello.error == "")
    let failed = try await run("job", "run", "-r", "r", "--id", "j1", "echo oops >&2; exit 3")
    #expect(failed.status == 1 && failed.error.contains("job j1 failed: ") && failed.error.contains("oops"))
    let slow = try await run("job", "run", "-r", "r", "--timeout", "0.2", "sleep 20")
    #expect(slow.status == 124 && slow.error.contains("ran into its timeout"))
    #expect(try await run("job", "logs", "j1").error == "oops\n")
    #expect(try await run("job", "list", "--status", "failed", "-q").output == "j1\n")
    #expect(try await run("job", "run", "-r", "nobody", "x").status == 4)
    node.terminate()
    let end = await node.outcome()
    #expect(end.status == 0, "\(end.error)")
  }

  @Test(
    "run a job as the user that its executor names, with its payload in a file that it can read",
    .enabled(if: geteuid() == 0, "only root may run jobs as another user"))
  func otherUser() async throws {
    let directory = TemporaryDirectory()
    let file = directory.write(
      """
      {"executors": {"mine": {"command": ["/bin/sh", "{payload_file}"], "payload": "file", "user": "nobody",
      "limits": {"open_files": 20}}}, "runners": [{"name": "r"}]}
      """, to: "cluster.json")
    let (node, environment) = try await startNode("--config", file)
    let outcome = try await CommandLineTool.run(
      "job", "run", "-r", "r", "--executor", "mine", "id -un; id -Gn; ulimit -n; touch here; pwd",
      environment: environment)
    let lines = outcome.output.split(separator: "\n")
    #expect(outcome.status == 0 && lines.prefix(3) == ["nobody", "nogroup", "20"], "\(outcome)")
    node.terminate()
    #expect(await node.outcome().status == 0)
  }

  @Test(
    "leave root's own executors to runners that name them, once an executor has another user",
    .enabled(if: geteuid() == 0, "only root may run jobs as another user"))
  func rootsExecutors() async throws {
    let directory = TemporaryDirectory()
    let file = directory.write(
      """
      {"executors": {"mine": {"command": ["/bin/sh", "-s"], "user": "nobody"}},
       "runners": [{"name": "r"}, {"name": "named", "executors": ["shell", "mine"]}]}
      """, to: "cluster.json")
    let (node, environment) = try await startNode("--config", file)
    #expect(node.errorSoFar.contains("built-in executors are off but for runners that name them"))
    func run(_ words: String...) async throws -> CommandLineTool.Outcome {
      let tool = try CommandLineTool(["job", "run"] + words + ["id -un"], environment: environment)
      try tool.start()
      return await tool.outcome()
    }
    for executor in ["shell", "python"] {
      let refused = try await run("-r", "r", "--executor", executor)
      #expect(refused.status == 4 && refused.error.contains("an executor of runner \"r\" (echo, mine)"), "\(refused)")
    }
    #expect(try await run("-r", "r", "--executor", "mine").output == "nobody\n")
    #expect(try await run("-r", "named", "--executor", "mine").output == "nobody\n")
    #expect(try await run("-r", "named", "--executor", "shell").output == "root\n")
    #expect(try await run("-r", "named", "--executor", "python").status == 4)
    // A runner that is registered later names none.
    let registered = try await CommandLineTool.run("runner", "register", "late", environment: environment)
    #expect(registered.status == 0, "\(registered)")
    #expect(try await run("-r", "late", "--executor", "shell").status == 4)

    // Such jobs do not read the API either.
    let open = try await CommandLineTool.run(
      "rpc", "jobs.list", environment: ["HERO_ENDPOINTS": try await node.endpoint()])
    #expect(open.status == 4 && open.error.contains("executors.mine.user is another user than the node's"), "\(open)")
    node.terminate()
    #expect(await node.outcome().status == 0)
  }

  @Test("refuse a key that the node does not know")
  func wrongKey() async throws {
    let (node, environment) = try await startNode()
    let outcome = try await CommandLineTool.run(
      "runner", "register", "r", environment: environment.merging(["HERO_SECRET": "guess"]) { $1 })
    #expect(outcome.status == 4 && outcome.error.contains("(-32001)") && !outcome.error.contains("guess"))
    node.terminate()
    #expect(await node.outcome().status == 0)
  }

  @Test("refuse to listen where other machines can reach it as long as no key is configured, and make none")
  func noKeyBeyondLoopback() async throws {
    for address in ["0.0.0.0:0", "[::]:0"] {
      let tool = try CommandLineTool(["node", "--api", address])
      try tool.start()
      let outcome = await tool.outcome()
      #expect(outcome.status == 2 && outcome.error.contains("and no key is configured"), "\(address): \(outcome)")
      #expect(outcome.error.contains("set auth.admin_secrets") && !outcome.error.contains("api=http"))
      #expect(!FileManager.default.fileExists(atPath: "\(tool.directoryPath)/admin.secret"))
    }
  }
}
