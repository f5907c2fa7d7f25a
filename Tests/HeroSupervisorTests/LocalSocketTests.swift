import Foundation
import JSONRPC
import SupervisorClient
import Testing

@testable import hero_supervisor

/// The unix socket in the data directory, by which the command line and its node find and prove each other.
@Suite("The local way in", .timeLimit(.minutes(5)))
struct LocalSocketTests {
  private func startNode(_ arguments: String..., in directory: String? = nil) async throws -> CommandLineTool {
    let place = directory.map { ["--data-dir", $0] } ?? []
    // One that is killed cannot remove its control group.
    let node = try CommandLineTool(
      ["node", "--api", "127.0.0.1:0", "--name", "n1"] + place + arguments,
      environment: ["HERO_JOBS_CONTROL_GROUPS": "false"])
    try node.start()
    _ = try await node.endpoint()
    return node
  }

  /// Runs any program to its end.
  private func run(_ words: [String]) async throws -> String {
    let tool = try CommandLineTool(Array(words.dropFirst()), program: words[0])
    try tool.start()
    let outcome = await tool.outcome()
    return outcome.output + outcome.error
  }

  private func mode(_ path: String) -> mode_t? {
    var status = stat()
    return lstat(path, &status) == 0 ? status.st_mode : nil
  }

  @Test(
    "is made for its owner alone, serves the command line without a word about nodes and keys, and goes with its node")
  func tour() async throws {
    let node = try await startNode()
    let socket = "\(node.directoryPath)/api.sock"
    #expect(mode(socket) == S_IFSOCK | 0o600)
    let environment = ["HERO_DATA_DIR": node.directoryPath]
    let registered = try await CommandLineTool.run("runner", "register", "r", environment: environment)
    #expect(registered.output == "registered r\n", "\(registered)")
    let named = try await CommandLineTool.run(
      "job", "run", "-r", "r", "echo hello", "--endpoint", "unix:\(socket)", environment: environment)
    #expect(named.output == "hello\n", "\(named)")
    // A key of another scope is not replaced by the uid.
    let wrong = try await CommandLineTool.run(
      "runner", "register", "x", environment: environment.merging(["HERO_SECRET": "guess"]) { $1 })
    #expect(wrong.status == 4 && wrong.error.contains("(-32001)"))
    let call = #"{"jsonrpc":"2.0","id":1,"method":"job.stop","params":{"job_id":"j"}}"#
    let json = ["-H", "Content-Type: application/json", "-d"]
    let curl = ["/usr/bin/curl", "-s", "--unix-socket", socket, "http://localhost/rpc"]
    #expect(try await run(curl + json + [call]).contains("-32001"))
    #expect(try await run(curl + json + [#"{"jsonrpc":"2.0","id":1,"method":"list_runners"}"#]).contains(#"["r"]"#))
    node.terminate()
    #expect(await node.outcome().status == 0 && mode(socket) == nil)
  }

