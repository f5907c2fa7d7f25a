import Gossip
import GossipSimulator

/// False failures with the parts of Lifeguard off, each alone, and all on, over the durations of starvation.
func lifeguard(seeds: Int) {
  func only(_ change: (inout GossipSettings) -> Void) -> GossipSettings {
    var settings = GossipSettings.lan.withoutLifeguard
    change(&settings)
    return settings
  }
  let variants: [(String, GossipSettings)] = [
    ("SWIM", .lan.withoutLifeguard),
    ("local health", only { $0.maximumHealthScore = GossipSettings.lan.maximumHealthScore }),
    ("suspicion", only { $0.suspicionMaximumMultiplier = GossipSettings.lan.suspicionMaximumMultiplier }),
    ("buddy", only { $0.tellsSuspectFirst = true }),
    ("Lifeguard", .lan),
  ]
  for starved in [1, 4, 8, 13] {
    for (name, settings) in variants {
      var total = Starvation.Outcome()
      for duration in [1, 2, 4, 8, 16, 32] {
        for interval in [4, 64, 256, 1024, 4096] {
          for seed in 0..<seeds {
            var starvation = Starvation()
            starvation.starved = starved
            starvation.duration = .seconds(duration)
            starvation.interval = .milliseconds(interval)
            let outcome = starvation.run(seed: UInt64(seed), settings: settings)
            total.atHealthy += outcome.atHealthy
            total.anywhere += outcome.anywhere
            total.packets += outcome.packets
          }
        }
      }
      report(starved, name, total.atHealthy, total.anywhere, total.packets)
    }
  }
}
