import GossipSimulator

/// Many clusters that suffer everything at once.
func chaos(runs: Int, seed: Int) {
  var settled: [Double] = []
  var failures = 0
  for seed in seed..<(seed + runs) {
    var chaos = Chaos(seed: UInt64(seed))
    chaos.run()
    settled.append((chaos.settled ?? .zero) / .seconds(1))
    if !chaos.violations.isEmpty {
      failures += 1
      report("seed \(seed)", chaos.violations)
    }
  }
  settled.sort()
  report("runs", "violated", "median s until settled", "worst s")
  report(runs, failures, settled[runs / 2], settled.last!)
}
