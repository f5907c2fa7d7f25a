import GossipSimulator
import Testing

@testable import Gossip

/// The protocol's promises, in clusters of virtual members. Each test prints its seed with what went wrong.
@SimulationThread @Suite("A simulated cluster", .timeLimit(.minutes(15)))
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

  @Test("a minute with packets lost, repeated and late gives no false failure", arguments: [0.1, 0.2])
  func loss(share: Double) {
    var simulator = cluster(25)
    simulator.network.loss = share
    simulator.network.duplication = 0.1
    simulator.network.delay = .milliseconds(1)...(.milliseconds(100))
    simulator.run(for: .seconds(60))
    #expect(simulator.falseFailures == 0, "\(seed)")
  }

  @Test(
    "a member that stops for a moment is not declared failed; one that stops for long comes back by itself, and blames nobody",
    arguments: [false, true])
  func pause(timersFirst: Bool) {
    var simulator = cluster(20)
    simulator.pause(7)
    simulator.run(for: .milliseconds(1500))
    simulator.resume(7, timersFirst: timersFirst)
    simulator.run(for: .seconds(20))
    #expect(simulator.falseFailures == 0, "\(seed)")
    #expect(simulator.isWhole, "\(seed)")

    simulator.pause(7)
    let isFailed = simulator.run(atMost: .seconds(120)) { simulator in
      simulator.living.allSatisfy { $0 == 7 || simulator.view($0, of: 7) == .failed }
    }
    #expect(isFailed != nil, "\(seed)")
    simulator.resume(7, timersFirst: timersFirst)
    let isBack = simulator.run(atMost: .seconds(180)) { $0.isWhole }
    #expect(isBack != nil, "\(seed)")
    #expect(
      simulator.changes.allSatisfy { $0.member.state != .failed || $0.member.name == Simulator.name(7) }, "\(seed)")
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
      simulator.run(for: .seconds(30))
      let (packets, bytes) = (simulator.packets, simulator.bytes)
      simulator.run(for: .seconds(30))
      return (
        Double(simulator.packets - packets) / Double(count * 30), Double(simulator.bytes - bytes) / Double(count * 30)
      )
    }
    let (small, large) = (load(10), load(80))
    #expect(large.packets < small.packets * 1.5 && large.packets < 12, "\(small) \(large), \(seed)")
    #expect(large.bytes < 500, "\(small) \(large), \(seed)")
  }

  @Test("members of whom each cannot be heard by another one do not fail")
  func oneWay() {
    var simulator = cluster(8)
    for one in 0..<8 { simulator.network.blocked.insert(SimulatedNetwork.Way(from: one, to: (one + 1) % 8)) }
    simulator.run(for: .seconds(180))
    #expect(simulator.falseFailures == 0, "\(seed)")
  }

  @Test("a clock that jumps ahead makes its member call nobody failed")
  func clockJumps() {
    var simulator = cluster(10)
    simulator.kill(9)
    for jump in [1, 10, 100, 1000, 86_400] {
      simulator.jump(3, by: .seconds(jump))
      simulator.run(for: .seconds(10))
    }
    #expect(
      simulator.changes.allSatisfy { $0.member.state != .failed || $0.member.name == Simulator.name(9) }, "\(seed)")
    #expect(simulator.all(see: 9, as: .failed), "\(seed)")
  }

  @Test("members come, go, crash and return at other addresses, and in the end everybody knows the same")
  func churn() {
    var simulator = cluster(10)
    for round in 0..<10 {
      let newcomer = simulator.join(by: 0)
      simulator.run(for: .seconds(3))
      if round % 3 == 0 { simulator.leave(newcomer) }
      simulator.kill(newcomer, resetsLinks: round % 2 == 0)
      simulator.run(for: .seconds(5))
      if round % 3 != 1 { simulator.restart(newcomer, by: 1, forgets: round % 2 == 1) }
    }
    let time = simulator.run(atMost: .seconds(120)) { $0.isSettled }
    #expect(time != nil, "\(simulator.disagreement), \(seed)")
    #expect(simulator.falseFailures == 0, "\(seed)")
  }

  @Test("whatever befalls a cluster, left alone it agrees, and old packets do not upset it", arguments: 0..<4)
  func chaos(run: UInt64) {
    var chaos = Chaos(seed: seed.value &+ run, duration: .seconds(40))
    chaos.run()
    #expect(chaos.violations.isEmpty, "GOSSIP_SEED=\(seed.value &+ run)")
  }

  @Test("starved members make healthy ones fail each other at least fifty times less often than without Lifeguard")
  func lifeguard() {
    var starvation = Starvation()
    starvation.members = 24
    starvation.starved = 2
    starvation.total = .seconds(50)
    let without = starvation.run(seed: seed.value, settings: .lan.withoutLifeguard)
    let with = starvation.run(seed: seed.value, settings: .lan)
    #expect(without.atHealthy >= 200 && with.atHealthy * 50 <= without.atHealthy, "\(without) \(with), \(seed)")
  }

  @Test("news reaches ten times as many members in a few rounds more")
  func logarithmic() throws {
    func rounds(_ count: Int) throws -> Double {
      var simulator = Simulator(count: count, seed: seed.value, isAcquainted: true)
      simulator.run(for: .seconds(1))
      simulator.changeProfile(of: 0)
      let incarnation = simulator[0].me.incarnation
      let time = try #require(
        simulator.run(atMost: .seconds(10)) { simulator in
          (0..<count).allSatisfy { simulator[$0][Simulator.name(0)]?.incarnation == incarnation }
        })
      return time / GossipSettings.lan.gossipInterval
    }
    let (small, large) = (try rounds(40), try rounds(400))
    #expect(small < 6 && large < small + 5, "\(small) \(large), \(seed)")
  }

  @Test("a seed repeats everything that happened")
  func replay() {
    func history() -> [String] {
      var simulator = Simulator(count: 15, seed: seed.value)
      simulator.joinAll()
      simulator.network.loss = 0.2
      simulator.run(for: .seconds(10))
      simulator.kill(4)
      simulator.run(for: .seconds(30))
      return simulator.changes.map { "\($0.time) \($0.observer) \($0.member)" } + [
        "\(simulator.packets) \(simulator.bytes)"
      ]
    }
    #expect(history() == history(), "\(seed)")
  }
}
