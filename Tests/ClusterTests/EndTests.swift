import EventLoop
import Gossip
import Testing

@testable import Cluster

/// Nothing is left of a node that was closed: `EventLoop.stop` ends the program when a handle is open.
@Suite(.timeLimit(.minutes(5))) struct EndTests {
  @Test func `a node may be closed at any moment of its connections`() async throws {
    try await withDirectory { directory in
      let a = try await TestNode("a", directory: directory)
      for round in 0..<40 {
        let b = try await TestNode("b\(round)", join: [a.address], directory: directory)
        // On the loop's queue before anything of the end is: a stopped loop drops what it is given.
        let join = Task(executorPreference: b.loop) { await b.cluster.join() }
        let strangers = try (0..<3).map { _ in try SocketAddress(parsing: b.address) }
        let connections = Task(executorPreference: a.loop) {
          for target in strangers { (try? await TCPStream.connect(to: target, on: a.loop))?.close() }
        }
        // From nothing to all of it has happened.
        try await Task.sleep(for: .microseconds(round * 150))
        await b.stop()
        _ = await join.value
        await connections.value
      }
      try await eventually { await a.cluster.links!.all.isEmpty }
      await a.stop()
    }
  }

  @Test func `a node may be closed while calls are made and answered`() async throws {
    for round in 0..<10 {
      try await withCluster(["a", "b"]) { nodes, _ in
        let calls = try (0..<20).map { number in
          let remote = try nodes[number % 2].greeter(of: nodes[1 - number % 2])
          return Task {
            while true {
              if number < 4 { _ = try await remote.make(3 << 20) } else { _ = try await remote.greet("x", times: 1) }
            }
          }
        }
        try await Task.sleep(for: .milliseconds(round * 5))
        await nodes[round % 2].cluster.close()
        for call in calls { call.cancel() }
        for call in calls { await #expect(throws: ClusterError.self) { try await call.value } }
      }
    }
  }

  @Test func `nothing of a closed node stays in memory`() async throws {
    weak var cluster: ClusterNode?
    weak var links: PeerLinks?
    weak var link: PeerLink?
    weak var gossip: GossipNode?
    try await withDirectory { directory in
      let a = try await TestNode("a", directory: directory)
      do {
        let b = try await TestNode("b", join: [a.address], directory: directory)
        await b.cluster.join()
        try await eventually { await b.cluster.linked.count == 1 }
        #expect(try await b.greeter(of: a).greet("x", times: 1) == "hello x ")
        (cluster, links, gossip) = (b.cluster, await b.cluster.links, await b.cluster.gossip)
        link = try await b.link(to: a)
        await b.stop()
      }
      await a.stop()
    }
    #expect(cluster == nil)
    #expect(links == nil)
    #expect(link == nil)
    #expect(gossip == nil)
  }

  @Test func `a port that is taken is an error, and nothing is left of it`() async throws {
    try await withCluster(["a"]) { nodes, directory in
      await #expect(throws: UVError.self) {
        _ = try await TestNode("b", directory: directory) { $0.listen = try! SocketAddress(parsing: nodes[0].address) }
      }
    }
  }

  @Test func `closing does not wait for a peer that reads nothing`() async throws {
    // All that would end the link by itself takes an hour: that closing returns at all shows that it does not wait.
    let hour = Duration.seconds(3600)
    let limits = LinkLimits.with(\.silence, hour).with(\.rest, hour).with(\.stall, hour)
    try await withStrangers(limits: limits) { node, connect in
      let peer = try await connect()
      try await peer.shakeHands(as: "x")
      await peer.stopReading()
      let call = Task {
        try? await node.cluster.send([UInt8](repeating: 1, count: 64 << 20), to: MemberName("x"), within: nil)
      }
      let link = try #require(await node.cluster.links!.link(to: MemberName("x")))
      try await eventually { await link.waitingBytes > Frame.pieceBytes }
      await node.cluster.close()
      #expect(await call.value == nil)
    }
  }
}
