import EventLoop
import Gossip
import Testing

@testable import Cluster

/// Who does not have the key learns nothing and can do nothing.
@Suite(.timeLimit(.minutes(5))) struct StrangerTests {
  /// Nothing is left of those who came.
  private func nothingIsLeft(at node: TestNode, of handles: [String]) async throws {
    try await eventually { await node.handles == handles }
    #expect(await node.cluster.links!.strangers.isEmpty)
    #expect(await node.cluster.linked.isEmpty)
    #expect(await node.cluster.members.map(\.name) == [node.name])
  }

  @Test(
    "whoever does not speak the protocol gets no byte",
    arguments: [
      Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8), Array("hero\u{2}".utf8) + [UInt8](repeating: 0, count: 64),
      [0], [UInt8](repeating: 0xFF, count: 100_000), Array("her".utf8) + [0],
    ] as [[UInt8]])
  func otherProtocols(_ bytes: [UInt8]) async throws {
    try await withStrangers { node, connect in
      let before = await node.handles
      let stranger = try await connect()
      await stranger.startReading()
      await stranger.send(bytes)
      try await stranger.waitsForItsEnd()
      #expect(await stranger.received == [])
      try await nothingIsLeft(at: node, of: before)
    }
  }

  @Test func `random bytes end the connection`() async throws {
    try await withStrangers { node, connect in
      let before = await node.handles
      var generator = SystemRandomNumberGenerator()
      for _ in 0..<100 {
        let stranger = try await connect()
        await stranger.startReading()
        let opening = Bool.random() ? Handshake.magic : []
        await stranger.send(
          opening + (0..<Int.random(in: 200..<300)).map { _ in UInt8.random(in: 0...255, using: &generator) })
        await stranger.endSending()
        try await stranger.waitsForItsEnd()
        let received = await stranger.received
        #expect(received.count == 0 || (received.count == 32 && !opening.isEmpty))
      }
      try await nothingIsLeft(at: node, of: before)
    }
  }

  @Test(
    "another cluster's name or key opens nothing, and gets 32 random bytes",
    arguments: [(UInt8(1), "other"), (UInt8(2), "test")])
  func otherCluster(_ key: UInt8, _ cluster: String) async throws {
    try await withStrangers { node, connect in
      let before = await node.handles
      let stranger = try await connect()
      await #expect(throws: (any Error).self) {
        try await stranger.shakeHands(as: "x", key: testKey(key), cluster: cluster)
      }
      try await stranger.waitsForItsEnd()
      #expect(await stranger.received.count == 32)
      try await nothingIsLeft(at: node, of: before)
      #expect(node.log.contains(.warning, "it has another cluster name or key"))
    }
  }

  @Test func `nodes of two clusters do not meet`() async throws {
    try await withDirectory { directory in
      let a = try await TestNode("a", directory: directory)
      for change in [{ $0.cluster = "other" }, { $0.keys = [testKey(2)] }]
        as [(inout ClusterNode.Configuration) -> Void]
      {
        let b = try await TestNode("b", join: [a.address], directory: directory) {
          change(&$0)
          $0.joinTimeout = .milliseconds(100)
        }
        #expect(await !b.cluster.join())
        #expect(await a.cluster.members.count == 1)
        #expect(await b.cluster.members.count == 1)
        #expect(b.log.contains(.warning, "it has another cluster name or key"))
        await b.stop()
      }
      await a.stop()
    }
  }

  @Test func `a handshake that was recorded opens nothing`() async throws {
    try await withStrangers { node, connect in
      let peer = try await connect()
      try await peer.shakeHands(as: "x")
      await peer.send(.ping, call: 7)
      try await peer.gets(.pong)
      let recording = await peer.sent
      await peer.close()
      try await eventually { await node.cluster.linked.isEmpty }
      let stranger = try await connect()
      await stranger.startReading()
      await stranger.send(recording)
      try await stranger.waitsForItsEnd()
      #expect(await stranger.received.count == 32)
      #expect(await node.cluster.linked.isEmpty)
    }
  }

  @Test func `a handshake that goes no further is ended in time, whether it is closed or not`() async throws {
    try await withStrangers(limits: .with(\.handshakeTime, .milliseconds(200))) { node, connect in
      let before = await node.handles
      var parts =
        [[], Array("he".utf8), Handshake.magic, Handshake.magic + [UInt8](repeating: 0, count: 32)] as [[UInt8]]
      // A sealed introduction is announced and does not come; too long a one is not waited for.
      parts += [parts[3] + [0], parts[3] + [4, 0, 1, 2]]
      for part in parts {
        for closes in [true, false] {
          let stranger = try await connect()
          await stranger.startReading()
          await stranger.send(part)
          if closes { await stranger.endSending() }
          try await stranger.waitsForItsEnd()
          #expect(await stranger.received.count == (part.count >= 37 ? 32 : 0))
        }
      }
      try await nothingIsLeft(at: node, of: before)
    }
  }

  @Test func `strangers that fill all places do not keep a node out`() async throws {
    try await withStrangers(limits: .with(\.strangers, 8)) { node, connect in
      var silent: [Stranger] = []
      for _ in 0..<20 {
        silent.append(try await connect())
        await silent.last!.startReading()
      }
      try await silent[0].waitsForItsEnd()
      #expect(await node.cluster.links!.strangers.count <= 8)
      let peer = try await connect()
      try await peer.shakeHands(as: "x")
      await peer.send(.ping, call: 1)
      try await peer.gets(.pong)
      #expect(await node.cluster.linked == [MemberName("x")])
      try await silent[11].waitsForItsEnd()
    }
  }

  @Test func `a flood of strangers does not flood the log`() async throws {
    try await withStrangers { node, connect in
      for _ in 0..<50 {
        let stranger = try await connect()
        await stranger.startReading()
        await stranger.send([0])
        try await stranger.waitsForItsEnd()
      }
      #expect((1..<10).contains(node.log.all.count { $0.contains("a connection was refused") }))
    }
  }
}
