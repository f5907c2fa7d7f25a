import EventLoop
import Foundation
import Gossip
import Testing

@testable import Cluster

/// How a node finds the others.
@Suite(.timeLimit(.minutes(5))) struct JoiningTests {
  /// A port that takes connections and never says anything.
  private func withBlackHole(_ body: (String) async throws -> Void) async throws {
    let loop = try EventLoop()
    loop.start()
    let hole = try await BlackHole(on: loop)
    let result: Result<Void, any Error>
    do { result = .success(try await body(hole.address)) } catch { result = .failure(error) }
    await hole.close()
    await loop.stop()
    try result.get()
  }

  private func withLoop<Value: Sendable>(_ body: (EventLoop) async throws -> Value) async throws -> Value {
    let loop = try EventLoop()
    loop.start()
    let result: Result<Value, any Error>
    do { result = .success(try await body(loop)) } catch { result = .failure(error) }
    await loop.stop()
    return try result.get()
  }

  private actor BlackHole {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    nonisolated let address: String
    private var listener: TCPListener?
    private var streams: [TCPStream] = []

    init(on loop: EventLoop) async throws {
      self.loop = loop
      let box = Box()
      let listener = try await Task(executorPreference: loop) {
        try Self.listen(on: loop, box)
      }.value
      address = listener.1
      self.listener = listener.0
      box.hole = self
    }

    // @unchecked: used on the loop only, but for the one assignment before anyone connects.
    private final class Box: @unchecked Sendable { weak var hole: BlackHole? }

    private static func listen(on loop: EventLoop, _ box: Box) throws -> (TCPListener, String) {
      let listener = try TCPListener.listen(on: loop, address: SocketAddress(host: "127.0.0.1", port: 0)) { stream in
        box.hole?.assumeIsolated { $0.streams.append(stream) }
      }
      return (listener, listener.localAddress!.description)
    }

    func close() {
      listener?.close()
      for stream in streams { stream.close() }
    }
  }

  @Test func `a seed that says nothing is not waited for when another answers`() async throws {
    try await withBlackHole { hole in
      try await withCluster(["a"]) { nodes, directory in
        // The handshake with the other one, and joining in vain, take an hour to fail.
        let b = try await TestNode("b", join: [hole, nodes[0].address], directory: directory) {
          $0.links.handshakeTime = .seconds(3600)
          $0.joinTimeout = .seconds(3600)
        }
        #expect(await b.cluster.join())
        await b.stop()
      }
    }
  }

  @Test func `joining takes no longer than it may`() async throws {
    try await withBlackHole { hole in
      try await withDirectory { directory in
        let node = try await TestNode("a", join: [hole], directory: directory) {
          $0.links.handshakeTime = .seconds(3600)
          $0.joinTimeout = .milliseconds(200)
        }
        let start = ContinuousClock.now
        #expect(await !node.cluster.join())
        #expect(ContinuousClock.now - start >= .milliseconds(200))
        // Nor does the end wait for the handshake.
        await node.stop()
      }
    }
  }

  @Test func `a cancelled task joins no longer`() async throws {
    try await withBlackHole { hole in
      try await withDirectory { directory in
        let node = try await TestNode("a", join: [hole], directory: directory) {
          $0.links.handshakeTime = .seconds(3600)
          $0.joinTimeout = .seconds(3600)
        }
        let join = Task { await node.cluster.join() }
        try await eventually { await !node.cluster.links!.dialling.isEmpty }
        join.cancel()
        #expect(await !join.value)
        await node.stop()
      }
    }
  }

  @Test("a node whose seeds are only itself, or that has none, does not wait for anybody", arguments: 0..<3)
  func alone(_ number: Int) async throws {
    try await withDirectory { directory in
      // The port is known before the node is there.
      let probe = try await TestNode("probe", directory: directory)
      let port = probe.port
      await probe.stop()
      let node = try await TestNode("a", directory: directory) {
        $0.joinTimeout = .seconds(3600)
        $0.listen = try! SocketAddress(host: number == 2 ? "0.0.0.0" : "127.0.0.1", port: port)
        if number > 0 { $0.seeds = [(host: "127.0.0.1", port: port)] }
        // Another address of its own: only whoever answers at the seed can tell.
        if number == 2 { $0.advertise = try! SocketAddress(host: "127.0.0.2", port: port) }
      }
      #expect(node.address == "127.0.0.\(number == 2 ? 2 : 1):\(port)")
      #expect(await !node.cluster.join())
      #expect(node.stops.isEmpty)
      await node.stop()
    }
  }

  @Test func `a seed that is this node itself by one loopback address is nobody by the other`() async throws {
    let addresses = try await withLoop { loop in
      try await Task(executorPreference: loop) {
        try await SocketAddress.resolve(host: "localhost", port: 1, on: loop)
      }.value
    }
    // Where it has one address only, there is nothing to see here.
    for host in addresses.map(\.host) {
      try await withDirectory { directory in
        let probe = try await TestNode("probe", directory: directory) {
          $0.listen = try! SocketAddress(host: host, port: 0)
        }
        let port = probe.port
        await probe.stop()
        let node = try await TestNode("a", directory: directory) {
          $0.joinTimeout = .seconds(5)
          $0.listen = try! SocketAddress(host: host, port: port)
          $0.seeds = [(host: "localhost", port: port)]
        }
        #expect(await !node.cluster.join())
        #expect(!node.log.contains(.info, "no seed answers yet") && !node.log.contains(.warning, "no seed answered"))
        await node.stop()
      }
    }
  }

  @Test func `a seed that cannot be looked up is not this node itself`() async throws {
    try await withDirectory { directory in
      let node = try await TestNode("a", directory: directory) {
        $0.seeds = [(host: "no-such-host.invalid", port: 1)]
        $0.joinTimeout = .milliseconds(300)
      }
      let start = ContinuousClock.now
      #expect(await !node.cluster.join())
      #expect(ContinuousClock.now - start >= .milliseconds(300), "it is waited for")
      #expect(node.log.contains(.warning, "no seed answered"))
      await node.stop()
    }
  }

  @Test func `a seed may be a host's name`() async throws {
    try await withCluster(["a"]) { nodes, directory in
      let b = try await TestNode("b", directory: directory) { $0.seeds = [(host: "localhost", port: nodes[0].port)] }
      #expect(await b.cluster.join())
      #expect(await b.cluster.member(nodes[0].name)?.state == .alive)
      await b.stop()
    }
  }

  @Test func `a node without seeds finds its cluster again, though all but one have moved`() async throws {
    try await withCluster(["a", "b", "c", "d"]) { nodes, directory in
      let d = nodes[3]
      try await eventually { PeerMemory(reading: "\(directory)/d.peers").peers.count == 3 }
      let before = PeerMemory(reading: "\(directory)/d.peers")
      await d.crash()
      for node in nodes.prefix(2) { await node.crash() }
      var moved: [TestNode] = []
      for name in ["a", "b"] {
        // c remembers nobody who is still there; it is the seed.
        let node = try await TestNode(name, join: [nodes[2].address], directory: directory)
        #expect(await node.cluster.join())
        moved.append(node)
      }
      let again = try await TestNode("d", directory: directory)
      #expect(await again.cluster.join())
      for node in moved + [nodes[2]] {
        try await again.sees(node.name, .alive)
        try await node.sees(again.name, .alive)
        #expect(await again.cluster.member(node.name)?.profile.address.rawValue == node.address)
      }
      let after = PeerMemory(reading: "\(directory)/d.peers")
      #expect(after.incarnation > before.incarnation)
      for node in moved + [again] { await node.stop() }
    }
  }

  @Test func `what is remembered of peers may be damaged`() throws {
    let path = FileManager.default.temporaryDirectory.appending(path: "hero-memory-\(UUID())").path
    defer { try? FileManager.default.removeItem(atPath: path) }
    var memory = PeerMemory()
    memory.incarnation = Incarnation(7)
    memory.peers = [MemberAddress("10.0.0.1:7946"), MemberAddress("[::1]:1")]
    try memory.write(to: path)
    #expect(PeerMemory(reading: path) == memory)
    let damaged =
      "incarnation 18446744073709551615\npeer nowhere\npeer 10.0.0.1:7946 x\n\u{0}\u{FF}peer\npeer 1.2.3.4:5"
    try Data(damaged.utf8).write(to: URL(filePath: path))
    let read = PeerMemory(reading: path)
    #expect(read.incarnation == Incarnation(0), "nothing could be counted on from there")
    #expect(read.peers == [MemberAddress("1.2.3.4:5")])
    #expect(PeerMemory(reading: "\(path).absent") == PeerMemory())
  }

  @Test("nodes meet over IPv6, and on every address of the machine", arguments: ["::1", "0.0.0.0", "::"])
  func families(_ host: String) async throws {
    try await withDirectory { directory in
      var nodes: [TestNode] = []
      for name in ["a", "b"] {
        let seeds = nodes.map(\.address)
        nodes.append(
          try await TestNode(name, join: seeds, directory: directory) {
            $0.listen = try! SocketAddress(host: host, port: 0)
          })
        await nodes.last!.cluster.join()
      }
      #expect(try await nodes[0].greeter(of: nodes[1]).greet("x", times: 1) == "hello x ")
      // Probes come and go: UDP works as well.
      let first = nodes[0]
      try await eventually { await first.cluster.statistics.receivedPackets > 4 }
      #expect(try SocketAddress(parsing: nodes[0].address).isUnspecified == false)
      for node in nodes {
        #expect(await node.cluster.statistics.failedSends == 0)
        await node.stop()
      }
    }
  }

  @Test func `a node on every IPv6 address reaches one that has IPv4 only`() async throws {
    try await withDirectory { directory in
      let a = try await TestNode("a", directory: directory)
      let b = try await TestNode("b", join: [a.address], directory: directory) {
        $0.listen = try! SocketAddress(host: "::", port: 0)
        $0.advertise = try! SocketAddress(host: "127.0.0.1", port: 0)
      }
      #expect(await b.cluster.join())
      for (node, other) in [(a, b), (b, a)] {
        try await node.sees(other.name, .alive)
        try await eventually { await node.cluster.statistics.receivedPackets > 4 }
        #expect(await node.cluster.statistics.failedSends == 0)
      }
      #expect(b.address == "127.0.0.1:\(b.port)" && b.port != 0, "the port is that which the system chose")
      for node in [a, b] { await node.stop() }
    }
  }
}
