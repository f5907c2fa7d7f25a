import EventLoop
import Gossip

/// Runs a handshake on a new connection, within a bounded time.
actor HandshakeExchange {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  struct Result: Sendable {
    let peer: Introduction
    let sealing: FrameCipher
    let opening: FrameCipher
    let rest: [UInt8]
  }

  private let stream: TCPStream
  private var handshake: Handshake
  private var waiter: CheckedContinuation<Swift.Result<Result, LinkRefusal>, Never>?

  init(_ stream: TCPStream, _ handshake: Handshake, on loop: EventLoop) {
    self.stream = stream
    self.handshake = handshake
    self.loop = loop
  }

  /// - Returns: how it ended. Reading has stopped then; the stream is the caller's to use or to close.
  func run(within limit: Duration) async -> Swift.Result<Result, LinkRefusal> {
    let timer = Timer(on: loop)
    timer.schedule(after: limit) { [unowned self] in self.assumeIsolated { $0.end(.failure(.timedOut)) } }
    let result = await withCheckedContinuation { continuation in
      waiter = continuation
      if !handshake.opening.isEmpty { stream.write(handshake.opening) }
      stream.startReading { [unowned self] event in
        self.assumeIsolated { me in
          switch event {
          case .bytes(let bytes): me.received(Array(bytes))
          // A listener that does not know the key closes without a word.
          case .end: me.end(.failure(.notOfThisCluster))
          case .failed(let error): me.end(.failure(.connection(error.message)))
          }
        }
      }
    }
    timer.close()
    return result
  }

  /// The node is stopping.
  func cancel() { end(.failure(.closed)) }

  private func received(_ bytes: [UInt8]) {
    var bytes = bytes
    while waiter != nil {
      switch handshake.receive(bytes) {
      case .needsMore: return
      case .send(let answer): stream.write(answer)
      case .refused(let refusal): return end(.failure(refusal))
      case .done(let answer, let peer, let sealing, let opening, let rest):
        if !answer.isEmpty { stream.write(answer) }
        return end(.success(Result(peer: peer, sealing: sealing, opening: opening, rest: rest)))
      }
      bytes = []
    }
  }

  private func end(_ result: Swift.Result<Result, LinkRefusal>) {
    guard let waiter else { return }
    self.waiter = nil
    stream.stopReading()
    waiter.resume(returning: result)
  }
}
