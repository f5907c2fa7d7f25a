/// Whom to probe next: each in turn, in an order that is shuffled anew after each round, so that every failure is found
/// within a bounded time (SWIM, §4.3).
struct ProbeOrder: Sendable {
  private var names: [MemberName] = []
  private var next = 0

  /// Everyone, in the order of this round.
  var all: [MemberName] { names }

  /// A new member takes a random place among those that are still to come or have been.
  mutating func insert(_ name: MemberName, using generator: inout some RandomNumberGenerator) {
    let place = Int.random(in: 0...names.count, using: &generator)
    names.insert(name, at: place)
    if place < next { next += 1 }
  }

  mutating func remove(_ name: MemberName) {
    guard let place = names.firstIndex(of: name) else { return }
    names.remove(at: place)
    if place < next { next -= 1 }
  }

  /// The next one that `isEligible`, if any.
  mutating func take(
    using generator: inout some RandomNumberGenerator, where isEligible: (MemberName) -> Bool
  ) -> MemberName? {
    for _ in 0..<names.count {
      if next >= names.count {
        names.shuffle(using: &generator)
        next = 0
      }
      defer { next += 1 }
      if isEligible(names[next]) { return names[next] }
    }
    return nil
  }
}
