// Connections between accept(2) and their first byte of HTTP: the TLS handshake, its deadline, and what is said to those with
// whom it fails. None of them has a task, and none is seen by the rest of the server before its handshake is done.
import EventLoop
import TLS

/// The handshakes under way of one server. All calls are made on the loop.
final class TLSHandshakes {
  private struct Entry {
    let tcp: TCPStream
    let stream: TLSStream
    let failed: (TLSError) -> Void
    var deadline: UInt64
    /// The handshake has failed, the peer has been told, and may read that.
    var isLingering = false
    var discardedBytes = 0
  }

  private let loop: EventLoop
  private let timeouts: TimeoutsInMilliseconds
  private var entries: [ObjectIdentifier: Entry] = [:]
  /// Runs while there are entries.
  private var sweeper: Timer?
  private(set) var counters = TLSHandshakeStatistics()

  /// What is read and thrown away of a peer that was told why it was refused.
  private static let maxDiscardedBytes = 65_536

  init(loop: EventLoop, timeouts: TimeoutsInMilliseconds) {
    self.loop = loop
    self.timeouts = timeouts
  }

  /// Connections whose handshake is under way, or has failed just now.
  var count: Int { entries.count }

  /// Makes the handshake of a connection.
  /// - Parameters:
  ///   - done: gets the stream once the handshake is done.
  ///   - failed: is told why there is none.
  func begin(
    _ tcp: TCPStream, _ context: TLSContext, done: @escaping (TLSStream) -> Void, failed: @escaping (TLSError) -> Void
  ) {
    let stream = TLSStream(accepting: tcp, context)
    let id = ObjectIdentifier(stream)
    entries[id] = Entry(
      tcp: tcp, stream: stream, failed: failed, deadline: loop.nowMilliseconds + timeouts.header)
    startSweeping()
    stream.handshake { [unowned self, unowned stream] error in
      guard let error else {
        entries[id] = nil
        counters.completed += 1
        if stream.isResumed { counters.resumed += 1 }
        stopSweepingIfIdle()
        return done(stream)
      }
      // One that `sweep` or `closeAll` has closed is gone already.
      guard entries[id] != nil else { return }
      report(error, failed)
      linger(id, error)
    }
  }

  /// A connection was reset, since too many are open or in their handshake.
  func noteNoRoom() { counters.failed["no_room", default: 0] += 1 }

  /// Ends all that is under way.
  func closeAll() {
    for (id, entry) in entries {
      entries[id] = nil
      entry.stream.reset()
    }
    stopSweepingIfIdle()
  }

  private func report(_ error: TLSError, _ failed: (TLSError) -> Void) {
    counters.failed[error.label, default: 0] += 1
    failed(error)
  }

  /// Closes so that the peer can read the alert, or the answer: closing at once would send a reset if the peer is still
  /// sending, and a reset may overtake it (as `HTTPConnection.finish`).
  private func linger(_ id: ObjectIdentifier, _ error: TLSError) {
    switch error {
    case .transport, .truncated: return remove(id)
    default: break
    }
    guard let tcp = entries[id]?.tcp else { return }
    if error == .plainHTTP { tcp.write(Self.answerToPlainHTTP) }
    entries[id]?.isLingering = true
    entries[id]?.deadline = loop.nowMilliseconds + timeouts.linger
    tcp.startReading { [unowned self] event in
      guard case .bytes(let bytes) = event, discard(bytes.count, of: id) else { return remove(id) }
    }
    // Ends when the connection is closed at the latest, by the sweep.
    Task(executorPreference: loop) { try? await tcp.shutdownWrite() }
  }

  private func discard(_ bytes: Int, of id: ObjectIdentifier) -> Bool {
    entries[id]?.discardedBytes += bytes
    return (entries[id]?.discardedBytes ?? .max) <= Self.maxDiscardedBytes
  }

  private func remove(_ id: ObjectIdentifier) {
    entries.removeValue(forKey: id)?.stream.close()
    stopSweepingIfIdle()
  }

  // MARK: Deadlines

  private func startSweeping() {
    guard sweeper == nil else { return }
    let sweeper = Timer(on: loop)
    self.sweeper = sweeper
    let pause = Duration.milliseconds(Int64(timeouts.sweepInterval))
    sweeper.schedule(after: pause, repeating: pause) { [unowned self] in sweep() }
  }

  private func stopSweepingIfIdle() {
    guard entries.isEmpty else { return }
    sweeper?.close()
    sweeper = nil
  }

  private func sweep() {
    let now = loop.nowMilliseconds
    for (id, entry) in entries where now >= entry.deadline {
      entries[id] = nil
      if !entry.isLingering { report(.timedOut, entry.failed) }
      entry.stream.reset()
    }
    stopSweepingIfIdle()
  }

  /// In clear, since that is what the client speaks.
  private static let answerToPlainHTTP: [UInt8] = {
    let body = "this port speaks HTTPS: use https:// in place of http://\n"
    return Array(
      ("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: \(body.utf8.count)\r\n"
        + "Connection: close\r\n\r\n\(body)").utf8)
  }()
}
