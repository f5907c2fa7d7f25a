import Gossip
import GossipSimulator

/// How long it takes until a host that fell silent has failed for everybody, in small clusters.
func silence(sizes: [Int], runs: Int) {
  report("members", "median s", "99 % s", "worst s")
  for size in sizes {
    var times: [Double] = []
    for seed in 0..<runs {
      var simulator = Simulator(count: size, seed: UInt64(seed), isAcquainted: true)
      simulator.run(for: .milliseconds(10_000 + 37 * seed))
      simulator.kill(1)
      guard let time = simulator.run(atMost: .seconds(120), until: { $0.all(see: 1, as: .failed) }) else {
        fatalError("not seen by all")
      }
      times.append(time / .seconds(1))
    }
    times.sort()
    report(size, times[runs / 2], times[runs * 99 / 100], times.last!)
  }
}
