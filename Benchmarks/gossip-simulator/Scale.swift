import Gossip
import GossipSimulator

/// One line a size of cluster: what an idle member sends, how long one piece of news takes to reach everybody, and how long it
/// takes until a member that fell silent has failed, for the first and for the last of the others.
func scale(sizes: [Int], seeds: Int) {
  report("members", "packets/s", "bytes/s", "news s", "rounds", "join s", "failed first s", "failed all s")
  for size in sizes {
    var (packets, bytes) = (0.0, 0.0)
    var news: [Double] = []
    var joins: [Double] = []
    var first: [Double] = []
    var last: [Double] = []
    for seed in 0..<seeds {
      var simulator = Simulator(count: size, seed: UInt64(seed), isAcquainted: true)
      simulator.run(for: .seconds(10))
      let before = (simulator.packets, simulator.bytes + simulator.exchangeBytes)
      simulator.run(for: .seconds(60))
      packets += Double(simulator.packets - before.0) / Double(size * 60 * seeds)
      bytes += Double(simulator.bytes + simulator.exchangeBytes - before.1) / Double(size * 60 * seeds)

      simulator.changeProfile(of: 0)
      news.append(observe(&simulator, size - 1) { $0.member.name == Simulator.name(0) }.last)
      let newcomer = simulator.join(by: 0)
      joins.append(observe(&simulator, size) { $0.member.name == Simulator.name(newcomer) }.last)
      simulator.run(for: .seconds(10))
      let victim = size / 2
      simulator.kill(victim)
      let failed = observe(&simulator, size) { $0.member.name == Simulator.name(victim) && $0.member.state == .failed }
      first.append(failed.first)
      last.append(failed.last)
      guard simulator.falseFailures == 0 else { fatalError("a false failure, seed \(seed)") }
    }
    report(
      size, rounded(packets), rounded(bytes), median(news), rounded(median(news) / 0.2), median(joins), median(first),
      median(last))
  }
}

/// When the first and the last of so many members saw it, from now, in seconds.
private func observe(
  _ simulator: inout Simulator, _ count: Int, _ isIt: (Simulator.Change) -> Bool
) -> (first: Double, last: Double) {
  let start = simulator.now
  var next = simulator.changes.count
  var times: [Int: Duration] = [:]
  while times.count < count {
    guard simulator.now - start < .seconds(600) else { fatalError("only \(times.count) of \(count) saw it") }
    simulator.run(for: .milliseconds(10))
    for change in simulator.changes[next...] where isIt(change) && times[change.observer] == nil {
      times[change.observer] = change.time - start
    }
    next = simulator.changes.count
  }
  return (seconds(times.values.min()!), seconds(times.values.max()!))
}

private func seconds(_ duration: Duration) -> Double { rounded(duration / .seconds(1)) }
private func rounded(_ value: Double) -> Double { (value * 100).rounded() / 100 }
private func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }
