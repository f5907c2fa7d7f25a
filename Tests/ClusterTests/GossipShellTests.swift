import EventLoop
import Foundation
import Gossip
import Synchronization
import Testing

/// The socket and the timer around the protocol.
@Suite(.timeLimit(.minutes(5))) struct GossipShellTests {
  /// A member that answers probes at once, and stops the other's loop as soon as it has been asked.
  private actor Peer {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    private var socket: UDPSocket?
    private let keyring: Keyring
    private let asked: @Sendable () -> Void
    private(set) var pings = 0

    init(_ keyring: Keyring, on loop: EventLoop, asked: @escaping @Sendable () -> Void) {
      self.keyring = keyring
      self.loop = loop
      self.asked = asked
    }

    func bind() throws -> MemberAddress {
      let socket = try UDPSocket.bind(to: try SocketAddress(host: "127.0.0.1", port: 0), on: loop) { datagram in
        self.assumeIsolated { $0.answer(datagram) }
      }
      self.socket = socket
      return MemberAddress(socket.localAddress!.description)
    }

    private func answer(_ datagram: Datagram) {
      guard let bytes = keyring.open(Array(datagram.bytes)), let packet = try? Packet(decoding: bytes),
        case .ping(let number, _) = packet.message
      else { return }
      pings += 1
      asked()
      try? socket!.send(keyring.seal(Packet(.acknowledge(number)).encoded()), to: datagram.sender)
    }

    func close() { socket?.close() }
  }

  private actor Shell {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    private(set) var gossip: GossipNode?
    private(set) var states: [MemberState] = []
    init(on loop: EventLoop) { self.loop = loop }

    func start(_ settings: GossipSettings, _ keyring: Keyring, knowing peer: MemberAddress) async throws {
      let socket = try UDPSocket.bind(to: try SocketAddress(host: "127.0.0.1", port: 0), on: loop) {
        [weak self] datagram in
        self?.assumeIsolated { me in me.gossip?.assumeIsolated { $0.received(datagram) } }
      }
      let own = MemberProfile(address: MemberAddress(socket.localAddress!.description))
      let swim = SWIM(
        name: MemberName("n"), profile: own, settings: settings, maximumPacketBytes: 1400 - Keyring.overhead, seed: 1,
        now: GossipNode.now)
      let gossip = GossipNode(swim, keyring: keyring, on: loop) { [weak self] directive in
        if case .changed(let member) = directive { self?.assumeIsolated { $0.states.append(member.state) } }
      }
      self.gossip = gossip
      await gossip.start(socket)
      let news = News(
        name: MemberName("p"), state: .alive, incarnation: Incarnation(1), profile: MemberProfile(address: peer),
        source: MemberName("p"))
      await gossip.perform { $0.merge(MembershipState(news: [news]), at: $1) }
    }

    func close() async { await gossip?.close() }
  }

  @Test func `after a pause answers that have arrived are read before the timer says that there are none`() async throws
  {
    let (loop, otherLoop) = (try EventLoop(), try EventLoop())
    loop.start()
    otherLoop.start()
    let keyring = try Keyring(keys: [[UInt8](repeating: 1, count: 32)], cluster: "test")
    let peer = Peer(keyring, on: otherLoop) {
      // Longer than a probe may take; the answer lies in the socket meanwhile.
      loop.execute { usleep(150_000) }
    }
    let shell = Shell(on: loop)
    var settings = GossipSettings.local
    (settings.probeInterval, settings.probeTimeout) = (.milliseconds(100), .milliseconds(50))
    // The protocol's own patience with pauses shall not hide it.
    settings.pauseTolerance = .seconds(60)
    try await shell.start(settings, keyring, knowing: try await peer.bind())
    let deadline = ContinuousClock.now + .seconds(60)
    while await peer.pings < 10 && ContinuousClock.now < deadline { try await Task.sleep(for: .milliseconds(5)) }
    #expect(await peer.pings >= 10)
    #expect(await shell.states == [.alive], "it was never suspected")
    await shell.close()
    await peer.close()
    await loop.stop()
    await otherLoop.stop()
  }
}
