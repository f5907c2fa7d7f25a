import EventLoop
import Gossip
import TLS
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

  /// At most an alert of TLS: its head, its level, and why.
  private func learnsNothing(_ stranger: Stranger) async {
    let received = await stranger.received
    #expect(received.isEmpty || (received.count == 7 && received[0] == 21), "\(received)")
  }

  @Test(
    "whoever does not speak TLS gets no more than an alert",
    arguments: [
      Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8), Array("hero\u{1}".utf8) + [UInt8](repeating: 0, count: 64),
      [UInt8](repeating: 0xFF, count: 100_000),
    ] as [[UInt8]])
  func otherProtocols(_ bytes: [UInt8]) async throws {
    try await withStrangers { node, connect in
      let before = await node.handles
      let stranger = try await connect()
      await stranger.startReading()
      await stranger.send(bytes)
      try await stranger.waitsForItsEnd()
      await learnsNothing(stranger)
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
        // With and without the beginning of a record.
        let opening: [UInt8] = Bool.random() ? [22, 3, 1, 0, 250] : []
        await stranger.send(
          opening + (0..<Int.random(in: 200..<300)).map { _ in UInt8.random(in: 0...255, using: &generator) })
        await stranger.endSending()
        try await stranger.waitsForItsEnd()
        await learnsNothing(stranger)
      }
      try await nothingIsLeft(at: node, of: before)
    }
  }

  @Test(
    "another cluster's name or key opens nothing",
    arguments: [(UInt8(1), "other"), (UInt8(1), "tesu"), (UInt8(2), "test")])
  func otherCluster(_ key: UInt8, _ cluster: String) async throws {
    try await withStrangers { node, connect in
      let before = await node.handles
      let stranger = try await connect()
      await #expect(throws: (any Error).self) {
        try await stranger.shakeHands(as: "x", key: testKey(key), cluster: cluster)
      }
      try await stranger.waitsForItsEnd()
      try await nothingIsLeft(at: node, of: before)
      #expect(node.log.contains(.warning, "it has another cluster name or key"))
    }
  }

  @Test func `an end in the middle of a handshake says nothing of keys`() async throws {
    try await withStrangers { node, connect in
      let before = await node.handles
      let stranger = try await connect()
      await stranger.startReading()
      // The head of a record whose rest does not come, as when a node stood still until its peer gave up.
      await stranger.send([22, 3, 1, 0, 250])
      await stranger.endSending()
      try await stranger.waitsForItsEnd()
      try await nothingIsLeft(at: node, of: before)
      #expect(!node.log.contains(.warning, "another cluster name or key"))
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
    try await withWiretap { node, wire, connect in
      let peer = try await connect(wire.address)
      try await peer.shakeHands(as: "x")
      await peer.send(.ping, call: 7)
      try await peer.gets(.pong)
      let recording = await wire.recording
      await peer.close()
      try await eventually { await node.cluster.linked.isEmpty }
      let stranger = try await connect(node.address)
      await stranger.startReading()
      await stranger.send(recording)
      try await stranger.waitsForItsEnd()
      #expect(await node.cluster.linked.isEmpty)
    }
  }

  @Test func `who shows a certificate in place of a key is no node`() async throws {
    try await withCluster(["n"]) { nodes, _ in
      let loop = try EventLoop()
      loop.start()
      let authority = CertificateAuthority(named: "Anybody", days: 1)
      let identity = try TLSIdentity(certificate: authority.certificatePEM, key: authority.keyPEM)
      let impostor = Impostor(try TLSContext.server(identity, protocols: ["hero-peer/2"]), on: loop)
      let address = MemberAddress(try await impostor.listen())
      #expect(await nodes[0].cluster.links!.dial(address).failure == .notOfThisCluster)
      try await eventually { await impostor.failures == 1 }
      await impostor.close()
      await loop.stop()
    }
  }

  @Test func `a handshake that goes no further is ended in time, whether it is closed or not`() async throws {
    try await withStrangers(limits: .with(\.handshakeTime, .milliseconds(200))) { node, connect in
      let before = await node.handles
      // A record is announced and does not come; so is a ClientHello.
      let parts = [[], [22], [22, 3, 1, 2, 0], [22, 3, 1, 0, 4, 1, 0, 1, 0]] as [[UInt8]]
      for part in parts {
        for closes in [true, false] {
          let stranger = try await connect()
          await stranger.startReading()
          await stranger.send(part)
          if closes { await stranger.endSending() }
          try await stranger.waitsForItsEnd()
          await learnsNothing(stranger)
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
        await stranger.send([0, 0, 0, 0, 0])
        try await stranger.waitsForItsEnd()
      }
      #expect((1..<10).contains(node.log.all.count { $0.contains("a connection was refused") }))
    }
  }
}

extension Result {
  fileprivate var failure: Failure? {
    if case .failure(let failure) = self { failure } else { nil }
  }
}

/// Listens as a node does, and has a certificate in place of a key.
private actor Impostor {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private let context: TLSContext
  private var listener: TCPListener?
  private(set) var failures = 0

  init(_ context: TLSContext, on loop: EventLoop) {
    self.context = context
    self.loop = loop
  }

  func listen() throws -> String {
    let listener = try TCPListener.listen(on: loop, address: SocketAddress(host: "127.0.0.1", port: 0)) { tcp in
      self.assumeIsolated { $0.accept(tcp) }
    }
    self.listener = listener
    return listener.localAddress!.description
  }

  private func accept(_ tcp: TCPStream) {
    TLSStream(accepting: tcp, context).handshake { error in
      self.assumeIsolated { $0.failures += error == nil ? 0 : 1 }
      tcp.close()
    }
  }

  func close() { listener?.close() }
}
