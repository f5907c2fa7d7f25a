import Gossip
import GossipSimulator

let arguments = CommandLine.arguments.dropFirst()
switch arguments.first {
case "soak":
  let count = Int(arguments.dropFirst().first ?? "100")!
  let start = UInt64(arguments.dropFirst(2).first ?? "1")!
  var longest = Duration.zero
  for seed in start..<(start + UInt64(count)) {
    var chaos = Chaos(seed: seed)
    chaos.run()
    longest = max(longest, chaos.settled ?? .zero)
    if count == 1 {
      for line in chaos.log { report(line) }
      let simulator = chaos.simulator
      for number in simulator.living {
        report(
          number,
          simulator[number].members.map { "\($0.name):\($0.state)@\($0.incarnation.rawValue)" }.joined(separator: " "),
          simulator[number].healthScore)
      }
    }
    if !chaos.violations.isEmpty { report(seed, chaos.simulator.count, chaos.violations) }
  }
  report("longest \(longest)")
case "lifeguard": lifeguard(seeds: Int(arguments.dropFirst().first ?? "1")!)
case "scale":
  let sizes = arguments.dropFirst(2).map { Int($0)! }
  scale(
    sizes: sizes.isEmpty ? [10, 32, 100, 320, 1000, 3200, 10_000] : sizes,
    seeds: Int(arguments.dropFirst().first ?? "5")!)
case "loss":
  if arguments.count > 3 {
    loss(
      hours: 1, seeds: 2, sizes: [Int(arguments.dropFirst(3).first!)!], shares: [Double(arguments.dropFirst(4).first!)!]
    )
  } else {
    loss(hours: Int(arguments.dropFirst().first ?? "1")!, seeds: Int(arguments.dropFirst(2).first ?? "4")!)
  }
case "silence":
  for size in [2, 3, 5, 10, 50] { silence(size: size, runs: 500) }
default: report("?")
}
