import EventLoop
import Gossip
import Synchronization
import Testing

@testable import Cluster

@Suite(.timeLimit(.minutes(5))) struct CallTests {
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

  /// How many calls were made and answered while a message was arriving in pieces.
  private func smallCalls(
    of remote: Greeter, while isArriving: @escaping @Sendable () async -> Bool,
    during big: @escaping @Sendable (Greeter) async throws -> Int
  ) async throws -> Int {
    let call = Task { try await big(remote) }
    try await eventually { await isArriving() }
    var answered = 0
    repeat {
      #expect(try await remote.greet("x", times: 1) == "hello x ")
      if await isArriving() { answered += 1 }
    } while await isArriving()
    #expect(try await call.value == 64 << 20)
    return answered
  }

  @Test func `64 MiB arguments do not stall other calls`() async throws {
    try await withCluster(["a", "b"]) { nodes, _ in
      let remote = try nodes[0].greeter(of: nodes[1])
      let (here, there) = (try await nodes[0].link(to: nodes[1]), try await nodes[1].link(to: nodes[0]))
      let withArguments = try await smallCalls(of: remote, while: { await !there.arriving.isEmpty }) {
        try await $0.count(WireBytes([UInt8](repeating: 1, count: 64 << 20)))
      }
      #expect(withArguments > 0)
      let withAnswer = try await smallCalls(
        of: remote, while: { await here.calls.values.contains { $0.answer != nil } }
      ) {
        try await $0.make(64 << 20).bytes.count
      }
      #expect(withAnswer > 0)
    }
  }

  @Test func `messages of every size about a piece arrive whole`() async throws {
    try await withCluster(["a", "b"]) { nodes, _ in
      let remote = try nodes[0].greeter(of: nodes[1])
      for size in [0, 1, 65_000, 65_400, 65_527, 65_536, 65_537, 131_072, 200_000] {
        // Around the border of a piece, whatever the head of the call takes.
        for more in 0..<(size > 65_000 && size < 66_000 ? 20 : 1) {
          #expect(try await remote.count(WireBytes([UInt8](repeating: 1, count: size + more))) == size + more)
          #expect(try await remote.make(size + more) == WireBytes([UInt8](repeating: 7, count: size + more)))
        }
      }
    }
  }

  @Test func `a cancelled call is cancelled at the other end`() async throws {
    try await withCluster(["a", "b"]) { nodes, _ in
      let remote = try nodes[0].greeter(of: nodes[1])
      let call = Task { try await ClusterSystem.$limit.withValue(nil) { try await remote.waitForEver() } }
      try await eventually { await nodes[1].greeter.waitingHere == 1 }
      call.cancel()
      await #expect(throws: ClusterError.cancelled) { try await call.value }
      try await eventually { try await remote.cancellations() == 1 }
    }
  }

  @Test func `a call of a cancelled task is not made`() async throws {
    try await withCluster(["a", "b"]) { nodes, _ in
      let remote = try nodes[0].greeter(of: nodes[1])
      let call = Task {
        while !Task.isCancelled { await Task.yield() }
        try await remote.waitForEver()
      }
      call.cancel()
      await #expect(throws: ClusterError.cancelled) { try await call.value }
      #expect(try await remote.underWay() + remote.cancellations() == 0)
    }
  }

  @Test func `a call that takes longer than its limit fails, and only that`() async throws {
    try await withCluster(["a", "b"]) { nodes, _ in
      let remote = try nodes[0].greeter(of: nodes[1])
      let start = ContinuousClock.now
      await #expect(throws: ClusterError.timedOut(MemberName("b"))) {
        try await ClusterSystem.$limit.withValue(.milliseconds(50)) { try await remote.waitForEver() }
      }
      #expect(ContinuousClock.now - start >= .milliseconds(50))
      #expect(try await remote.greet("x", times: 1) == "hello x ")
      try await eventually { try await remote.cancellations() == 1 }
    }
  }

  @Test func `calls with many limits end each in its time`() async throws {
    try await withCluster(["a", "b"]) { nodes, _ in
      let remote = try nodes[0].greeter(of: nodes[1])
      try await withThrowingTaskGroup(of: Bool.self) { group in
        for milliseconds in stride(from: 300, through: 10, by: -10) {
          group.addTask {
            let start = ContinuousClock.now
            let limit = Duration.milliseconds(milliseconds)
            await #expect(throws: ClusterError.timedOut(MemberName("b"))) {
              try await ClusterSystem.$limit.withValue(limit) { try await remote.waitForEver() }
            }
            return ContinuousClock.now - start >= limit
          }
        }
        for try await isLateEnough in group { #expect(isLateEnough) }
      }
    }
  }

  @Test func `when a peer goes all calls to it fail at once`() async throws {
    try await withCluster(["a", "b"]) { nodes, _ in
      let remote = try nodes[0].greeter(of: nodes[1])
      let calls = (0..<10).map { _ in
        Task { try await ClusterSystem.$limit.withValue(nil) { try await remote.waitForEver() } }
      }
      try await eventually { await nodes[1].greeter.waitingHere == 10 }
      await nodes[1].cluster.close()
      for call in calls { await #expect(throws: ClusterError.nodeLost(MemberName("b"))) { try await call.value } }
    }
  }

  @Test func `a peer with too much under way refuses, and takes calls again afterwards`() async throws {
    try await withCluster(["a", "b"], limits: .with(\.serving, 8)) { nodes, _ in
      let remote = try nodes[0].greeter(of: nodes[1])
      let calls = (0..<8).map { _ in
        Task { try await ClusterSystem.$limit.withValue(nil) { try await remote.waitForEver() } }
      }
      try await eventually { await nodes[1].greeter.waitingHere == 8 }
      await #expect(throws: ClusterError.overloaded(MemberName("b"))) { try await remote.greet("x", times: 1) }
      calls[0].cancel()
      try await eventually { (try? await remote.greet("x", times: 1)) != nil }
      for call in calls { call.cancel() }
    }
  }

  @Test func `what a peer may send at a time is bounded in all, and the rest of a refused call is not sent`()
    async throws
  {
    try await withCluster(["a", "b"], limits: .with(\.requestBytes, 4 << 20)) { nodes, _ in
      let remote = try nodes[0].greeter(of: nodes[1])
      #expect(try await remote.count(WireBytes([UInt8](repeating: 1, count: 4_000_000))) == 4_000_000)
      await #expect(throws: ClusterError.overloaded(MemberName("b"))) {
        try await remote.count(WireBytes([UInt8](repeating: 1, count: 64 << 20)))
      }
      let link = try await nodes[1].link(to: nodes[0])
      try await eventually { await link.requestBytes == 0 }
      #expect(await link.arriving.isEmpty)
      #expect(await nodes[0].cluster.linked == [MemberName("b")], "nothing of it ends the link")
      #expect(try await remote.count(WireBytes([UInt8](repeating: 1, count: 4_000_000))) == 4_000_000)
    }
  }

  @Test func `nobody is called who is no member, or has left`() async throws {
    try await withCluster(["a", "b"]) { nodes, _ in
      let nobody = try Greeter.resolve(
        id: ClusterActorID(node: MemberName("x"), kind: "Greeter"), using: nodes[0].system)
      await #expect(throws: ClusterError.unreachable(MemberName("x"), reason: "x is not a member")) {
        try await nobody.greet("x", times: 1)
      }
      let remote = try nodes[0].greeter(of: nodes[1])
      await nodes[1].cluster.leave()
      await #expect(throws: ClusterError.unreachable(MemberName("b"), reason: "b has left")) {
        try await remote.greet("x", times: 1)
      }
    }
  }

  @Test func `who leaves still answers what it was asked`() async throws {
    try await withCluster(["a", "b"]) { nodes, _ in
      let remote = try nodes[0].greeter(of: nodes[1])
      let call = Task { try await ClusterSystem.$limit.withValue(nil) { try await remote.stubborn() } }
      try await eventually { await nodes[1].greeter.waitingHere == 1 }
      await nodes[1].cluster.leave()
      try await nodes[0].sees(nodes[1].name, .left)
      // It may call others until it goes.
      #expect(try await nodes[1].greeter(of: nodes[0]).greet("x", times: 1) == "hello x ")
      await nodes[1].greeter.release()
      try await call.value
    }
  }

  @Test func `an actor that is not there is an error in words`() async throws {
    try await withCluster(["a", "b"]) { nodes, _ in
      let id = ClusterActorID(node: nodes[1].name, kind: "Greeter", name: "other")
      let remote = try Greeter.resolve(id: id, using: nodes[0].system)
      await #expect(throws: ClusterError.self) { try await remote.greet("x", times: 1) }
      #expect(try await nodes[0].greeter(of: nodes[1]).greet("x", times: 1) == "hello x ")
    }
  }
}
