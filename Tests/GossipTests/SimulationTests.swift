import GossipSimulator
import Testing

@testable import Gossip

/// The protocol's promises, in clusters of virtual members. Each test prints its seed with what went wrong.
@Suite("A simulated cluster", .timeLimit(.minutes(5)))
struct SimulationTests {
  private let seed = Seed()

  /// Members that all know each other.
  private func cluster(_ count: Int) -> Simulator {
    var simulator = Simulator(count: count, seed: seed.value)
    simulator.joinAll()
    let time = simulator.run(atMost: .seconds(60)) { $0.isWhole }
    #expect(time != nil, "\(count) members do not find each other, \(seed)")
    return simulator
  }

  @Test("members that join by one of them all know each other soon", arguments: [2, 10, 100])
  func join(count: Int) {
    var simulator = Simulator(count: count, seed: seed.value)
    simulator.joinAll()
    let time = simulator.run(atMost: .seconds(30)) { $0.isWhole }
    #expect(time != nil, "\(seed)")
  }

  @Test("a crash is seen by all survivors, and nobody else is thought to have failed", arguments: [3, 5, 50])
  func crash(count: Int) {
    var simulator = cluster(count)
    simulator.run(for: .seconds(5))
    let victim = count - 1
    simulator.kill(victim)
    let time = simulator.run(atMost: .seconds(120)) { $0.all(see: victim, as: .failed) }
    #expect(time != nil, "\(seed)")
    #expect(simulator.falseFailures == 0, "\(seed)")
  }

  @Test("a killed process is failed everywhere in a fraction of a second", arguments: [2, 3, 5, 50])
  func fastCrash(count: Int) throws {
    var simulator = cluster(count)
    simulator.run(for: .seconds(5))
    simulator.kill(count - 1, resetsLinks: true)
    let time = try #require(simulator.run(atMost: .seconds(10)) { $0.all(see: count - 1, as: .failed) })
    #expect(time <= .milliseconds(400), "\(seed)")
    #expect(simulator.falseFailures == 0, "\(seed)")
  }

  @Test("links that break do not make a living member fail, even when a fifth of all packets is lost")
  func brokenLinks() {
    var simulator = cluster(6)
    simulator.network.loss = 0.2
    simulator.network.duplication = 0.2
    for _ in 0..<200 {
      simulator.breakLinks(of: 2)
      simulator.run(for: .seconds(1))
    }
    #expect(simulator.falseFailures == 0, "\(seed)")
  }

  @Test("two minutes with packets lost, repeated and late give no false failure", arguments: [0.05, 0.2, 0.3])
  func loss(share: Double) {
    var simulator = cluster(40)
    simulator.network.loss = share
    simulator.network.duplication = 0.1
    simulator.network.delay = .milliseconds(1)...(.milliseconds(100))
    simulator.run(for: .seconds(120))
    #expect(simulator.falseFailures == 0, "\(seed)")
  }

  @Test("a member that stops for a moment is not declared failed; one that stops for long comes back by itself")
  func pause() {
    var simulator = cluster(20)
    simulator.pause(7)
    simulator.run(for: .milliseconds(1500))
    simulator.resume(7)
    simulator.run(for: .seconds(20))
    #expect(simulator.falseFailures == 0, "\(seed)")
    #expect(simulator.isWhole, "\(seed)")

    simulator.pause(7)
    let isFailed = simulator.run(atMost: .seconds(120)) { simulator in
      simulator.living.allSatisfy { $0 == 7 || simulator.view($0, of: 7) == .failed }
    }
    #expect(isFailed != nil, "\(seed)")
    simulator.resume(7)
    let isBack = simulator.run(atMost: .seconds(180)) { $0.isWhole }
    #expect(isBack != nil, "\(seed)")
  }

  @Test("after a partition heals all views become equal", arguments: [(5, 2), (30, 10)])
  func partition(count: Int, minority: Int) {
    var simulator = cluster(count)
    for number in 0..<minority { simulator.network.groups[number] = 1 }
    let isSplit = simulator.run(atMost: .seconds(180)) { $0.view(0, of: count - 1) == .failed }
    #expect(isSplit != nil, "\(seed)")
    simulator.run(for: .seconds(30))
    simulator.network.groups = [:]
    let isHealed = simulator.run(atMost: .seconds(300)) { $0.isWhole }
    #expect(isHealed != nil, "\(seed)")
  }

  @Test("a member that leaves is left, not failed, for everybody")
  func leave() {
    var simulator = cluster(20)
    simulator.leave(3)
    simulator.run(for: .seconds(2))
    simulator.kill(3)
    simulator.run(for: .seconds(60))
    #expect(simulator.all(see: 3, as: .left), "\(seed)")
    #expect(simulator.changes.allSatisfy { $0.member.state != .failed }, "\(seed)")
  }

  @Test("a crash and its refutation do not resurrect each other: a killed member stays failed")
  func noResurrection() {
    var simulator = cluster(30)
    simulator.kill(11)
    _ = simulator.run(atMost: .seconds(120)) { $0.all(see: 11, as: .failed) }
    let before = simulator.changes.count
    simulator.run(for: .seconds(120))
    #expect(simulator.changes[before...].allSatisfy { $0.member.state != .alive }, "\(seed)")
    #expect(simulator.all(see: 11, as: .failed), "\(seed)")
  }

  @Test("what a member sends a second does not grow with the cluster")
  func flatLoad() {
    func load(_ count: Int) -> (packets: Double, bytes: Double) {
      var simulator = cluster(count)
      simulator.run(for: .seconds(60))
      let (packets, bytes) = (simulator.packets, simulator.bytes)
      simulator.run(for: .seconds(60))
      return (
        Double(simulator.packets - packets) / Double(count * 60), Double(simulator.bytes - bytes) / Double(count * 60)
      )
    }
    let (small, large) = (load(10), load(80))
    #expect(large.packets < small.packets * 1.5 && large.packets < 5, "\(small) \(large), \(seed)")
    #expect(large.bytes < 500, "\(small) \(large), \(seed)")
  }

  @Test("a seed repeats everything that happened")
  func replay() {
    func history() -> [String] {
      var simulator = Simulator(count: 25, seed: seed.value)
      simulator.joinAll()
      simulator.network.loss = 0.2
      simulator.run(for: .seconds(10))
      simulator.kill(4)
      simulator.run(for: .seconds(60))
      return simulator.changes.map { "\($0.time) \($0.observer) \($0.member)" } + [
        "\(simulator.packets) \(simulator.bytes)"
      ]
    }
    #expect(history() == history(), "\(seed)")
  }
}
