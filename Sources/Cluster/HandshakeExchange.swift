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

  private enum State {
    case ready
    case running(CheckedContinuation<Result<Outcome, LinkRefusal>, Never>)
    case ended
  }

  nonisolated let stream: TCPStream
  private var handshake: Handshake
  private var state = State.ready

  init(_ stream: TCPStream, _ handshake: Handshake, on loop: EventLoop) {
    self.stream = stream
    self.handshake = handshake
    self.loop = loop
  }

  /// - Returns: how it ended. After a success reading has stopped, and the stream is the caller's; otherwise it is closed.
  func run(within limit: Duration) async -> Result<Outcome, LinkRefusal> {
    guard case .ready = state else { return .failure(.closed) }
    let timer = Timer(on: loop)
    defer { timer.close() }
    timer.schedule(after: limit) { self.assumeIsolated { $0.end(.failure(.timedOut)) } }
    return await withCheckedContinuation { continuation in
      state = .running(continuation)
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
    }
  }

  /// The node is stopping, or others need the place.
  func cancel() { end(.failure(.closed)) }

  private func received(_ bytes: UnsafeRawBufferPointer) {
    var step = handshake.receive(bytes)
    while case .running = state {
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
    let before = state
    if case .ended = before { return }
    state = .ended
    if case .failure = result { stream.close() } else { stream.stopReading() }
    if case .running(let continuation) = before { continuation.resume(returning: result) }
  }
}
