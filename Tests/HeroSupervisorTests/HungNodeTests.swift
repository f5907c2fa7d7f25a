import Foundation
import JSONRPC
import Testing

// The command line at nodes that hang, or that the network is silent about, which look the same: nothing is refused.

@Suite("The command line, when a node hangs,", .serialized, .timeLimit(.minutes(10)))
struct HungNodeTests {
  private func tool(_ words: [String], at endpoints: [String], _ scene: ClusterScene) throws -> CommandLineTool {
    let tool = try CommandLineTool(
      words + endpoints.flatMap { ["--endpoint", $0] }, environment: ["HERO_SECRET": scene.secret])
    try tool.start()
    return tool
  }

  /// - Parameter isHeard: whether what the node sends still arrives.
  private func check(
    _ scene: ClusterScene, isHeard: Bool = false, silence: () async throws -> Void
  ) async throws {
    try await scene.start(["n1", "n2"])
    try await scene.register("r", at: "n2")
    let endpoints = await [scene.endpoints["n1"]!, scene.endpoints["n2"]!]
    let gate = "\(scene.runs).gate"
    let job = try tool(
      ["job", "run", "-r", "r", "--id", "j1", "until [ -e \(gate) ]; do sleep 0.02; done; echo done"], at: endpoints,
      scene)
    try await scene.eventually("it runs") {
      try await scene.call("n2", "job.status", ["j1"])["status"] == "running"
    }
    try await silence()
    _ = scene.write("", to: "runs.gate")
    let list = try tool(["runner", "list", "-q"], at: endpoints, scene)
    let (listed, ran) = (await list.outcome(), await job.outcome())
    #expect(listed.status == 0 && listed.output == "r\n", "\(listed)")
    #expect(
      listed.error == "warning: \(endpoints[0]) has been silent for 5.0 seconds, asking \(endpoints[1])\n", "\(listed)")
    #expect(ran.status == 0 && ran.output == "done\n", "\(ran)")
    let warning = "warning: no answer from \(endpoints[0]) within 10.0 seconds; waiting for job j1 by its id\n"
    #expect(ran.error == (isHeard ? "" : warning), "\(ran)")
  }

  @Test("reads at the next one, and goes on to wait for a job there")
  func stopped() async throws {
    try await ClusterScene.run { scene async throws in
      try await check(scene) { await scene.pause("n1") }
    }
  }

  @Test("does so as well when a firewall drops what the node sends", .enabled(if: TestNetwork.isPermitted))
  func unheard() async throws {
    let network = await TestNetwork.make(["n1", "n2"])
    try await ClusterScene.run(network: network) { scene async throws in
      try await check(scene) { await network.aside { $0.silence("n1", incoming: false) } }
    }
  }

  @Test("does so as well when a firewall drops what is sent to the node", .enabled(if: TestNetwork.isPermitted))
  func unreached() async throws {
    let network = await TestNetwork.make(["n1", "n2"])
    try await ClusterScene.run(network: network) { scene async throws in
      try await check(scene, isHeard: true) { await network.aside { $0.silence("n1", incoming: true) } }
    }
  }

  @Test("follows a job over the death of the node that had it, until that is back")
  func killedOwner() async throws {
    try await ClusterScene.run { scene async throws in
      try await scene.start(["n1", "n2"])
      try await scene.register("r", at: "n2")
      let endpoints = await [scene.endpoints["n2"]!, scene.endpoints["n1"]!]
      let job = try tool(
        ["job", "run", "-r", "r", "--id", "j1", "echo $HERO_JOB_ID >>\(scene.runs); sleep 1; echo done"], at: endpoints,
        scene)
      try await scene.eventually("it runs") { scene.countRuns() == ["j1": 1] }
      await scene.kill("n2")
      #expect(await job.said("waiting for job j1 until it is back"))
      try await scene.start("n2", atNewPort: true)
      let ran = await job.outcome()
      #expect(ran.status == 0 && ran.output == "done\n", "\(ran)")
      // On loss it is queued again; it never ran at the new owner beside that.
      let status = try await scene.call("n1", "job.status", ["j1"])
      #expect(status["status"] == "completed" && scene.countRuns() == ["j1": 2], "\(status.text)")
    }
  }
}
