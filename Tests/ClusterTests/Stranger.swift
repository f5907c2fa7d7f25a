import EventLoop
import Gossip
import Testing

@testable import Cluster

/// Somebody who connects to a node and does there as he likes: with the key a peer that breaks the rules, without it a
/// stranger.
actor Stranger {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private let stream: TCPStream
  /// All that came, as it came.
  private(set) var received: [UInt8] = []
  /// Whether the node has closed the connection.
  private(set) var isCutOff = false
  private(set) var sent: [UInt8] = []
  private var sealing: FrameCipher?
  private var opening: FrameCipher?
  private var buffer = FrameBuffer()
  private(set) var frames: [Frame] = []
  /// What the node said of itself.
  private(set) var introduction: Introduction?

  init(connectingTo address: String, on loop: EventLoop) async throws {
    self.loop = loop
    let target = try SocketAddress(parsing: address)
    stream = try await Task(executorPreference: loop) { try await TCPStream.connect(to: target, on: loop) }.value
  }

  func startReading() {
    stream.startReading { event in
      self.assumeIsolated { me in
        guard case .bytes(let bytes) = event else { return me.cutOff() }
        me.received += bytes
        guard let opening = me.opening else { return }
        try? me.buffer.feed(bytes) { (sealed) throws(LinkFault) in me.frames.append(try opening.open(frame: sealed)) }
      }
    }
  }

  func stopReading() { stream.stopReading() }

  private func cutOff() {
    isCutOff = true
    stream.close()
  }

  func send(_ bytes: [UInt8]) {
    sent += bytes
    stream.write(bytes)
  }

  func endSending() async { try? await stream.shutdownWrite() }
  func close() { stream.close() }

  /// Waits until the node has closed the connection.
  nonisolated func waitsForItsEnd(within seconds: Int = 10, sourceLocation: SourceLocation = #_sourceLocation)
    async throws
  {
    try await eventually(within: seconds, sourceLocation: sourceLocation) { await self.isCutOff }
  }

  // MARK: As a peer

  /// Introduces itself, with the rest of the handshake.
  func shakeHands(
    as name: String, key: [UInt8] = testKey(1), cluster: String = "test", instance: UInt64 = .random(in: 1 ... .max),
    protocols: ClosedRange<UInt8> = 1...1
  ) async throws {
    let profile = MemberProfile(address: MemberAddress("127.0.0.1:1"), protocols: protocols, startedAt: 1)
    var handshake = Handshake(
      .dialler, Introduction(name: MemberName(name), profile: profile, instance: instance),
      try Keyring(keys: [key], cluster: cluster))
    send(handshake.opening)
    startReading()
    var taken = 0
    while true {
      let seen = taken
      try await eventually { await self.hasNews(after: seen) }
      if isCutOff && received.count == seen { throw LinkRefusal.notOfThisCluster }
      let bytes = Array(received[taken...])
      taken = received.count
      switch handshake.receive(bytes) {
      case .needsMore: continue
      case .send(let answer): send(answer)
      case .refused(let refusal): throw refusal
      case .done(_, let peer, let sealing, let opening, let rest):
        (introduction, self.sealing, self.opening) = (peer, sealing, opening)
        try rest.withUnsafeBytes {
          try buffer.feed($0) { (sealed) throws(LinkFault) in frames.append(try opening.open(frame: sealed)) }
        }
        return
      }
    }
  }

  private func hasNews(after count: Int) -> Bool { received.count > count || isCutOff }

  /// A frame as it travels; the next of its direction.
  func sealed(_ kind: Frame.Kind, call: UInt64 = 0, _ payload: [UInt8] = []) -> [UInt8] {
    var bytes: [UInt8] = []
    payload.withUnsafeBytes { sealing!.seal(kind, call: call, $0, into: &bytes) }
    return bytes
  }

  func send(_ kind: Frame.Kind, call: UInt64 = 0, _ payload: [UInt8] = []) { send(sealed(kind, call: call, payload)) }

  func frames(_ kind: Frame.Kind) -> [Frame] { frames.filter { $0.kind == kind } }
  nonisolated func gets(_ kind: Frame.Kind, sourceLocation: SourceLocation = #_sourceLocation) async throws {
    try await eventually(sourceLocation: sourceLocation) { await !self.frames(kind).isEmpty }
  }
}

/// Runs a test with one node, and somebody who connects to it from a loop of his own.
func withStrangers(
  limits: LinkLimits = LinkLimits(), _ body: (TestNode, () async throws -> Stranger) async throws -> Void
) async throws {
  try await withCluster(["n"], limits: limits) { nodes, _ in
    let loop = try EventLoop()
    loop.start()
    var strangers: [Stranger] = []
    let result: Result<Void, any Error>
    do {
      try await body(nodes[0]) {
        strangers.append(try await Stranger(connectingTo: nodes[0].address, on: loop))
        return strangers.last!
      }
      result = .success(())
    } catch {
      result = .failure(error)
    }
    for stranger in strangers { await stranger.close() }
    await loop.stop()
    try result.get()
  }
}
