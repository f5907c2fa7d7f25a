// One keep-alive connection to a node: a request out, its answer back, never two at a time.
import EventLoop

/// Why an exchange has no answer.
enum HTTPClientFailure: Error, Equatable {
  case lost(reason: String)
  case malformed(reason: String)
  case timedOut
  case cancelled
}

actor HTTPClientConnection {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private let stream: TCPStream
  private let timer: Timer
  private let parser: HTTPAnswerParser
  private var waiter: CheckedContinuation<Result<HTTPAnswer, HTTPClientFailure>, Never>?
  /// Counts exchanges, so that a cancellation that comes late does not end the next one.
  private var exchanges = 0
  /// An answer that came without a request: a node that is full refuses a connection before it reads.
  private var early: HTTPAnswer?
  /// Whether one more request may be sent.
  private(set) var isUsable = true

  init(_ stream: TCPStream, on loop: EventLoop, maxAnswerBytes: Int) {
    self.loop = loop
    self.stream = stream
    timer = Timer(on: loop)
    parser = HTTPAnswerParser(maxBodyBytes: maxAnswerBytes)
  }

  func start() {
    stream.startReading { [self] event in assumeIsolated { $0.onRead(event) } }
  }

  /// Sends a request and waits for its answer.
  /// - Parameter timeout: nil waits for ever, as a call that waits for a job must.
  func exchange(_ request: [UInt8], timeout: Duration?) async -> Result<HTTPAnswer, HTTPClientFailure> {
    if let early {
      self.early = nil
      return .success(early)
    }
    guard isUsable else { return .failure(.lost(reason: "the node closed it")) }
    exchanges += 1
    let number = exchanges
    return await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        // The handler may have been called, and have found no waiter, before this begins.
        if Task.isCancelled { return continuation.resume(returning: .failure(.cancelled)) }
        waiter = continuation
        if let timeout {
          timer.schedule(after: timeout) { [self] in assumeIsolated { $0.fail(.timedOut) } }
        }
        stream.write(request)
      }
    } onCancel: {
      loop.execute { [self] in assumeIsolated { if $0.exchanges == number { $0.fail(.cancelled) } } }
    }
  }

  func close() {
    isUsable = false
    timer.close()
    stream.close()
  }

  private func onRead(_ event: ByteStream.ReadEvent) {
    switch event {
    case .bytes(let bytes): take(parser.parse(bytes))
    case .end:
      isUsable = false
      take(parser.end())
      fail(.lost(reason: "the node closed it"))
    case .failed(let error): fail(.lost(reason: error.message))
    }
  }

  private func take(_ step: HTTPAnswerParser.Step) {
    switch step {
    case .needsMore: return
    case .malformed(let reason): fail(.malformed(reason: reason))
    case .answer(let answer):
      if waiter == nil {
        early = answer
        isUsable = false
      } else {
        finish(.success(answer))
      }
      if !answer.keepsAlive { close() }
    }
  }

  /// Ends the exchange, if there is one, and the connection.
  private func fail(_ failure: HTTPClientFailure) {
    finish(.failure(failure))
    close()
  }

  private func finish(_ outcome: Result<HTTPAnswer, HTTPClientFailure>) {
    guard let waiter else { return }
    self.waiter = nil
    timer.cancel()
    waiter.resume(returning: outcome)
  }
}
