import EventLoop
import Gossip
import TLS

// How two nodes come to know each other on a new connection: TLS by a key or a certificate of the cluster (`LinkSecurity`),
// then each says who it is, the dialler first. The listener says nothing to whoever has not shown that it is that member.

/// Runs a handshake on a new connection, within a bounded time.
actor HandshakeExchange {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  enum Role: Sendable { case dialler, listener }

  struct Outcome: Sendable {
    let peer: Introduction
    let proof: LinkProof
    let rest: [UInt8]
  }

  nonisolated let stream: TLSStream
  private let tcp: TCPStream
  private let role: Role
  private let introduction: Introduction
  private let security: LinkSecurity
  private var buffer: [UInt8] = []
  private let result: Promise<Result<Outcome, LinkRefusal>>

  init(_ tcp: TCPStream, _ role: Role, _ introduction: Introduction, _ security: LinkSecurity, on loop: EventLoop) {
    self.tcp = tcp
    self.role = role
    self.introduction = introduction
    self.security = security
    self.loop = loop
    stream = role == .dialler ? security.dialling(tcp) : security.listening(tcp)
    result = Promise(on: loop)
  }

  /// - Returns: how it ended. After a success reading has stopped, and the stream is the caller's; otherwise it is closed.
  func run(within limit: Duration) async -> Result<Outcome, LinkRefusal> {
    if let result = result.current { return result }
    stream.handshake { error in self.assumeIsolated { $0.secured(error) } }
    let start = MonotonicClock.now
    if let result = await result.valueUnlessCancelled(atMost: limit) { return result }
    // When this node stood still meanwhile, the peer is not to blame for its silence.
    let isLate = MonotonicClock.now - start > limit + LinkLimits().pauseTolerance
    let refusal = isLate ? LinkRefusal.connection("this node stood still during the handshake") : .timedOut
    end(.failure(refusal))
    return .failure(refusal)
  }

  /// The node is stopping, or others need the place.
  func cancel() { end(.failure(.closed)) }

  private func secured(_ error: TLSError?) {
    if let error { return end(.failure(security.refusal(after: error))) }
    if role == .dialler { stream.write(introduction.framed) }
    stream.startReading { event in
      self.assumeIsolated { me in
        switch event {
        case .bytes(let bytes): me.received(bytes)
        case .end: me.end(.failure(.connection("the peer closed it")))
        // By TLS 1.3 a dialler hears of its certificate's refusal after its own handshake.
        case .failed(let error):
          let isRefused = me.stream.failure?.isRefusedCertificate ?? false
          me.end(.failure(isRefused ? .untrusted(error.message) : .connection(error.message)))
        }
      }
    }
  }

  private func received(_ bytes: UnsafeRawBufferPointer) {
    buffer += bytes
    do throws(MalformedWire) {
      // What comes behind it belongs to the frames.
      guard result.current == nil, let peer = try Introduction.take(from: &buffer) else { return }
      guard let proof = security.proof(of: stream) else { return end(.failure(.notOfThisCluster)) }
      if let refusal = security.refusal(of: proof, by: peer.name) { return end(.failure(refusal)) }
      if role == .listener { stream.write(introduction.framed) }
      end(.success(Outcome(peer: peer, proof: proof, rest: buffer)))
    } catch {
      end(.failure(.notOfThisCluster))
    }
  }

  private func end(_ result: Result<Outcome, LinkRefusal>) {
    guard self.result.resolve(result) else { return }
    if case .failure = result {
      stream.close()
      // A handshake that has failed leaves the connection open.
      tcp.close()
    } else {
      stream.stopReading()
    }
  }
}
