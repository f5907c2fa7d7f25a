import EventLoop
import Gossip

// Deadlines of calls, and the watch over a peer that is silent: one timer for all.

extension PeerLink {
  /// Calls that end at nearly the same time end together.
  private static let grain = Duration.milliseconds(2)

  /// The clock shall not come later than this.
  func planClock(_ deadline: Duration?) {
    guard let deadline, !hasEnded, deadline < clockDeadline ?? .seconds(Int64.max / 2) else { return }
    clockDeadline = deadline
    clock.schedule(after: max(.zero, deadline - MonotonicClock.now)) { self.assumeIsolated { $0.clockCame() } }
  }

  /// It shall not come later than the watch wants.
  func planClock() { planClock(watch.nextDeadline(isAwaited: isAwaited)) }

  private var isAwaited: Bool { !calls.isEmpty || !pings.isEmpty || awaitsRetirement }

  private func clockCame() {
    let now = MonotonicClock.now
    let late = now - (clockDeadline ?? now)
    clockDeadline = nil
    if late > limits.pauseTolerance {
      // This process was stopped. Answers that came meanwhile are read before anyone is told that there is none.
      watch.forgive(at: now)
      return planClock(now + .milliseconds(50))
    }
    watch.wrote(written, waiting: stream.queuedBytes, at: now)
    switch watch.check(at: now, isAwaited: isAwaited) {
    case .fine: break
    case .ask: post(.ping, call: takeNumber())
    case .lost(let reason): return end(.lost(reason))
    }
    var next: Duration?
    for (number, call) in calls {
      guard let deadline = call.deadline else { continue }
      if now >= deadline { giveUp(number, .timedOut(name)) } else { next = min(next ?? deadline, deadline) }
    }
    planClock(next.map { max($0, now + Self.grain) })
    planClock()
  }
}
