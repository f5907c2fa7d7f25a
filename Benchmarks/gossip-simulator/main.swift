// Clusters in virtual time, larger and longer than a test may take: the tables of docs/gossip.md.
//
//   swift run -c release gossip-simulator scale [SEEDS [MEMBERS…]]      what is sent, and how long things take
//   swift run -c release gossip-simulator silence [RUNS]                until a silent host has failed, small clusters
//   swift run -c release gossip-simulator loss [HOURS [SEEDS]]          false failures by share of packets lost
//   swift run -c release gossip-simulator lifeguard [SEEDS]             false failures with parts of Lifeguard off
//   swift run -c release gossip-simulator chaos [RUNS [SEED]]           everything at once; one line a violation
//
// The same command prints the same figures on any machine.

let arguments = CommandLine.arguments.dropFirst()

func number(_ place: Int, default value: Int) -> Int { arguments.dropFirst(place).first.flatMap { Int($0) } ?? value }

switch arguments.first {
case "scale":
  let sizes = arguments.dropFirst(2).compactMap { Int($0) }
  scale(sizes: sizes.isEmpty ? [10, 32, 100, 320, 1000, 3200, 10_000] : sizes, seeds: number(1, default: 3))
case "silence": silence(sizes: [2, 3, 5, 10, 50], runs: number(1, default: 500))
case "loss": loss(hours: number(1, default: 1), seeds: number(2, default: 2))
case "lifeguard": lifeguard(seeds: number(1, default: 1))
case "chaos": chaos(runs: number(1, default: 100), seed: number(2, default: 1))
default: report("scale, silence, loss, lifeguard or chaos?")
}
