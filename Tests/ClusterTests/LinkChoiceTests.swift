import EventLoop
import Gossip
import Synchronization
import Testing

@testable import Cluster

/// Two nodes have one link, whoever dialled, and no call is lost on the way there.
@Suite(.timeLimit(.minutes(5))) struct LinkChoiceTests {
  /// Both ends of all links between two nodes, as pairs of ports.
  private func connections(of node: TestNode) async -> Set<[UInt16]> {
    await withCheckedContinuation { done in
      node.loop.execute {
        Task(executorPreference: node.loop) {
          var ports: Set<[UInt16]> = []
          for link in await node.cluster.links!.all {
            ports.insert(await link.ports.sorted())
          }
          done.resume(returning: ports)
        }
      }
    }
  }

  private final class Flag: Sendable {
    private let flag = Mutex(false)
    var isRaised: Bool { flag.withLock { $0 } }
    func raise() { flag.withLock { $0 = true } }
  }

  /// Some calls are under way while links change, and some are of many pieces.
  private func call(_ remote: Greeter, _ kind: Int, until isOver: Flag) async throws -> Int {
    var calls = 0
    while !isOver.isRaised {
      switch kind {
      case 0: #expect(try await remote.answer(afterMilliseconds: 3))
      case 1: #expect(try await remote.make(200_000).bytes.count == 200_000)
      default: #expect(try await remote.greet("x", times: 1) == "hello x ")
      }
      calls += 1
    }
    return calls
  }

  @Test func `both dial at the same time, 50 times: one link stays, and no call is lost`() async throws {
    try await withCluster(["a", "b"]) { nodes, _ in
      let (a, b) = (nodes[0], nodes[1])
      let isOver = Flag()
      let calls = try await withThrowingTaskGroup(of: Int.self) { group in
        for (from, to) in [(a, b), (b, a)] {
          let remote = try from.greeter(of: to)
          for kind in 0..<4 { group.addTask { try await self.call(remote, kind, until: isOver) } }
        }
        for _ in 0..<50 {
          let (linksOfA, linksOfB) = (await a.cluster.links!, await b.cluster.links!)
          async let first = linksOfA.dial(MemberAddress(b.address))
          async let second = linksOfB.dial(MemberAddress(a.address))
          for result in await [first, second] {
            guard case .success = result else {
              Issue.record("\(result)")
              continue
            }
          }
          try await eventually {
            let (ofA, ofB) = (await self.connections(of: a), await self.connections(of: b))
            return ofA.count == 1 && ofA == ofB
          }
        }
        isOver.raise()
        return try await group.reduce(0, +)
      }
      #expect(calls > 100)
      #expect(!a.log.contains(.info, "a peer link broke") && !b.log.contains(.info, "a peer link broke"))
    }
  }

  @Test func `a peer that has lost its link without this node's knowing gets another one`() async throws {
    // The node has the smaller name: it decides.
    try await withStrangers { node, connect in
      let (first, second) = (try await connect(), try await connect())
      try await first.shakeHands(as: "x", instance: 5)
      try await eventually { await node.cluster.linked == [MemberName("x")] }
      try await second.shakeHands(as: "x", instance: 5)
      try await first.gets(.retire)
      #expect(await second.frames.isEmpty)
      let link = await node.cluster.links!.link(to: MemberName("x"))!
      #expect(await node.cluster.links!.all.count == 2, "the first one waits for its calls")
      // It may still be answered what it asked on the first one.
      await first.send(.request, call: 1, try await node.request { _ = try await $0.greet("x", times: 1) })
      try await first.gets(.answer)
      await first.send(.retire)
      try await first.waitsForItsEnd()
      #expect(await first.frames(.goodbye).count == 1)
      try await eventually { await node.cluster.links!.all.count == 1 }
      #expect(await link.isUsable)
    }
  }

  @Test func `the greater name leaves the choice to the smaller one`() async throws {
    try await withStrangers { node, connect in
      let (first, second) = (try await connect(), try await connect())
      try await first.shakeHands(as: "a", instance: 5)
      try await second.shakeHands(as: "a", instance: 5)
      for stranger in [first, second] {
        await stranger.send(.ping, call: 1)
        try await stranger.gets(.pong)
        #expect(await stranger.frames(.retire).isEmpty)
      }
      await second.send(.retire)
      try await second.gets(.goodbye)
      let link = await node.cluster.links!.link(to: MemberName("a"))
      #expect(await link?.isUsable == true)
      #expect(await !first.isCutOff)
    }
  }

  @Test func `calls under way on a link that is replaced are answered on it`() async throws {
    try await withCluster(["a", "b"]) { nodes, _ in
      let remote = try nodes[0].greeter(of: nodes[1])
      let calls = (0..<5).map { _ in
        Task { try await ClusterSystem.$limit.withValue(nil) { try await remote.stubborn() } }
      }
      try await eventually { await nodes[1].greeter.waitingHere == 5 }
      let old = await nodes[0].cluster.links!.link(to: nodes[1].name)!
      _ = await nodes[0].cluster.links!.dial(MemberAddress(nodes[1].address))
      #expect(await !old.isUsable)
      #expect(await !old.hasEnded)
      #expect(try await remote.greet("x", times: 1) == "hello x ")
      await nodes[1].greeter.release()
      for call in calls { try await call.value }
      try await eventually { await old.hasEnded }
    }
  }

  @Test("a peer that is restarted, at the same address or another, has a link again", arguments: [true, false])
  func restart(atSameAddress: Bool) async throws {
    try await withCluster(["a", "b"]) { nodes, directory in
      let a = nodes[0]
      await nodes[1].crash()
      let again = try await TestNode("b", join: [a.address], directory: directory) {
        if atSameAddress { $0.listen = try! SocketAddress(parsing: nodes[1].address) }
      }
      await again.cluster.join()
      try await a.sees(again.name, .alive)
      try await eventually { await a.cluster.member(again.name)?.profile.address.rawValue == again.address }
      try await eventually { (try? await a.greeter(of: again).greet("x", times: 1)) == "hello x " }
      try await eventually { (try? await again.greeter(of: a).greet("x", times: 1)) == "hello x " }
      for node in [a, again] { try await eventually { await node.cluster.links!.all.count == 1 } }
      await again.stop()
    }
  }

  @Test func `a restarted peer takes the place of its former self, whose link still seems to live`() async throws {
    try await withStrangers { node, connect in
      let (former, present) = (try await connect(), try await connect())
      try await former.shakeHands(as: "x", instance: 5)
      try await present.shakeHands(as: "x", instance: 6)
      try await former.waitsForItsEnd()
      #expect(await former.frames(.goodbye).isEmpty)
      await present.send(.ping, call: 1)
      try await present.gets(.pong)
    }
  }

  @Test func `a member that answers on one of its links keeps its name, though another link ends`() async throws {
    // The peer has the smaller name: both links stay until it chooses.
    try await withStrangers(limits: .with(\.nameTime, .seconds(60))) { node, connect in
      let (first, second, other) = (try await connect(), try await connect(), try await connect())
      try await first.shakeHands(as: "a", instance: 5)
      try await second.shakeHands(as: "a", instance: 5)
      try await eventually { await node.cluster.links!.all.count == 2 }
      try await other.shakeHands(as: "a", instance: 6)
      try await second.gets(.ping)
      await second.close()
      try await first.gets(.ping)
      await first.send(.pong, call: first.frames(.ping)[0].call)
      try await other.gets(.retire)
      #expect(await !first.isCutOff)
      let link = await node.cluster.links!.link(to: MemberName("a"))
      #expect(link?.peer.instance == 5)
    }
  }
}

extension PeerLink {
  var ports: [UInt16] { [stream.localAddress?.port ?? 0, stream.peerAddress?.port ?? 0] }
}
