import Gossip

/// What happens to packets between simulated members.
package struct SimulatedNetwork: Sendable {
  /// From one member to another, and not back.
  package struct Way: Hashable, Sendable {
    package let from: Int
    package let to: Int
    package init(from: Int, to: Int) { (self.from, self.to) = (from, to) }
  }

  /// Share of packets that are lost.
  package var loss = 0.0
  package var delay = Duration.microseconds(200)...Duration.milliseconds(2)
  /// Share of packets that arrive twice.
  package var duplication = 0.0
  /// Share of packets that are overtaken: they take up to `straggling` longer.
  package var reordering = 0.0
  package var straggling = Duration.seconds(1)
  /// Members in different groups do not reach each other; everybody is in group 0 at first.
  package var groups: [Int: Int] = [:]
  /// Ways that are closed, one by one.
  package var blocked: Set<Way> = []

  package init() {}

  /// Delay and no loss.
  package var isGood: Bool { loss == 0 && groups.isEmpty && blocked.isEmpty }

  package func isOpen(from sender: Int, to receiver: Int) -> Bool {
    (groups.isEmpty || groups[sender] ?? 0 == groups[receiver] ?? 0)
      && (blocked.isEmpty || !blocked.contains(Way(from: sender, to: receiver)))
  }

  /// When the copies of one packet arrive, from now; none when it is lost.
  func arrivals(using generator: inout SeededGenerator) -> [Duration] {
    var arrivals: [Duration] = []
    for _ in 0..<(chance(duplication, &generator) ? 2 : 1) where !chance(loss, &generator) {
      arrivals.append(oneWay(&generator) + (chance(reordering, &generator) ? straggling * share(&generator) : .zero))
    }
    return arrivals
  }

  /// When a message of a peer link arrives. Nothing is lost, but each loss costs TCP a timeout: 200 ms, twice that …
  /// (RFC 6298). `nil` when it takes longer than anybody waits.
  func linkDelay(using generator: inout SeededGenerator) -> Duration? {
    var delay = oneWay(&generator)
    var timeout = Duration.milliseconds(200)
    // Both the segment and its acknowledgement can be lost, but only the segment holds up the message.
    while chance(loss, &generator) {
      delay += timeout
      timeout = timeout * 2
      if delay > .seconds(30) { return nil }
    }
    return delay
  }

  private func oneWay(_ generator: inout SeededGenerator) -> Duration {
    delay.lowerBound + (delay.upperBound - delay.lowerBound) * share(&generator)
  }

  private func chance(_ share: Double, _ generator: inout SeededGenerator) -> Bool {
    share > 0 && self.share(&generator) < share
  }

  private func share(_ generator: inout SeededGenerator) -> Double { Double.random(in: 0..<1, using: &generator) }
}
