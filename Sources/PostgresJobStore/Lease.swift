import Supervisor

// The lease of a process as two values: what the process itself knows of it, and what it has seen of the leases of others.
// Neither has a clock or a database, so that `LeaseHistoryTests` can try what pauses, lost answers and partitions do.

/// This process's permission to run jobs, by this machine's clock (CLOCK_BOOTTIME).
struct Lease: Sendable {
  enum State: Sendable {
    case none
    case held(until: ContinuousClock.Instant)
    case lost(reason: String)
  }

  private(set) var state = State.none
  /// For how long a renewal is good for those who read it.
  let length: Duration
  /// When it was last said that it is over. A renewal that was sent before may be in the database already: whoever was
  /// told must be able to end the lease with the beat that it read before it asked.
  private var saidOver: ContinuousClock.Instant?

  init(length: Duration) { self.length = length }

  /// How long before the end of the lease everything of this process is stopped.
  var margin: Duration { length - PeerLease.workingTime(of: length) }

  /// When jobs must be gone, if this renewal was the last; a little after the process has begun to end them.
  func end(sent: ContinuousClock.Instant) -> ContinuousClock.Instant { sent + length - margin / 2 }

  /// A renewal was done.
  /// - Parameter sent: from before it was sent.
  /// - Returns: until when this process may work; `nil` when it came too late, or does not count.
  mutating func renewed(sent: ContinuousClock.Instant, now: ContinuousClock.Instant) -> ContinuousClock.Instant? {
    let until = sent + length - margin
    if until <= now { return nil }
    if let saidOver, sent <= saidOver { return nil }
    state = .held(until: until)
    return until
  }

  mutating func lose(_ reason: String) { state = .lost(reason: reason) }

  /// It was given back.
  mutating func giveBack() { state = .none }

  /// Whether it may be said that the lease is over.
  mutating func sayOver(now: ContinuousClock.Instant) -> Bool {
    guard case .lost = state else { return false }
    saidOver = now
    return true
  }
}

/// What this process has seen of the leases of others, on one connection.
struct LeaseWatch: Sendable {
  struct Row: Hashable, Sendable {
    let session: Int64
    let node: NodeName
    let beat: Int64
    let length: Duration
  }

  private var seen: [Int64: (beat: Int64, since: ContinuousClock.Instant)] = [:]
  private var connected: ContinuousClock.Instant?
  /// Grows with each connection.
  private(set) var connection = 0

  /// There is another connection, perhaps to another server, whose rows may be older: all is measured anew.
  mutating func connected(at now: ContinuousClock.Instant) {
    connected = now
    connection += 1
    seen = [:]
  }

  /// - Parameters:
  ///   - rows: every lease of others that is in force.
  ///   - now: from after the answer has come. A renewal that is read was sent before that, so what is measured from here is
  ///     never longer than the time since it was sent.
  mutating func saw(_ rows: [Row], now: ContinuousClock.Instant) -> [PeerLease] {
    var present: [Int64: (beat: Int64, since: ContinuousClock.Instant)] = [:]
    for row in rows {
      let since = seen[row.session].flatMap { $0.beat == row.beat ? $0.since : nil } ?? now
      present[row.session] = (row.beat, since)
    }
    seen = present
    return rows.map { row in
      PeerLease(
        session: row.session, node: row.node, beat: row.beat, length: row.length,
        silence: present[row.session]!.since.duration(to: now), watched: (connected ?? now).duration(to: now),
        connection: connection)
    }
  }
}
