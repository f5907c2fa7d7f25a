import JSONRPC
import SupervisorClient
import Testing

/// Who is a member, and how nodes find each other, with real processes.
@Suite("The members of a cluster", .serialized, .timeLimit(.minutes(5)))
struct ClusterMembershipTests {
  private let names = ["n1", "n2", "n3"]

  @Test(
    "a second node of the same name is refused with a clear error, whatever its clock says, and the first goes on (C2)",
    arguments: [nil, "-1h", "+10d"])
  func sameName(time: String?) async throws {
    guard time == nil || FakeTime.isInstalled else { return }
    try await ClusterScene.run { scene async throws in
      try await scene.start(names)
      try await scene.register("r", at: "n2")
      let before = try await incarnation(of: "n2", at: "n1", scene)
      try await scene.start(
        "n2", as: "impostor", wait: false, environment: time.map { FakeTime.environment($0) } ?? [])
      let end = await scene.ended("impostor")
      #expect(end.code == 1)
      let address = try #require(await scene.log("n2").firstMatch(of: /advertise=([0-9.:]+)/)).1
      let other = try #require(end.log.firstMatch(of: /advertise=([0-9.:]+)/)).1
      let reason =
        "another live node at \(address) is named n2 as well, and keeps the name; give this one, at \(other), another name"
      #expect(end.log.contains(reason), "\(end.log)")
      #expect(await !scene.log("n2").contains("node stopping"))
      for name in names { try await scene.sees(name, ["n1": "alive", "n2": "alive", "n3": "alive"]) }
      // Nobody took it for the member for a moment.
      #expect(try await incarnation(of: "n2", at: "n1", scene) == before)
      #expect(try await scene.run("job", on: "r", "echo $HERO_NODE", at: "n1") == ["success": "n2\n"])
    }
  }

  private func incarnation(of name: String, at node: String, _ scene: ClusterScene) async throws -> JSON? {
    try await scene.call(node, "cluster.members").arrayValue?.first { $0["name"]?.stringValue == name }?["incarnation"]
  }

  @Test("the key is changed in three steps without a pause")
  func rotation() async throws {
    try await ClusterScene.run { scene async throws in
      try await scene.start(names)
      try await scene.register("r", at: "n1")
      for (step, keys) in ([[0, 1], [1, 0], [1]] as [[UInt8]]).enumerated() {
        await scene.use(keys: keys)
        for name in names {
          try await scene.eventually("\(name) has read its keys") {
            await scene.log(name).matches(of: /keys of the cluster were read again/).count == step + 1
          }
          #expect(try await scene.run("\(name) \(step)", on: "r", "echo ok", at: name) == ["success": "ok\n"])
        }
      }
      // A node that starts with the new key is welcome, and nobody was lost on the way.
      await scene.kill("n3")
      try await scene.start("n3")
      for name in names {
        try await scene.sees(name, ["n1": "alive", "n2": "alive", "n3": "alive"])
        let log = await scene.log(name)
        #expect(name == "n3" || log.matches(of: /member failed/).count <= 1, "\(log)")
      }
    }
  }

  @Test("a node with another key or another cluster's name does not get in, says so, and goes on alone")
  func strangers() async throws {
    try await ClusterScene.run { scene async throws in
      try await scene.start(["n1"])
      try await scene.start(
        "n2", wait: false,
        arguments: [
          "--config",
          scene.write("{\"cluster\": {\"name\": \"other\", \"join_timeout_seconds\": 1}}", to: "other.json"),
        ])
      try await scene.ready("n2")
      #expect(await scene.log("n2").contains("no seed answered, this node goes on alone"))
      #expect(await scene.log("n1").contains("another cluster name or key"))
      #expect(try await scene.call("n1", "cluster.members").arrayValue?.count == 1)
    }
  }

  @Test("nodes that were all stopped find each other again without being told where")
  func memory() async throws {
    try await ClusterScene.run { scene async throws in
      try await scene.start(names)
      try await scene.register("r", at: "n3")
      // What a node remembers of its peers is written soon, and at the latest when it stops.
      for name in names { #expect(await scene.terminate(name) == 0) }
      for name in names { try await scene.start(name, atNewPort: name == "n2", wait: false, knowsOthers: false) }
      for name in names { try await scene.ready(name) }
      for name in names { try await scene.sees(name, ["n1": "alive", "n2": "alive", "n3": "alive"]) }
      try await scene.agree(names)
      #expect(try await scene.run("job", on: "r", "echo ok", at: "n1") == ["success": "ok\n"])
    }
  }

  @Test("a node that is told to stop while calls wait for the owner of a runner ends in order")
  func stopWhileCallsWait() async throws {
    try await ClusterScene.run { scene async throws in
      try await scene.start(["n1", "n2"])
      try await scene.register("r", at: "n2")
      // It takes no runners, so that nobody will own this one.
      _ = try await scene.admin("node.drain", ["node": "n1"], at: "n1")
      await scene.kill("n2")
      try await scene.sees("n1", ["n2": "failed"])
      await withDiscardingTaskGroup { group in
        for number in 0..<20 {
          group.addTask { _ = try? await scene.run("job-\(number)", on: "r", "x", executor: "echo", at: "n1") }
        }
        try? await scene.loop.sleep(for: .milliseconds(200))
        #expect(await scene.terminate("n1") == 0)
      }
    }
  }
}
