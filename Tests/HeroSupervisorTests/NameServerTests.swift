import JSONRPC
import SupervisorClient
import Testing

/// Seeds by name, and servers of names that are down, slow, lying or flapping: jobs go on, and the end comes (C3).
@Suite(
  "Nodes whose name server fails", .serialized, .timeLimit(.minutes(5)),
  .enabled(if: NameServer.isPermitted, "a mount namespace needs root and unshare(1)"))
struct NameServerTests {
  private let seeds = (0..<10).map { "s\($0).test" }

  /// - Parameter options: of resolv.conf(5).
  private func withServer(
    _ behaviours: [String: NameServer.Behaviour], options: String,
    _ body: @escaping @Sendable (ClusterScene, NameServer, _ wrapper: [String]) async throws -> Void
  ) async throws {
    let server = try await NameServer(behaviours)
    do {
      try await ClusterScene.run { scene async throws in
        let file = scene.write("nameserver \(NameServer.address)\noptions \(options)\n", to: "resolv.conf")
        try await body(scene, server, NameServer.wrapper(file))
      }
    } catch {
      await server.stop()
      throw error
    }
    await server.stop()
  }

  private func join(port: String) -> [String] { seeds.flatMap { ["--join", "\($0):\(port)"] } }

  @Test("one that says nothing for minutes holds up no job, and not the end")
  func silent() async throws {
    // A look-up ends after longer than any wait of this test.
    try await withServer([:], options: "timeout:30 attempts:5") { scene, server, wrapper in
      try await scene.start("n1", arguments: join(port: "7946"), wrapper: wrapper)
      for seed in seeds { try await scene.eventually("\(seed) is asked for") { await server.queries(for: seed) > 0 } }
      try await scene.register("r", at: "n1")
      for number in 0..<50 {
        #expect(try await scene.run("job-\(number)", on: "r", "echo ok", at: "n1") == ["success": "ok\n"])
      }
      // Each name once, though the node goes on seeking.
      for seed in seeds { #expect(await server.queries(for: seed) == 1, "\(seed)") }
      #expect(await scene.terminate("n1") == 0)
    }
  }

  @Test("a node joins as soon as one name is answered rightly, whatever is said of the others")
  func liars() async throws {
    // The second node is at this address; of the names only one says so, and not when it is asked first.
    let behaviours: [String: NameServer.Behaviour] = [
      "s0.test": .noSuchName, "s1.test": .garbage, "s2.test": .address("127.254.254.254"),
      "s3.test": .address("127.0.0.1"), "s4.test": .noSuchName, "s7.test": .addressFromQuery(2, "127.0.0.2"),
    ]
    try await withServer(behaviours, options: "timeout:1 attempts:20") { scene, server, wrapper in
      try await scene.start("n2", arguments: ["--cluster", "127.0.0.2:0"])
      let address = try #require(await scene.log("n2").firstMatch(of: /cluster port open.* listen=127.0.0.2:([0-9]+)/))
      try await scene.start(
        "n1", wait: false, knowsOthers: false, arguments: join(port: String(address.1)), wrapper: wrapper)
      try await scene.ready("n1")
      try await scene.sees("n1", ["n1": "alive", "n2": "alive"])
      try await scene.sees("n2", ["n1": "alive", "n2": "alive"])
      try await scene.register("r", at: "n2")
      for number in 0..<10 {
        #expect(try await scene.run("job-\(number)", on: "r", "echo $HERO_NODE", at: "n1") == ["success": "n2\n"])
      }
      // The names that hang still do.
      #expect(await server.queries(for: "s9.test") > 0)
      #expect(await scene.terminate("n1") == 0)
    }
  }
}
