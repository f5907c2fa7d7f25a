import EventLoop
import Glibc

// The shell around `SWIM`: a UDP socket, a timer, the keys. It turns packets and the passing of time into calls, and
// directives into packets; those that need a peer link go to `onDirective`.

/// What gets lost between two members although both live, since the one is heard of in other ways.
public enum PacketLoss: Hashable, Sendable {
  /// Nothing comes from the peer; whether it hears anything is not known.
  case incoming
  /// It is heard, and what is sent to it gets no answer.
  case outgoing
}

public actor GossipNode {
  nonisolated let loop: EventLoop
  public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  /// Packets and bytes as they travel, sealed.
  public struct Statistics: Hashable, Sendable {
    public var sentPackets = 0
    public var sentBytes = 0
    public var receivedPackets = 0
    public var receivedBytes = 0
    /// Not sealed by this cluster with one of its keys.
    public var foreignPackets = 0
    /// Received before.
    public var repeatedPackets = 0
    /// Sealed properly, and yet no packet of a version that is known here.
    public var malformedPackets = 0
    /// What the system refused to send.
    public var failedSends = 0

    public init() {}
  }

  public private(set) var statistics = Statistics()
  private var swim: SWIM
  private var keyring: Keyring
  private var replays = ReplayFilter()
  private var socket: UDPSocket?
  private let timer: Timer
  /// Where members are, as they say; whoever sends from elsewhere may be anybody with a packet that was recorded.
  private var names: [MemberAddress: MemberName] = [:]
  /// When a packet last came from where a member says that it is.
  private var heard: [MemberName: Duration] = [:]
  /// How peers' addresses are written for this socket.
  private var addresses: [MemberAddress: SocketAddress] = [:]
  private let onDirective: @Sendable (SWIM.Directive) -> Void
  private static let origin = SuspendingClock().now

  /// The machine's time, from which `SWIM` starts to count.
  public static var now: Duration { origin.duration(to: SuspendingClock().now) }

  /// On the loop.
  /// - Parameters:
  ///   - swim: made with `GossipNode.now`.
  ///   - socket: bound to the address that the member's profile names; it is this node's from now on.
  ///   - onDirective: gets, on the loop, everything that is not a packet.
  public init(
    _ swim: SWIM, keyring: Keyring, on loop: EventLoop, onDirective: @escaping @Sendable (SWIM.Directive) -> Void
  ) {
    self.swim = swim
    self.keyring = keyring
    self.loop = loop
    self.onDirective = onDirective
    timer = Timer(on: loop)
  }

  /// The date by the machine's clock, in milliseconds since 1970.
  public static var date: UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return UInt64(clamping: Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000)
  }

  /// Begins to speak.
  public func start(_ socket: UDPSocket) {
    self.socket = socket
    planTimer()
  }

  public func use(_ keyring: Keyring) { self.keyring = keyring }

  /// Everything that is known.
  public var membership: SWIM { swim }
  public func member(_ name: MemberName) -> Member? { swim[name] }
  public func claim(of runner: String) -> RunnerClaim? { swim.claim(of: runner) }

  /// Which packets are lost between this member and a peer that lives, if they are.
  public func packetLoss(with name: MemberName) -> PacketLoss? {
    guard let since = swim.unansweredSince(name) else { return nil }
    return heard[name].map { $0 > since } ?? false ? .outgoing : .incoming
  }

  /// Asks or tells the protocol something.
  public func perform(_ body: (inout SWIM, Duration) -> [SWIM.Directive]) {
    follow(body(&swim, Self.now))
    planTimer()
  }

  /// Nothing is sent any more.
  public func close() {
    socket?.close()
    socket = nil
    timer.close()
  }

  // MARK: Time

  private func planTimer() {
    guard socket != nil else { return }
    timer.schedule(after: max(.zero, swim.nextDeadline - Self.now)) { self.assumeIsolated { $0.timerFired() } }
  }

  /// What has arrived is read before anything is done about what has not: after a pause the answers are there, behind the
  /// timer.
  private func timerFired() {
    swim.set(date: Self.date, at: Self.now)
    socket?.receivePending()
    perform { $0.advance(to: $1) }
  }

  // MARK: Receiving

  /// A datagram arrived at the socket.
  public func received(_ datagram: Datagram) {
    statistics.receivedPackets += 1
    statistics.receivedBytes += datagram.bytes.count
    guard let bytes = keyring.open(Array(datagram.bytes)) else {
      statistics.foreignPackets += 1
      return
    }
    guard replays.admit(Keyring.nonce(of: datagram.bytes)) else {
      statistics.repeatedPackets += 1
      return
    }
    do {
      receive(try Packet(decoding: bytes), from: MemberAddress(datagram.sender.unmapped.description))
    } catch {
      statistics.malformedPackets += 1
    }
  }

  private func receive(_ packet: Packet, from sender: MemberAddress) {
    if isKnown(sender) {
      if let name = names[sender], swim[name]?.isPresent == true { heard[name] = Self.now }
      return perform { $0.receive(packet, from: sender, at: $1) }
    }
    // The address may be forged. Nothing is asked of others for it, and it gets no more than it sent: what travels along on
    // an answer is left out.
    var packet = packet
    switch packet.message {
    case .pingRequest, .crashPingRequest: packet.message = nil
    case .ping, .acknowledge, .negative, nil: break
    }
    var directives = swim.receive(packet, from: sender, at: Self.now)
    for (place, directive) in directives.enumerated() {
      if case .send(let answer, to: sender) = directive {
        directives[place] = .send(Packet(answer.message), to: sender)
      }
    }
    follow(directives)
    planTimer()
  }

  private func isKnown(_ address: MemberAddress) -> Bool {
    guard let name = names[address] else { return false }
    return swim[name]?.profile.address == address
  }

  // MARK: Directives

  private func follow(_ directives: [SWIM.Directive]) {
    for directive in directives {
      switch directive {
      case .send(let packet, let address): send(packet, to: address)
      case .changed(let member):
        names[member.profile.address] = member.name
        if !member.isPresent { heard[member.name] = nil }
        onDirective(directive)
      default: onDirective(directive)
      }
    }
  }

  private func send(_ packet: Packet, to address: MemberAddress) {
    guard let socket, let target = socketAddress(address) else { return }
    let bytes = keyring.seal(packet.encoded())
    statistics.sentPackets += 1
    statistics.sentBytes += bytes.count
    // The network may lose any packet; one that the system refuses (no route, a full buffer) is lost as well.
    do { try socket.send(bytes, to: target) } catch { statistics.failedSends += 1 }
  }

  private func socketAddress(_ address: MemberAddress) -> SocketAddress? {
    if let known = addresses[address] { return known }
    guard let parsed = try? SocketAddress(parsing: address.rawValue) else { return nil }
    // Requests name addresses as well; a few thousand are more than a cluster has.
    if addresses.count > 65_536 { addresses = [:] }
    let usable = socket?.localAddress.map { parsed.mapped(for: $0) } ?? parsed
    addresses[address] = usable
    return usable
  }
}
