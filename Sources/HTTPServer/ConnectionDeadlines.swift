// When a connection has waited long enough. Deadlines are numbers that a sweep over all connections compares with the
// clock, so that a request costs a few stores and never a timer.

/// The timeouts of `HTTPServerConfiguration` in milliseconds, as the loop counts them.
struct TimeoutsInMilliseconds: Sendable {
  let idle: UInt64
  let header: UInt64
  let body: UInt64
  let halfCloseGrace: UInt64
  let linger: UInt64
  let bytesPerSecond: UInt64
  let strangerBytesPerSecond: UInt64

  init(_ configuration: HTTPServerConfiguration) {
    idle = configuration.idleTimeout.milliseconds
    header = configuration.headerTimeout.milliseconds
    body = configuration.bodyTimeout.milliseconds
    halfCloseGrace = configuration.halfCloseGrace.milliseconds
    linger = configuration.lingerTimeout.milliseconds
    bytesPerSecond = UInt64(max(1, configuration.minimumBodyBytesPerSecond))
    strangerBytesPerSecond = UInt64(max(1, configuration.minimumStrangerBytesPerSecond))
  }

  /// How often to look: a few times within the shortest timeout, at most once a second.
  var sweepInterval: UInt64 {
    min(1000, max(10, min(idle, header, body, halfCloseGrace, linger) / 4))
  }
}

extension Duration {
  var milliseconds: UInt64 {
    let (seconds, attoseconds) = components
    return UInt64(max(0, seconds * 1000 + attoseconds / 1_000_000_000_000_000))
  }
}

struct ConnectionDeadlines: Sendable {
  enum Event { case idle, head, body, halfClosed, lingering, stalledWrite }

  private enum Reading { case nothing, idle, head, body }
  private var reading = Reading.nothing
  private var readDeadline = UInt64.max
  private var bodyStart: UInt64 = 0
  private var halfCloseDeadline = UInt64.max
  private var lingerDeadline = UInt64.max
  private var writeDeadline = UInt64.max
  private var lastWriteDeadline = UInt64.max
  private var writeTimeout: UInt64 = 0
  private var unwritten = 0

  mutating func idle(until deadline: UInt64) {
    reading = .idle
    readDeadline = deadline
  }

  /// Counts from the first byte of the head; further bytes do not move it (slow loris).
  mutating func readingHead(now: UInt64, timeout: UInt64) {
    guard reading != .head else { return }
    reading = .head
    readDeadline = now + timeout
  }

  /// Counts from the beginning of the body and moves with what has come.
  /// - Parameter rate: the least, in bytes per second.
  mutating func readingBody(now: UInt64, bytes: Int, timeout: UInt64, rate: UInt64) {
    if reading != .body { bodyStart = now }
    reading = .body
    readDeadline = bodyStart + timeout + UInt64(bytes) * 1000 / rate
  }

  mutating func stopReading() {
    reading = .nothing
    readDeadline = .max
  }

  /// The peer is not waited with beyond this instant; `.max` for as long as it takes.
  mutating func halfClosed(until deadline: UInt64) { halfCloseDeadline = deadline }

  mutating func lingering(until deadline: UInt64) {
    halfCloseDeadline = .max
    lingerDeadline = deadline
  }

  /// Counts from now, and moves with what the peer reads; in the end it must have kept the rate.
  /// - Parameter rate: the least, in bytes per second.
  mutating func writing(now: UInt64, unwritten: Int, timeout: UInt64, rate: UInt64) {
    self.unwritten = unwritten
    writeTimeout = timeout
    writeDeadline = now + timeout
    lastWriteDeadline = now + timeout + UInt64(unwritten) * 1000 / rate
  }

  mutating func written() { writeDeadline = .max }

  /// What is due now; the write deadline moves on while the peer reads.
  mutating func expired(now: UInt64, unwritten left: Int) -> Event? {
    if now >= writeDeadline {
      guard left < unwritten, now < lastWriteDeadline else { return .stalledWrite }
      unwritten = left
      writeDeadline = min(now + writeTimeout, lastWriteDeadline)
    }
    if now >= halfCloseDeadline { return .halfClosed }
    if now >= lingerDeadline { return .lingering }
    guard now >= readDeadline else { return nil }
    switch reading {
    case .nothing: return nil
    case .idle: return .idle
    case .head: return .head
    case .body: return .body
    }
  }
}
