import Gossip
import GossipSimulator

/// How often members in good order are suspected and declared failed, when so much of all that is sent is lost, late,
/// repeated and overtaken.
func loss(hours: Int, seeds: Int) {
  report("members", "loss", "node hours", "suspicions", "false failures", "bytes/s")
  for size in [5, 40, 200] {
    for share in [0.05, 0.1, 0.2, 0.3] {
      var (suspicions, failures, bytes) = (0, 0, 0)
      for seed in 0..<seeds {
        var simulator = Simulator(count: size, seed: UInt64(seed), isAcquainted: true)
        simulator.network.loss = share
        simulator.network.delay = .milliseconds(1)...(.milliseconds(50))
        simulator.network.duplication = 0.05
        simulator.network.reordering = 0.05
        simulator.run(for: .seconds(3600 * hours))
        suspicions += simulator.changes.count { $0.member.state == .suspect }
        failures += simulator.falseFailures
        bytes += simulator.bytes + simulator.exchangeBytes
      }
      let nodeHours = size * hours * seeds
      report(size, share, nodeHours, suspicions, failures, bytes / (nodeHours * 3600))
    }
  }
}
