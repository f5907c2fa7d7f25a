import ExactText
import GossipSimulator
import Testing

@testable import Gossip

/// What an operator has forgotten.
@SimulationThread @Suite("Members that are forgotten", .timeLimit(.minutes(5)))
struct ForgettingTests {
  private let seed = Seed()

  private func start(_ count: Int = 5) -> Simulator {
    var simulator = Simulator(count: count, seed: seed.value)
    simulator.joinAll()
    simulator.run(for: .seconds(10))
    return simulator
  }

  private func forget(_ number: Int, by other: Int, _ simulator: inout Simulator) throws {
    let (subject, body) = try #require(simulator[other].forgetting(Simulator.name(number)))
    simulator.record(
      Record(
        kind: subject.kind, name: subject.name, version: simulator[other].date, author: Simulator.name(other),
        body: body), by: other)
  }

  private func isForgotten(_ number: Int, _ simulator: Simulator) -> Bool {
    simulator.living.allSatisfy { simulator[$0][Simulator.name(number)] == nil }
  }

  @Test("a member that failed is forgotten everywhere at once, and stays forgotten")
  func everywhere() throws {
    var simulator = start()
    #expect(simulator[0].forgetting(Simulator.name(4)) == nil, "it is present")
    #expect(simulator[0].forgetting(MemberName("nobody")) == nil)
    simulator.kill(4)
    _ = try #require(simulator.run(atMost: .seconds(60)) { $0.all(see: 4, as: .failed) }, "\(seed)")
    try forget(4, by: 0, &simulator)
    _ = try #require(simulator.run(atMost: .seconds(10)) { isForgotten(4, $0) }, "\(seed)")
    simulator.run(for: .seconds(600))
    #expect(isForgotten(4, simulator) && simulator.agreesOnMembers, "\(seed)")
  }

  @Test("one who was away meanwhile brings it back to nobody, and forgets it too")
  func partition() throws {
    var simulator = start()
    simulator.kill(4)
    _ = try #require(simulator.run(atMost: .seconds(60)) { $0.all(see: 4, as: .failed) }, "\(seed)")
    simulator.network.groups = [3: 1]
    simulator.run(for: .seconds(60))
    try forget(4, by: 0, &simulator)
    simulator.run(for: .seconds(60))
    #expect(simulator[3][Simulator.name(4)] != nil)
    simulator.network.groups = [:]
    _ = try #require(simulator.run(atMost: .seconds(300)) { $0.isWhole && isForgotten(4, $0) }, "\(seed)")
    simulator.run(for: .seconds(300))
    #expect(isForgotten(4, simulator) && simulator.agreesOnMembers, "\(seed)")
  }

  @Test(
    "a forgotten member that comes back is a member again, also when it lost its data directory",
    arguments: [
      false, true,
    ])
  func comesBack(loses: Bool) throws {
    var simulator = start()
    // Its incarnation is higher than a new one's.
    for _ in 0..<3 {
      simulator.kill(4)
      _ = try #require(simulator.run(atMost: .seconds(60)) { $0.all(see: 4, as: .failed) }, "\(seed)")
      simulator.restart(4, by: 0)
      _ = try #require(simulator.run(atMost: .seconds(60)) { $0.isWhole }, "\(seed)")
    }
    simulator.kill(4)
    _ = try #require(simulator.run(atMost: .seconds(60)) { $0.all(see: 4, as: .failed) }, "\(seed)")
    try forget(4, by: 1, &simulator)
    _ = try #require(simulator.run(atMost: .seconds(10)) { isForgotten(4, $0) }, "\(seed)")
    simulator.restart(4, by: 0, forgets: loses)
    _ = try #require(simulator.run(atMost: .seconds(60)) { $0.isWhole && $0.agreesOnMembers }, "\(seed)")
    simulator.run(for: .seconds(120))
    #expect(simulator.isWhole, "\(seed)")
    // It fails and is forgotten once more.
    simulator.kill(4)
    _ = try #require(simulator.run(atMost: .seconds(60)) { $0.all(see: 4, as: .failed) }, "\(seed)")
    try forget(4, by: 1, &simulator)
    _ = try #require(simulator.run(atMost: .seconds(10)) { isForgotten(4, $0) }, "\(seed)")
  }

  @Test("nobody can have a member forgotten that takes part")
  func present() throws {
    var simulator = start()
    let incarnation = try #require(simulator[0][Simulator.name(4)]).incarnation.rawValue
    let body = withUnsafeBytes(of: (incarnation + 5).bigEndian) { Array($0) }
    simulator.record(
      Record(
        kind: .forgottenMember, name: ExactText("n4"), version: simulator[0].date, author: Simulator.name(0), body: body
      ),
      by: 0)
    simulator.run(for: .seconds(60))
    #expect(simulator.isWhole && simulator[4].me.incarnation.rawValue == incarnation + 6, "\(seed)")
  }
}
