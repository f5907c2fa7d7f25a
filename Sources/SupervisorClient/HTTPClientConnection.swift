// One keep-alive connection to a node: a request out, its answer back, never two at a time.
import EventLoop
import TLS

/// Why an exchange has no answer.
enum HTTPClientFailure: Error, Equatable {
  case lost(reason: String)
  /// By TLS 1.3 a node refuses the client's certificate only after the client's handshake; it has read nothing then.
  case notSecured(TLSError)
  case malformed(reason: String)
  case timedOut
  /// Nothing moved for as long as the caller bears.
  case silent
  case cancelled
}

actor HTTPClientConnection {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private let stream: any DuplexStream
  private let parser: HTTPAnswerParser
  /// Of the exchange under way.
  private var outcome: Promise<Result<HTTPAnswer, HTTPClientFailure>>?
  /// An answer that came without a request: a node that is full refuses a connection before it reads.
  private var early: HTTPAnswer?
  private var receivedBytes = 0
  /// Grows while anything of a request or an answer moves.
  var movedBytes: Int { receivedBytes - stream.queuedBytes }
  /// Whether one more request may be sent.
  private(set) var isUsable = true

  init(_ stream: any DuplexStream, on loop: EventLoop, maxAnswerBytes: Int) {
    self.loop = loop
    self.stream = stream
    parser = HTTPAnswerParser(maxBodyBytes: maxAnswerBytes)
  }

  func start() {
    stream.startReading { [self] event in assumeIsolated { $0.onRead(event) } }
  }

  /// Sends a request and waits for its answer.
  /// - Parameters:
  ///   - timeout: for the whole answer; nil waits for ever, as a call that waits for a job must.
  ///   - silence: for how long nothing may move.
  func exchange(
    _ request: [UInt8], timeout: Duration?, silence: Duration? = nil
  ) async -> Result<HTTPAnswer, HTTPClientFailure> {
    if let early {
      self.early = nil
      return .success(early)
    }
    guard isUsable else { return .failure(.lost(reason: "the node closed it")) }
    if Task.isCancelled { return .failure(.cancelled) }
    let outcome = Promise<Result<HTTPAnswer, HTTPClientFailure>>(on: loop)
    self.outcome = outcome
    let deadline = timeout.map { SuspendingClock.now + $0 }
    stream.write(request)
    while true {
      let moved = movedBytes
      let rest = deadline.map { SuspendingClock.now.duration(to: $0) }
      let time = [rest, silence].compactMap(\.self).min()
      if let outcome = await outcome.valueUnlessCancelled(atMost: time) { return outcome }
      if Task.isCancelled { return failed(.cancelled) }
      if let deadline, SuspendingClock.now >= deadline { return failed(.timedOut) }
      if silence != nil, movedBytes == moved { return failed(.silent) }
    }
  }

  private func failed(_ failure: HTTPClientFailure) -> Result<HTTPAnswer, HTTPClientFailure> {
    fail(failure)
    return .failure(failure)
  }

  /// Ends the exchange under way, if there is one, as cancelled.
  func close() {
    finish(.failure(.cancelled))
    isUsable = false
    stream.close()
  }

  private func onRead(_ event: ByteStream.ReadEvent) {
    switch event {
    case .bytes(let bytes):
      receivedBytes += bytes.count
      take(parser.parse(bytes))
    case .end:
      isUsable = false
      take(parser.end())
      fail(.lost(reason: "the node closed it"))
    case .failed(let error):
      if let refusal = (stream as? TLSStream)?.failure, refusal.isRefusedCertificate {
        fail(.notSecured(refusal))
      } else {
        fail(.lost(reason: error.message))
      }
    }
  }

  private func take(_ step: HTTPAnswerParser.Step) {
    switch step {
    case .needsMore: return
    case .malformed(let reason): fail(.malformed(reason: reason))
    case .answer(let answer):
      if outcome == nil {
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

  private func finish(_ result: Result<HTTPAnswer, HTTPClientFailure>) {
    outcome?.resolve(result)
    outcome = nil
  }
}
