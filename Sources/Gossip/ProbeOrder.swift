/// Whom to probe next: each in turn, in an order that is shuffled anew after each round, so that every failure is found
/// within a bounded time (SWIM, §4.3).
struct ProbeOrder: Sendable {
  /// Everyone, in the order of this round.
  private(set) var names: [MemberName] = []
  private var next = 0

  /// A new member takes a random place among those that are still to come.
  mutating func insert(_ name: MemberName, using generator: inout some RandomNumberGenerator) {
    names.append(name)
    names.swapAt(names.count - 1, Int.random(in: next..<names.count, using: &generator))
  }

  mutating func remove(_ name: MemberName) {
    guard var place = names.firstIndex(of: name) else { return }
    if place < next {
      next -= 1
      names.swapAt(place, next)
      place = next
    }
    names.swapAt(place, names.count - 1)
    names.removeLast()
  }

  /// The next one, if there is anybody.
  mutating func take(using generator: inout some RandomNumberGenerator) -> MemberName? {
    guard !names.isEmpty else { return nil }
    if next >= names.count { shuffle(using: &generator) }
    defer { next += 1 }
    return names[next]
  }

  /// Begins another round.
  mutating func shuffle(using generator: inout some RandomNumberGenerator) {
    names.shuffle(using: &generator)
    next = 0
  }
}
