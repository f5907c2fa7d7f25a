import Foundation
import Testing

/// A node that is told to stop while jobs run, and started again.
@Suite("The end of a node", .timeLimit(.minutes(5)))
struct DrainTests {
  private struct Scene {
    let files = TemporaryDirectory()
    let drainSeconds: Double
    let policy: String
    var environment: [String: String] { ["HERO_DATA_DIR": "\(files.path)/data"] }

    func start() async throws -> CommandLineTool {
      let configuration = files.write(
        #"""
        {"jobs": {"drain_seconds": \#(drainSeconds), "kill_grace_seconds": 0.1},
          "runners": [{"name": "r", "on_node_loss": "\#(policy)", "max_attempts": 2}]}
        """#, to: "node.json")
      let node = try CommandLineTool(
        ["node", "--api", "127.0.0.1:0", "--data-dir", "\(files.path)/data", "--config", configuration])
      try node.start()
      _ = try await node.endpoint()
      return node
    }

    func run(_ words: String...) async throws -> String {
      let tool = try CommandLineTool(["job"] + words, environment: environment)
      try tool.start()
      let outcome = await tool.outcome()
      return outcome.output + outcome.error
    }

    /// Starts a job, and returns when it runs.
    func begin(_ id: String, _ script: String) async throws {
      _ = try await run("create", "-r", "r", "--id", id, "echo >> \(files.path)/\(id).runs; \(script)")
      _ = try await run("start", id)
      #expect(await eventually { access("\(files.path)/\(id).runs", F_OK) == 0 })
    }

    func runs(_ id: String) -> Int { text("\(id).runs").utf8.count }

    /// What a job wrote into a file.
    func text(_ name: String) -> String {
      (try? String(contentsOfFile: "\(files.path)/\(name)", encoding: .utf8)) ?? ""
    }

    /// Whether it comes true within two minutes, so long since the machine may be busy.
    func eventually(_ condition: () -> Bool) async -> Bool {
      let deadline = ContinuousClock.now + .seconds(120)
      while !condition() {
        guard ContinuousClock.now < deadline else { return false }
        try? await Task.sleep(for: .milliseconds(5))
      }
      return true
    }
  }

  @Test("a job that ends before the time is over has ended as ever")
  func waited() async throws {
    let scene = Scene(drainSeconds: 3600, policy: "requeue")
    let node = try await scene.start()
    try await scene.begin("j", "until [ -e \(scene.files.path)/go ]; do sleep 0.02; done; echo whole")
    node.terminate()
    #expect(await node.said("node stopping"))
    scene.files.write("", to: "go")
    #expect(await node.outcome().status == 0)
    let again = try await scene.start()
    #expect(try await scene.run("result", "j") == "whole\n")
    again.terminate()
    #expect(await again.outcome().status == 0)
    #expect(scene.runs("j") == 1)
  }

  @Test(
    "a job that ignores SIGTERM is killed then, and queued again as its runner says, up to its attempts",
    arguments: ["requeue", "fail"])
  func handedBack(policy: String) async throws {
    let scene = Scene(drainSeconds: 0.3, policy: policy)
    var node = try await scene.start()
    try await scene.begin("j", "trap '' TERM; while :; do sleep 0.05; done")
    for attempt in 1...2 {
      #expect(await scene.eventually { scene.runs("j") == attempt })
      node.terminate()
      #expect(await node.outcome().status == 0)
      node = try await scene.start()
      // Of two attempts none is left after the second.
      if policy == "fail" || attempt == 2 {
        #expect(try await scene.run("result", "j").contains("the node was stopped"))
        break
      }
    }
    node.terminate()
    #expect(await node.outcome().status == 0)
    #expect(scene.runs("j") == (policy == "fail" ? 1 : 2))
  }

  @Test("a second SIGTERM ends it at once, and its jobs with it")
  func twice() async throws {
    let scene = Scene(drainSeconds: 3600, policy: "fail")
    let node = try await scene.start()
    try await scene.begin("j", "echo $$ > \(scene.files.path)/pid; trap '' TERM; while :; do sleep 0.05; done")
    #expect(await scene.eventually { scene.text("pid").hasSuffix("\n") })
    node.terminate()
    #expect(await node.said("node stopping"))
    node.terminate()
    let end = await node.outcome()
    #expect(end.status == 1 && end.error.contains("stopped at once"), "\(end)")
    let pid = try #require(Int32(scene.text("pid").dropLast()))
    #expect(await scene.eventually { kill(pid, 0) != 0 })
    let again = try await scene.start()
    #expect(try await scene.run("result", "j").contains("its node stopped while it ran (attempt 1 of 2)"))
    again.terminate()
    #expect(await again.outcome().status == 0)
  }
}
