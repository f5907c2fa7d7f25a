import Gossip
import GossipSimulator

/// False failures with the parts of Lifeguard off, with each alone and with all, summed over lengths of starvation and of
/// the moments in between; with the settings of the paper and with those of `lan`.
func lifeguard(seeds: Int) {
  // The paper, §V-B: a probe a second, suspicion 5·log₁₀(n), up to 6 times that until 3 others confirm it.
  var paper = GossipSettings.lan
  paper.parallelProbes = 1
  paper.suspicionMultiplier = 5
  paper.suspicionConfirmations = 3
  report("settings", "starved", "parts", "at healthy members", "anywhere", "packets")
  for (title, settings) in [("paper", paper), ("lan", .lan)] {
    for starved in [1, 4, 8, 13] {
      for (name, variant) in variants(of: settings) where starved == 8 || name == "none" || name == "all" {
        let outcome = total(starved: starved, settings: variant, seeds: seeds)
        report(title, starved, name, outcome.atHealthy, outcome.anywhere, outcome.packets)
      }
    }
  }
}

private func variants(of settings: GossipSettings) -> [(String, GossipSettings)] {
  func only(_ change: (inout GossipSettings) -> Void) -> GossipSettings {
    var variant = settings.withoutLifeguard
    change(&variant)
    return variant
  }
  return [
    ("none", settings.withoutLifeguard),
    ("local health", only { $0.maximumHealthScore = settings.maximumHealthScore }),
    ("suspicion", only { $0.suspicionMaximumMultiplier = settings.suspicionMaximumMultiplier }),
    ("buddy", only { $0.tellsSuspectFirst = true }),
    ("all", settings),
  ]
}

private func total(starved: Int, settings: GossipSettings, seeds: Int) -> Starvation.Outcome {
  var total = Starvation.Outcome()
  for duration in [4, 8, 16, 32] {
    for interval in [16, 256, 1024] {
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
  return total
}