  @Test(
    "refuses other users, even where they reach it, and says so in the log",
    .enabled(if: geteuid() == 0, "only root may act as another user"))
  func otherUsers() async throws {
    let node = try await startNode()
    let socket = "\(node.directoryPath)/api.sock"
    let nobody = ["/usr/bin/setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    let curl = nobody + ["/usr/bin/curl", "-sS", "--unix-socket", socket, "http://localhost/health"]
    #expect(try await run(curl).contains("onnect"), "its modes keep them out")
    chmod(node.directoryPath, 0o711)
    chmod(socket, 0o666)
    let refused = try await run(curl)
    #expect(refused == "this socket serves the node's own user and root only\n", "\(refused)")
    for _ in 0..<5 { _ = try await run(curl) }
    node.terminate()
    let log = await node.outcome().error
    let lines = log.split(separator: "\n").filter { $0.contains("its user is not served") }
    #expect((1...6).contains(lines.count) && lines.allSatisfy { $0.hasSuffix("uid=65534") }, "\(log)")
  }

  @Test("of a killed node is replaced by the next")
  func stale() async throws {
    let directory = TemporaryDirectory()
    let data = "\(directory.path)/data"
    let killed = try await startNode(in: data)
    killed.kill()
    _ = await killed.outcome()
    #expect(mode("\(data)/api.sock") != nil)
    let environment = ["HERO_DATA_DIR": data]
    let away = try await CommandLineTool.run("runner", "list", environment: environment)
    #expect(away.status == 3 && away.error.contains("unix:\(data)/api.sock: connection refused"), "\(away)")
    let node = try await startNode(in: data)
    #expect(try await CommandLineTool.run("runner", "list", environment: environment).status == 0)
    node.terminate()
    #expect(await node.outcome().status == 0)
  }

  @Test("is not taken from whoever listens there, and the start says so")
  func taken() async throws {
    let directory = TemporaryDirectory()
    let other = try await FakeNode(socket: "\(directory.path)/api.sock") { _ throws(JSONRPCError) in .null }
    let outcome = try await CommandLineTool.run("node", "--api", "127.0.0.1:0", "--data-dir", directory.path)
    #expect(outcome.status == 1 && outcome.error.contains("api.sock: address already in use"), "\(outcome)")
    await other.stop()
  }

  @Test("may lie deeper than a socket's address has room for")
  func longPath() async throws {
    let directory = TemporaryDirectory()
    let data =
      "\(directory.path)/" + Array(repeating: String(repeating: "d", count: 60), count: 4).joined(separator: "/")
    let node = try await startNode(in: data)
    #expect(mode("\(data)/api.sock") == S_IFSOCK | 0o600)
    let environment = ["HERO_DATA_DIR": data]
    let registered = try await CommandLineTool.run("runner", "register", "r", environment: environment)
    #expect(registered.output == "registered r\n", "\(registered)")
    node.terminate()
    #expect(await node.outcome().status == 0 && mode("\(data)/api.sock") == nil)
  }

  @Test("is the only one that gets the local key: whoever took the node's port while it is down gets none")
  func fakeNode() async throws {
    let directory = TemporaryDirectory()
    let data = "\(directory.path)/data"
    let node = try await startNode(in: data)
    let endpoint = try await node.endpoint()
    node.terminate()
    _ = await node.outcome()
    #expect(mode("\(data)/admin.secret") != nil)
    let port = try #require(UInt16(endpoint.split(separator: ":").last ?? ""))
    let fake = try await FakeNode(port: port) { _ throws(JSONRPCError) in .array([]) }
    let environment = ["HERO_DATA_DIR": data]
    // By itself the command line goes to the socket and nowhere else.
    let local = try await CommandLineTool.run("runner", "list", "-q", environment: environment)
    #expect(local.status == 3 && local.error.contains("cannot reach a node at unix:\(data)/api.sock"), "\(local)")
    // Sent to the port, it shows no key; nor beside a socket.
    for endpoints in [endpoint, "unix:\(data)/api.sock,\(endpoint)"] {
      let named = try await CommandLineTool.run(
        "runner", "list", "-q", environment: environment.merging(["HERO_ENDPOINTS": endpoints]) { $1 })
      #expect(named.status == 0, "\(named)")
    }
    #expect(fake.calls.map(\.authorization) == [nil, nil])
    await fake.stop()
  }

  @Test(
    "is believed only of the caller's own user, root, or, for root, the directory's owner",
    .enabled(if: geteuid() == 0, "only root may act as another user"))
  func foreignListener() async throws {
    let directory = TemporaryDirectory()
    let data = "\(directory.path)/data"
    mkdir(data, 0o777)
    chmod(directory.path, 0o711)
    chmod(data, 0o777)
    directory.write("key-77\n", to: "data/admin.secret")
    let program = """
      import socket, sys
      s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(5); print("listens", flush=True)
      while True:
        c, _ = s.accept(); c.settimeout(5); print("got", c.recv(65536), flush=True); c.close()
      """
    let words = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "/usr/bin/python3", "-c", program]
    let listener = try CommandLineTool(words + ["\(data)/api.sock"], program: "/usr/bin/setpriv")
    try listener.start()
    #expect(await listener.said("listens\n"))
    let environment = ["HERO_DATA_DIR": data]
    let foreign = try await CommandLineTool.run("runner", "list", environment: environment)
    #expect(foreign.status == 3 && foreign.error.contains("uid 65534 listens there"), "\(foreign)")
    #expect(await listener.said("got b''\n"), "nothing was sent")
    // The directory of a node that runs as another user: root may call it.
    chown(data, 65534, 65534)
    // But this key is not that user's.
    _ = try await CommandLineTool.run("runner", "list", environment: environment)
    #expect(await listener.said("got b'POST"))
    #expect(!listener.outputSoFar.contains("Bearer"))
    chown("\(data)/admin.secret", 65534, 65534)
    _ = try await CommandLineTool.run("runner", "list", environment: environment)
    #expect(await listener.said("Bearer key-77"))
  }
}
