import EventLoop
import Gossip
import Testing

@testable import Cluster

/// What comes in by UDP, from members and from others.
@Suite(.timeLimit(.minutes(5))) struct DatagramTests {
  /// A socket of somebody who may have recorded what members say.
  private actor Sender {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    private var socket: UDPSocket?
    private(set) var received: [[UInt8]] = []
    private let target: SocketAddress

    init(to node: TestNode, on loop: EventLoop) throws {
      self.loop = loop
      target = try SocketAddress(parsing: node.address)
    }

    func bind() throws -> MemberAddress {
      let socket = try UDPSocket.bind(to: try SocketAddress(host: "127.0.0.1", port: 0), on: loop) { datagram in
        self.assumeIsolated { $0.received.append(Array(datagram.bytes)) }
      }
      self.socket = socket
      return MemberAddress(socket.localAddress!.description)
    }

    func send(_ datagrams: [[UInt8]]) throws { for bytes in datagrams { try socket!.send(bytes, to: target) } }
    func forget() { received = [] }
    func close() { socket?.close() }
  }

  private func withSender(
    _ body: (TestNode, Sender, _ own: MemberAddress) async throws -> Void
  ) async throws {
    try await withCluster(["n", "o"]) { nodes, _ in
      let loop = try EventLoop()
      loop.start()
      let sender = try Sender(to: nodes[0], on: loop)
      let result: Result<Void, any Error>
      do { result = .success(try await body(nodes[0], sender, try await sender.bind())) } catch {
        result = .failure(error)
      }
      await sender.close()
      await loop.stop()
      try result.get()
    }
  }

  private let keyring = try! Keyring(keys: [testKey(1)], cluster: "test")

  private func news(_ name: String, at address: MemberAddress, _ state: MemberState = .alive) -> News {
    News(
      name: MemberName(name), state: state, incarnation: Incarnation(1), profile: MemberProfile(address: address),
      source: MemberName(name))
  }

  /// Sends a packet, and waits for what is answered.
  private func answers(_ packet: Packet, _ sender: Sender) async throws -> (sent: Int, received: [[UInt8]]) {
    await sender.forget()
    let sealed = keyring.seal(packet.encoded())
    try await sender.send([sealed])
    try await eventually { await !sender.received.isEmpty }
    return (sealed.count, await sender.received)
  }

  @Test func `an address that is no member's gets no more bytes than it sent, a member's gets all`() async throws {
    try await withSender { node, sender, own in
      // Something to spread, which would travel along on an answer.
      let claims = (0..<20).map {
        RunnerClaim(runner: "runner \($0)", queue: "q", owner: node.name, epoch: 1, revision: 0, state: .running)
      }
      await node.cluster.announce(claims)
      let ping = Packet(.ping(ProbeNumber(7), target: node.name))
      let stranger = try await answers(ping, sender)
      #expect(stranger.received.count == 1 && stranger.received[0].count <= stranger.sent)
      let answer = try Packet(decoding: try #require(keyring.open(stranger.received[0])))
      #expect(answer == Packet(.acknowledge(ProbeNumber(7))))
      // Nor does it get others to speak: to a third one it would be the node that sends.
      let sent = await node.cluster.statistics.sentPackets
      for request in [
        Message.pingRequest(ProbeNumber(8), target: MemberName("z"), address: own),
        .crashPingRequest(ProbeNumber(9), target: MemberName("z"), address: own),
      ] {
        try await sender.send([keyring.seal(Packet(request).encoded())])
      }
      _ = try await answers(Packet(.ping(ProbeNumber(10), target: node.name)), sender)
      #expect(await sender.received.count == 1)
      #expect(await node.cluster.statistics.sentPackets < sent + 30)

      // As a member it hears what there is to hear.
      try await sender.send([keyring.seal(Packet(news: [news("m", at: own)]).encoded())])
      try await eventually { await node.cluster.member(MemberName("m")) != nil }
      // Once nothing is new any more, its answers carry a digest, for eight bytes.
      var number = UInt32(100)
      var digest: UInt64?
      let deadline = ContinuousClock.now + .seconds(60)
      while digest == nil && ContinuousClock.now < deadline {
        number += 1
        for sealed in try await answers(Packet(.ping(ProbeNumber(number), target: node.name)), sender).received {
          let packet = try Packet(decoding: try #require(keyring.open(sealed)))
          if packet.message == .acknowledge(ProbeNumber(number)) { digest = packet.digest }
        }
        try await Task.sleep(for: .milliseconds(50))
      }
      #expect(digest != nil)
    }
  }

  @Test func `a packet that was recorded is not answered twice`() async throws {
    try await withSender { node, sender, _ in
      let packet = Packet(.ping(ProbeNumber(7), target: node.name))
      let recorded = keyring.seal(packet.encoded())
      try await sender.send([recorded] + Array(repeating: recorded, count: 50))
      try await eventually { await node.cluster.statistics.repeatedPackets == 50 }
      _ = try await answers(Packet(.ping(ProbeNumber(8), target: node.name)), sender)
      #expect(await node.cluster.statistics.repeatedPackets == 50)
    }
  }

  private func mutated(_ packet: [UInt8], using generator: inout SystemRandomNumberGenerator) -> [UInt8] {
    var bytes = packet
    switch Int.random(in: 0..<4, using: &generator) {
    case 0: bytes[Int.random(in: 0..<bytes.count, using: &generator)] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
    case 1: bytes.removeLast(Int.random(in: 1...bytes.count, using: &generator))
    case 2: bytes += [UInt8](repeating: 7, count: Int.random(in: 1...1500, using: &generator))
    default: bytes.swapAt(13, bytes.count - 1)
    }
    return bytes
  }

  @Test func `100,000 mutated packets at a live node change nothing`() async throws {
    try await withSender { node, sender, own in
      var generator = SystemRandomNumberGenerator()
      let packet = Packet(
        .ping(ProbeNumber(7), target: node.name), news: [news("ghost", at: own), news("n", at: own, .failed)],
        claims: [RunnerClaim(runner: "r", queue: "q", owner: MemberName("g"), epoch: 9, revision: 1, state: .running)])
      let sealed = keyring.seal(packet.encoded())
      let foreign = [
        try Keyring(keys: [testKey(2)], cluster: "test").seal(packet.encoded()),
        try Keyring(keys: [testKey(1)], cluster: "other").seal(packet.encoded()),
      ]
      let events = node.events.count
      let before = await node.cluster.statistics
      var sent = 0
      for _ in 0..<2000 {
        let batch = (0..<50).map { _ in
          mutated(Bool.random() ? sealed : foreign.randomElement()!, using: &generator)
        }
        let changed = batch.filter { $0 != sealed }
        sent += changed.count
        try await sender.send(changed)
        // What was sent before has been read when this is answered.
        _ = try await answers(Packet(.ping(ProbeNumber(1), target: node.name)), sender)
      }
      let after = await node.cluster.statistics
      // The system may have dropped some, when this machine had no time.
      #expect((sent * 9 / 10...sent).contains(after.foreignPackets - before.foreignPackets))
      #expect(after.malformedPackets == 0)
      #expect(await node.cluster.members.map(\.name) == [MemberName("n"), MemberName("o")])
      #expect(await node.cluster.members.allSatisfy { $0.state == .alive })
      #expect(await node.cluster.claim(of: "r") == nil)
      #expect(node.events.count == events)
    }
  }

  @Test func `packets of a member that are malformed are counted and dropped`() async throws {
    try await withSender { node, sender, own in
      let plain = Packet(.ping(ProbeNumber(7), target: node.name), news: [news("ghost", at: own)]).encoded()
      var generator = SystemRandomNumberGenerator()
      var count = 0
      for length in 0..<plain.count {
        try await sender.send([keyring.seal(Array(plain[..<length]))])
        count += length == 0 ? 0 : 1
      }
      for _ in 0..<1000 {
        let junk = (0..<Int.random(in: 1...200, using: &generator)).map { _ in
          UInt8.random(in: 2...255, using: &generator)
        }
        try await sender.send([keyring.seal(junk)])
        count += 1
      }
      let expected = count
      try await eventually { await node.cluster.statistics.malformedPackets == expected }
      #expect(await node.cluster.member(MemberName("ghost")) == nil)
    }
  }
}
