import EventLoop
import Gossip

/// Runs a handshake on a new connection, within a bounded time.
actor HandshakeExchange {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  struct Outcome: Sendable {
    let peer: Introduction
    let sealing: FrameCipher
    let opening: FrameCipher
    let rest: [UInt8]
  }

  nonisolated let stream: TCPStream
  private var handshake: Handshake
  private let result: Promise<Result<Outcome, LinkRefusal>>

  init(_ stream: TCPStream, _ handshake: Handshake, on loop: EventLoop) {
    self.stream = stream
    self.handshake = handshake
    self.loop = loop
    result = Promise(on: loop)
  }

  /// - Returns: how it ended. After a success reading has stopped, and the stream is the caller's; otherwise it is closed.
  func run(within limit: Duration) async -> Result<Outcome, LinkRefusal> {
    if let result = result.current { return result }
    if !handshake.opening.isEmpty { stream.write(handshake.opening) }
    stream.startReading { event in
      self.assumeIsolated { me in
        switch event {
        case .bytes(let bytes): me.received(bytes)
        // A listener that does not know the key closes without a word.
        case .end: me.end(.failure(.notOfThisCluster))
        case .failed(let error): me.end(.failure(.connection(error.message)))
        }
      }
    }
    if let result = await result.valueUnlessCancelled(atMost: limit) { return result }
    end(.failure(.timedOut))
    return .failure(.timedOut)
  }

  /// The node is stopping, or others need the place.
  func cancel() { end(.failure(.closed)) }

  private func received(_ bytes: UnsafeRawBufferPointer) {
    var step = handshake.receive(bytes)
    while result.current == nil {
      switch step {
      case .needsMore: return
      case .send(let answer): stream.write(answer)
      case .refused(let refusal): return end(.failure(refusal))
      case .done(let answer, let peer, let sealing, let opening, let rest):
        if !answer.isEmpty { stream.write(answer) }
        return end(.success(Outcome(peer: peer, sealing: sealing, opening: opening, rest: rest)))
      }
      step = handshake.receive(EmptyCollection())
    }
  }

  private func end(_ result: Result<Outcome, LinkRefusal>) {
    guard self.result.resolve(result) else { return }
    if case .failure = result { stream.close() } else { stream.stopReading() }
  }
}
