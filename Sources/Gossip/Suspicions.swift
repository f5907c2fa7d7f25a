import HeapModule

/// All members under suspicion, and which of them counts as failed next.
struct Suspicions: Sendable {
  /// Out of date when the suspicion ended or was confirmed since: a deadline only ever comes nearer, except after a pause.
  private struct Deadline: Comparable {
    let time: Duration
    let name: MemberName
    static func < (a: Deadline, b: Deadline) -> Bool { (a.time, a.name) < (b.time, b.name) }
  }

  private var byName: [MemberName: Suspicion] = [:]
  private var deadlines = Heap<Deadline>()

  /// When `takeExpired` may have something; perhaps earlier than needed, never later.
  var nextDeadline: Duration? { deadlines.min?.time }

  mutating func begin(_ suspicion: Suspicion, of name: MemberName) {
    byName[name] = suspicion
    deadlines.insert(Deadline(time: suspicion.deadline, name: name))
  }

  mutating func end(of name: MemberName) {
    byName[name] = nil
    if byName.isEmpty { deadlines = Heap() }
  }

  /// - Returns: whether it was news, which others should hear.
  mutating func confirm(_ name: MemberName, by accuser: MemberName) -> Bool {
    guard byName[name]?.confirm(by: accuser) == true else { return false }
    deadlines.insert(Deadline(time: byName[name]!.deadline, name: name))
    return true
  }

  /// One whose time is over; its suspicion ends.
  mutating func takeExpired(at now: Duration) -> MemberName? {
    while let next = deadlines.min, next.time <= now {
      deadlines.removeMin()
      guard byName[next.name]?.deadline == next.time else { continue }
      end(of: next.name)
      return next.name
    }
    return nil
  }

  /// This member did nothing for a while, and could not have heard a refutation: all last longer, and at least until the
  /// given time.
  mutating func postpone(by pause: Duration, atLeastUntil time: Duration) {
    for name in byName.keys { byName[name]!.postpone(by: pause, atLeastUntil: time) }
    deadlines = Heap(byName.map { Deadline(time: $1.deadline, name: $0) })
  }
}
