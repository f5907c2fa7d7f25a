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
      for line in chaos.log { print(line) }
      let simulator = chaos.simulator
      for number in simulator.living {
        print(
          number,
          simulator[number].members.map { "\($0.name):\($0.state)@\($0.incarnation.rawValue)" }.joined(separator: " "),
          simulator[number].healthScore)
      }
    }
    if !chaos.violations.isEmpty { print(seed, chaos.simulator.count, chaos.violations) }
  }
  print("longest \(longest)")
default: print("?")
}
