// When a peer that says nothing is asked whether it is there, and when it is given up.

struct LinkWatch: Sendable {
  enum Verdict: Hashable, Sendable {
    case fine
    /// Send it a ping.
    case ask
    case lost(String)
  }

  /// A peer that shall say something, and says nothing for this long, is asked; as long again, and it is lost.
  static let silence = Duration.seconds(5)
  /// A peer from which nothing is awaited is asked now and then, so that a connection that some device on the way has
  /// forgotten is made anew before it is needed.
  static let rest = Duration.seconds(15)
  /// A peer that takes nothing of what is sent to it for this long is lost: what waits for it must not stay in memory.
  static let stall = Duration.seconds(10)
  /// A clock that comes later than this says that this process did not run: the peer is not to blame for that.
  static let pauseTolerance = Duration.seconds(1)

  private var lastReceived: Duration
  private var askedAt: Duration?
  /// What the peer's system had taken of all that was sent, when it last took something; `nil` while nothing waits.
  private var taken: (bytes: Int, since: Duration)?

  init(at now: Duration) { lastReceived = now }

  mutating func received(at now: Duration) {
    lastReceived = now
    askedAt = nil
  }

  /// So many bytes wait to be sent, of so many in all.
  mutating func wrote(_ total: Int, waiting: Int, at now: @autoclosure () -> Duration) {
    if waiting == 0 {
      taken = nil
    } else if taken?.bytes != total - waiting {
      taken = (total - waiting, now())
    }
  }

  /// When `check` has something to say next.
  /// - Parameter isAwaited: whether the peer shall say something.
  func nextDeadline(isAwaited: Bool) -> Duration {
    let silent = askedAt.map { $0 + Self.silence } ?? lastReceived + (isAwaited ? Self.silence : Self.rest)
    return min(silent, taken.map { $0.since + Self.stall } ?? silent)
  }

  mutating func check(at now: Duration, isAwaited: Bool) -> Verdict {
    if let taken, now - taken.since >= Self.stall { return .lost("it reads nothing") }
    if let askedAt {
      return now - askedAt >= Self.silence
        ? .lost("no answer to a ping for \(Self.silence.components.seconds) s") : .fine
    }
    guard now - lastReceived >= (isAwaited ? Self.silence : Self.rest) else { return .fine }
    askedAt = now
    return .ask
  }

  /// This process was stopped until now; what came meanwhile is still to be read.
  mutating func forgive(at now: Duration) {
    received(at: now)
    taken?.since = now
  }
}
