// The experiment of the Lifeguard paper (§V-D, "interval"): some members are starved for a while, live for a moment, and so on.
// What the others think of each other shall not suffer.

import Gossip

package struct Starvation {
  /// Members in all, and starved ones.
  package var members = 128
  package var starved = 8
  /// How long they are starved at a time, and how long they live in between.
  package var duration = Duration.seconds(16)
  package var interval = Duration.milliseconds(256)
  package var total = Duration.seconds(120)

  package init() {}

  package struct Outcome: Sendable {
    /// Healthy members that a healthy member declared failed; each pair counts, and each time.
    package var atHealthy = 0
    /// Those that any member declared failed.
    package var anywhere = 0
    package var packets = 0

    package init(packets: Int = 0) { self.packets = packets }
  }

  package func run(seed: UInt64, settings: GossipSettings) -> Outcome {
    var simulator = Simulator(count: members, seed: seed, settings: settings, isAcquainted: true)
    simulator.run(for: .seconds(15))
    let end = simulator.now + total
    while simulator.now < end {
      for number in 0..<starved { simulator.starve(number) }
      simulator.run(for: duration)
      for number in 0..<starved { simulator.feed(number) }
      simulator.run(for: interval)
    }
    simulator.run(for: .seconds(10))
    var outcome = Outcome(packets: simulator.packets)
    for change in simulator.changes where change.member.state == .failed {
      guard Simulator.number(change.member.name) >= starved else { continue }
      outcome.anywhere += 1
      if change.observer >= starved { outcome.atHealthy += 1 }
    }
    return outcome
  }
}
