import EventLoop
import Logging
import Supervisor

// Writes that wait: for somebody else's lock (a VACUUM FULL, a migration by hand), for a standby that is lost, for a server
// that stands still. The session that waits is kept, since a session that is left waits on at the server, and each new one
// beside it. Callers are told within seconds; what must not be lost waits with its session.

extension PostgresJobStore {
  /// For how long a caller waits for the database.
  static let patience = Duration.seconds(4)

  /// A step is about to wait: it is answered soon, or its caller is told.
  func expectAnswer() {
    // Nobody has waited since the last answer.
    if pending.isEmpty && inFlight.isEmpty { lastAnswer = .now }
    guard !isExpecting else { return }
    isExpecting = true
    checkPatience(after: Self.patience)
  }

  private func checkPatience(after time: Duration) {
    let clock = patienceClock ?? Timer(on: loop)
    patienceClock = clock
    clock.schedule(after: time) { [weak self] in self?.assumeIsolated { $0.checkPatience() } }
  }

  private func checkPatience() {
    isExpecting = false
    guard !(pending.isEmpty && inFlight.isEmpty) else { return }
    let waited = lastAnswer.duration(to: .now)
    guard waited >= Self.patience else {
      isExpecting = true
      return checkPatience(after: Self.patience - waited)
    }
    tellImpatient()
    if writerLine.connection != nil { stalled(because: "it has not answered for \(Self.patience)") }
  }

  /// Tells those who may be refused; what was sent may have been done.
  private func tellImpatient() {
    let reason = "the database has not answered for \(Self.patience)"
    for step in inFlight + pending where !step.isEssential {
      let isSent = step.isInDoubt || inFlight.contains { $0.number == step.number }
      step.caller.resume(
        returning: .failure(
          .unavailable(
            isSent ? "\(reason): the outcome is unknown; the call may be repeated with the same id" : reason,
            retryAfterMilliseconds: 1000)))
    }
    pending.removeAll { !$0.isEssential }
    progress.resumeAll()
  }

  /// Until the database answers again, new steps are refused at once.
  func stalled(because reason: String) {
    guard stall == nil else { return }
    stall = reason
    statistics.stalls += 1
    logger.error("writes to the database wait", metadata: ["reason": "\(reason)"])
    // One that is still there goes on.
    if probing == nil { probing = Task(executorPreference: loop) { await self.probe() } }
  }

  /// The database has answered a transaction.
  func answered() {
    lastAnswer = .now
    guard stall != nil else { return }
    stall = nil
    logger.notice("writes to the database go on")
    observer?(.recovered)
  }

  /// Finds out when the locks are gone, should nothing else be written.
  private func probe() async {
    defer { probing = nil }
    while stall != nil, !isClosed, let connection = writerLine.connection {
      let probe = Statement(sql: "LOCK TABLE hero_nodes, hero_runners, hero_jobs IN ROW EXCLUSIVE MODE")
      switch await connection.run([.begin, probe, .commit], within: nil) {
      case .success: return answered()
      case .failure(let error) where error.isLockedOut || error.isOutage: break
      // A database without such locks.
      case .failure: return answered()
      }
      try? await loop.sleep(for: .milliseconds(500))
      if Task.isCancelled { return }
    }
  }
}
