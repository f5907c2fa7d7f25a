import Gossip
import GossipSimulator

/// How long it takes until a host that fell silent has failed everywhere, in a small cluster: median and worst of many.
func silence(size: Int, runs: Int, settings: GossipSettings = .lan) {
  var times: [Double] = []
  for seed in 0..<runs {
    var simulator = Simulator(count: size, seed: UInt64(seed), settings: settings, isAcquainted: true)
    simulator.run(for: .milliseconds(10_000 + 37 * seed))
    simulator.kill(1)
    guard let time = simulator.run(atMost: .seconds(120), until: { $0.all(see: 1, as: .failed) }) else { fatalError() }
    times.append(time / .seconds(1))
  }
  times.sort()
  report(size, runs, times[runs / 2], times[runs * 99 / 100], times.last!)
}
