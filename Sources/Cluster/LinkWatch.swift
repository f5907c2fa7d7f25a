// When a peer that says nothing is asked whether it is there, and when it is given up.

struct LinkWatch: Sendable {
  enum Verdict: Hashable, Sendable {
    case fine
    /// Send it a ping.
    case ask
    case lost(String)
  }

  private let limits: LinkLimits
  private var lastReceived: Duration
  private var askedAt: Duration?
  /// What the peer's system had taken of all that was sent, when it last took something; `nil` while nothing waits.
  private var taken: (bytes: Int, since: Duration)?

  init(_ limits: LinkLimits, at now: Duration) {
    self.limits = limits
    lastReceived = now
  }

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
    let silent = askedAt.map { $0 + limits.silence } ?? lastReceived + (isAwaited ? limits.silence : limits.rest)
    return min(silent, taken.map { $0.since + limits.stall } ?? silent)
  }

  mutating func check(at now: Duration, isAwaited: Bool) -> Verdict {
    if let taken, now - taken.since >= limits.stall { return .lost("it reads nothing") }
    if let askedAt {
      return now - askedAt >= limits.silence
        ? .lost("no answer to a ping for \(limits.silence.components.seconds) s") : .fine
    }
    guard now - lastReceived >= (isAwaited ? limits.silence : limits.rest) else { return .fine }
    askedAt = now
    return .ask
  }

  /// This process was stopped until now; what came meanwhile is still to be read.
  mutating func forgive(at now: Duration) {
    received(at: now)
    taken?.since = now
  }
}
