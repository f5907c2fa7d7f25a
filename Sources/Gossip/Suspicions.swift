import HeapModule

/// All members under suspicion, and what is to be done about whom next.
struct Suspicions: Sendable {
  enum Event: Hashable {
    /// Ask it once more whether it lives, by the number that is given to `expect`.
    case ask(MemberName, ProbeNumber?)
    /// Its time is over, and so is the suspicion: it has failed.
    case fail(MemberName)
  }

  /// Out of date when the suspicion ended, or its time is another by now.
  private struct Due: Comparable {
    let time: Duration
    let name: MemberName
    static func < (a: Due, b: Due) -> Bool { (a.time, a.name) < (b.time, b.name) }
  }

  private var byName: [MemberName: Suspicion] = [:]
  private var order = Heap<Due>()
  /// The number of the questions to each suspect that was asked.
  private var numbers: [MemberName: ProbeNumber] = [:]
  private var asked: [ProbeNumber: MemberName] = [:]

  /// When `next` may have something; perhaps earlier than needed, never later.
  var nextEvent: Duration? { order.min?.time }

  mutating func begin(_ suspicion: Suspicion, of name: MemberName) {
    byName[name] = suspicion
    order.insert(Due(time: suspicion.nextEvent, name: name))
  }

  mutating func end(of name: MemberName) {
    byName[name] = nil
    if let number = numbers.removeValue(forKey: name) { asked[number] = nil }
    if byName.isEmpty { order = Heap() }
  }

  /// - Returns: whether it was news, which others should hear.
  mutating func confirm(_ name: MemberName, by accuser: MemberName, at now: Duration) -> Bool {
    guard byName[name]?.confirm(by: accuser, at: now) == true else { return false }
    order.insert(Due(time: byName[name]!.nextEvent, name: name))
    return true
  }

  /// What is due, one by one.
  mutating func next(at now: Duration) -> Event? {
    while let due = order.min, due.time <= now {
      order.removeMin()
      guard byName[due.name]?.nextEvent == due.time else { continue }
      guard byName[due.name]!.hasQuestion else {
        end(of: due.name)
        return .fail(due.name)
      }
      byName[due.name]!.ask()
      order.insert(Due(time: byName[due.name]!.nextEvent, name: due.name))
      return .ask(due.name, numbers[due.name])
    }
    return nil
  }

  /// The suspect is asked by this number.
  mutating func expect(_ number: ProbeNumber, from name: MemberName) {
    numbers[name] = number
    asked[number] = name
  }

  /// - Returns: whether this is a suspect's answer; it lasts longer then.
  mutating func answered(_ number: ProbeNumber, at now: Duration) -> Bool {
    guard let name = asked.removeValue(forKey: number) else { return false }
    numbers[name] = nil
    byName[name]?.reprieve(at: now)
    if let time = byName[name]?.nextEvent { order.insert(Due(time: time, name: name)) }
    return true
  }

  /// This member did nothing for a while, and could not have heard a refutation: all last longer, and at least until the
  /// given time.
  mutating func postpone(by pause: Duration, atLeastUntil time: Duration) {
    for name in byName.keys { byName[name]!.postpone(by: pause, atLeastUntil: time) }
    order = Heap(byName.map { Due(time: $1.nextEvent, name: $0) })
  }
}
