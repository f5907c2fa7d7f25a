import EventLoop
import Gossip
import TLS
import Testing

@testable import Cluster

/// Somebody who connects to a node and does there as he likes: with the key a peer that breaks the rules, without it a
/// stranger.
actor Stranger {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private let stream: TCPStream
  /// Once it has shaken hands.
  private var secure: TLSStream?
  /// All that came, as it came.
  private(set) var received: [UInt8] = []
  /// Whether the node has closed the connection.
  private(set) var isCutOff = false
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
    let open: any DuplexStream = if let secure { secure } else { stream }
    open.startReading { event in
      self.assumeIsolated { me in
        guard case .bytes(let bytes) = event else { return me.cutOff() }
        if me.secure == nil { me.received += bytes } else { try? me.take(bytes) }
      }
    }
  }

  func stopReading() { if let secure { secure.stopReading() } else { stream.stopReading() } }

  private func cutOff() {
    isCutOff = true
    close()
  }

  /// By TLS, once it has shaken hands.
  func send(_ bytes: [UInt8]) { if let secure { secure.write(bytes) } else { stream.write(bytes) } }

  func endSending() async { try? await stream.shutdownWrite() }
  func close() {
    secure?.close()
    stream.close()
  }

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
    protocols: ClosedRange<UInt8> = SWIM.supportedProtocols
  ) async throws {
    let profile = MemberProfile(address: MemberAddress("127.0.0.1:1"), protocols: protocols, startedAt: 1)
    let exchange = HandshakeExchange(
      stream, .dialler, Introduction(name: MemberName(name), profile: profile, instance: instance),
      LinkSecurity(try Keyring(keys: [key], cluster: cluster)), on: loop)
    let outcome: HandshakeExchange.Outcome
    do {
      outcome = try await Task(executorPreference: loop) { try await exchange.run(within: .seconds(60)).get() }.value
    } catch {
      cutOff()
      throw error
    }
    introduction = outcome.peer
    secure = exchange.stream
    try outcome.rest.withUnsafeBytes { try take($0) }
    startReading()
  }

  private func take(_ bytes: UnsafeRawBufferPointer) throws {
    try buffer.feed(bytes) { (bytes) throws(LinkFault) in frames.append(try Frame(bytes)) }
  }

  /// A frame as it travels within TLS.
  func framed(_ kind: Frame.Kind, call: UInt64 = 0, _ payload: [UInt8] = []) -> [UInt8] {
    var bytes: [UInt8] = []
    payload.withUnsafeBytes { Frame.append(kind, call: call, $0, to: &bytes) }
    return bytes
  }

  func send(_ kind: Frame.Kind, call: UInt64 = 0, _ payload: [UInt8] = []) { send(framed(kind, call: call, payload)) }

  func frames(_ kind: Frame.Kind) -> [Frame] { frames.filter { $0.kind == kind } }
  nonisolated func gets(_ kind: Frame.Kind, sourceLocation: SourceLocation = #_sourceLocation) async throws {
    try await eventually(sourceLocation: sourceLocation) { await !self.frames(kind).isEmpty }
  }
}

/// Runs a test with one node, and somebody who connects to it from a loop of his own.
func withStrangers(
  limits: LinkLimits = LinkLimits(), _ body: (TestNode, () async throws -> Stranger) async throws -> Void
) async throws {
  try await withWiretap(limits: limits) { node, wire, connect in
    try await body(node) { try await connect(node.address) }
  }
}

/// The same, with a wire in between for those who connect to its address.
func withWiretap(
  limits: LinkLimits = LinkLimits(),
  _ body: (TestNode, Wiretap, @escaping (String) async throws -> Stranger) async throws -> Void
) async throws {
  try await withCluster(["n"], limits: limits) { nodes, _ in
    let loop = try EventLoop()
    loop.start()
    let wire = try await Wiretap.make(to: nodes[0].address, on: loop)
    var strangers: [Stranger] = []
    let result: Result<Void, any Error>
    do {
      try await body(nodes[0], wire) {
        strangers.append(try await Stranger(connectingTo: $0, on: loop))
        return strangers.last!
      }
      result = .success(())
    } catch {
      result = .failure(error)
    }
    for stranger in strangers { await stranger.close() }
    await wire.close()
    await loop.stop()
    try result.get()
  }
}
