import Cluster
import Gossip
import Testing

@Suite struct CallTests {
  @Test func `a call on an actor of another node answers as a local one`() async throws {
    try await withCluster(["a", "b"]) { nodes, _ in
      let remote = try nodes[0].greeter(of: nodes[1])
      #expect(try await remote.greet("you", times: 2) == "hello you hello you ")
      #expect(try await nodes[0].greeter.greet("me", times: 1) == "hello me ")
    }
  }

  @Test func `an error keeps its type`() async throws {
    try await withCluster(["a", "b"]) { nodes, _ in
      let remote = try nodes[0].greeter(of: nodes[1])
      await #expect(throws: TestError(reason: "no")) { try await remote.refuse("no") }
    }
  }

  @Test func `64 MiB arguments do not stall other calls`() async throws {
    try await withCluster(["a", "b"]) { nodes, _ in
      let remote = try nodes[0].greeter(of: nodes[1])
      let big = WireBytes([UInt8](repeating: 1, count: 64 << 20))
      async let counted = remote.count(big)
      var small = 0
      // Some of these are answered while the big one is on its way.
      for _ in 0..<50 { small += try await remote.greet("x", times: 1).utf8.count }
      #expect(small == 50 * 8)
      #expect(try await counted == 64 << 20)
      #expect(try await remote.make(10 << 20).bytes.count == 10 << 20)
    }
  }

  @Test func `a cancelled call is cancelled at the other end`() async throws {
    try await withCluster(["a", "b"]) { nodes, _ in
      let remote = try nodes[0].greeter(of: nodes[1])
      let call = Task { try await ClusterSystem.$limit.withValue(nil) { try await remote.waitForEver() } }
      #expect(try await remote.cancellations() == 0)
      call.cancel()
      await #expect(throws: ClusterError.cancelled) { try await call.value }
      try await eventually { try await remote.cancellations() == 1 }
    }
  }

  @Test func `a call that takes longer than its limit fails, and only that`() async throws {
    try await withCluster(["a", "b"]) { nodes, _ in
      let remote = try nodes[0].greeter(of: nodes[1])
      await #expect(throws: ClusterError.timedOut(MemberName("b"))) {
        try await ClusterSystem.$limit.withValue(.milliseconds(50)) { try await remote.waitForEver() }
      }
      #expect(try await remote.greet("x", times: 1) == "hello x ")
    }
  }

  @Test func `when a peer goes all calls to it fail at once`() async throws {
    try await withCluster(["a", "b"]) { nodes, _ in
      let remote = try nodes[0].greeter(of: nodes[1])
      let calls = (0..<10).map { _ in
        Task { try await ClusterSystem.$limit.withValue(nil) { try await remote.waitForEver() } }
      }
      #expect(try await remote.greet("x", times: 1) == "hello x ")
      await nodes[1].cluster.close()
      for call in calls { await #expect(throws: ClusterError.nodeLost(MemberName("b"))) { try await call.value } }
    }
  }
}
