// Everything at once: for some minutes a cluster suffers whatever the seed brings, then is left alone. Afterwards all views
// must be equal, the dead known to be dead, and each runner have one owner who lives; and old packets that come once more
// must change nothing.

import Gossip

package struct Chaos {
  package private(set) var simulator: Simulator
  /// What must not be; empty when all went well.
  package private(set) var violations: [String] = []
  /// What happened, for whoever looks into a violation.
  package private(set) var log: [String] = []
  /// How long the cluster took to agree, once left alone.
  package private(set) var settled: Duration?
  private var generator: SeededGenerator
  /// What ends when.
  private var pending: [(time: Duration, action: (inout Chaos) -> Void)] = []
  private var runners: [String] = []
  private var removed: Set<String> = []
  private var paused: Set<Int> = []

  private let duration: Duration

  /// - Parameter duration: of the bad time.
  package init(seed: UInt64, duration: Duration = .seconds(180)) {
    self.duration = duration
    generator = SeededGenerator(seed: seed)
    simulator = Simulator(count: Int.random(in: 5...20, using: &generator), seed: seed)
    simulator.adopts = true
  }

  package mutating func run() {
    simulator.joinAll()
    for number in 0..<simulator.count {
      for runner in 0..<3 { register("n\(number)-\(runner)", at: number) }
    }
    let isReady = simulator.run(atMost: .seconds(60)) { $0.isWhole && $0.agreesOnMembers && $0.agreesOnClaims }
    guard isReady != nil else { return violations.append("the cluster does not form") }
    simulator.record(1000)
    let end = simulator.now + duration
    while simulator.now < end {
      misfortune()
      pass(.milliseconds(Int.random(in: 100...5000, using: &generator)))
    }
    leaveAlone()
    checkEnd()
    guard violations.isEmpty else { return }
    checkReplay()
  }

  // MARK: Time

  private mutating func pass(_ time: Duration) {
    let end = simulator.now + time
    while simulator.now < end {
      let next = pending.map(\.time).min() ?? end
      simulator.run(for: max(.zero, min(end, next) - simulator.now))
      let due = pending.filter { $0.time <= simulator.now }
      pending.removeAll { $0.time <= simulator.now }
      for item in due { item.action(&self) }
      // A node asks its seeds again until one answers.
      simulator.makeFirstTheSeed()
      simulator.retryJoins()
    }
  }

  private mutating func later(atMost seconds: Int, _ action: @escaping (inout Chaos) -> Void) {
    pending.append((simulator.now + .milliseconds(Int.random(in: 50...(seconds * 1000), using: &generator)), action))
  }

  // MARK: What happens

  private var running: [Int] { simulator.living.filter { !paused.contains($0) } }

  private mutating func misfortune() {
    guard let one = running.randomElement(using: &generator), let other = running.randomElement(using: &generator)
    else { return }
    let kind = Int.random(in: 0..<14, using: &generator)
    log.append("\(simulator.now) \(kind) \(one) \(other)")
    switch kind {
    case 0: disturb()
    case 1: split()
    case 2: block(one, other)
    case 3: pause(one)
    case 4: simulator.jump(one, by: .milliseconds(Int.random(in: 1...60_000, using: &generator)))
    case 5: kill(one)
    case 6, 7: restart()
    case 8: if simulator.count < 30 { simulator.join(by: one) }
    case 9: leave(one)
    case 10: simulator.breakLinks(of: one)
    case 11: register("late-\(runners.count)", at: one)
    case 12: remove(at: one)
    default: starve(one)
    }
  }

  private mutating func disturb() {
    simulator.network.loss = Double.random(in: 0...0.3, using: &generator)
    simulator.network.duplication = Double.random(in: 0...0.3, using: &generator)
    simulator.network.reordering = Double.random(in: 0...0.3, using: &generator)
    simulator.network.delay = .milliseconds(1)...(.milliseconds(Int.random(in: 2...200, using: &generator)))
    later(atMost: 30) { chaos in
      let network = chaos.simulator.network
      chaos.simulator.network = SimulatedNetwork()
      (chaos.simulator.network.groups, chaos.simulator.network.blocked) = (network.groups, network.blocked)
    }
  }

  private mutating func split() {
    for number in 0..<simulator.count { simulator.network.groups[number] = Int.random(in: 0...1, using: &generator) }
    later(atMost: 60) { $0.simulator.network.groups = [:] }
  }

  private mutating func block(_ one: Int, _ other: Int) {
    let way = SimulatedNetwork.Way(from: one, to: other)
    simulator.network.blocked.insert(way)
    later(atMost: 60) { $0.simulator.network.blocked.remove(way) }
  }

  private mutating func pause(_ number: Int) {
    guard running.count > 3 else { return }
    paused.insert(number)
    simulator.pause(number)
    let timersFirst = Bool.random(using: &generator)
    later(atMost: 40) { $0.resume(number, timersFirst) }
  }

  private mutating func resume(_ number: Int, _ timersFirst: Bool) {
    if paused.remove(number) != nil { simulator.resume(number, timersFirst: timersFirst) }
  }

  private mutating func starve(_ number: Int) {
    guard running.count > 3 else { return }
    simulator.starve(number)
    later(atMost: 20) { $0.simulator.feed(number) }
  }

  /// The first one is the seed, and stays.
  private mutating func kill(_ number: Int) {
    guard number != 0 && running.count > 3 else { return }
    simulator.kill(number, resetsLinks: Bool.random(using: &generator))
  }

  private mutating func leave(_ number: Int) {
    guard number != 0 && running.count > 3 else { return }
    simulator.leave(number)
    pass(.seconds(1))
    simulator.kill(number)
  }

  private mutating func restart() {
    let living = Set(simulator.living)
    guard let number = (0..<simulator.count).filter({ !living.contains($0) }).randomElement(using: &generator),
      let other = running.randomElement(using: &generator)
    else { return }
    simulator.restart(number, by: other, forgets: Bool.random(using: &generator))
  }

  private mutating func register(_ runner: String, at number: Int) {
    runners.append(runner)
    simulator.register(runner, at: number)
  }

  private mutating func remove(at number: Int) {
    let name = Simulator.name(number)
    let own = simulator.claims(at: number).filter { $0.owner == name && $0.state != .removed }
    guard let runner = own.randomElement(using: &generator)?.runner else { return }
    removed.insert(runner)
    simulator.remove(runner, at: number)
  }

  // MARK: What must be

  private mutating func leaveAlone() {
    for item in pending { item.action(&self) }
    pending = []
    simulator.network = SimulatedNetwork()
    simulator.makeFirstTheSeed()
    simulator.retryJoins()
  }

  private mutating func checkEnd() {
    settled = simulator.run(atMost: .seconds(400)) { $0.isSettled }
    if settled == nil {
      violations.append("no agreement: \(simulator.disagreement)")
      return
    }
    // Those that the whole cluster knew of.
    let known = Set(simulator.claims(at: simulator.living[0]).map(\.runner))
    for runner in runners where !runner.hasPrefix("late") && !known.contains(runner) {
      violations.append("\(runner) was lost")
    }
    for claim in simulator.claims(at: simulator.living[0]) where claim.state == .removed {
      if !removed.contains(claim.runner) { violations.append("\(claim.runner) was removed by nobody") }
    }
  }

  private mutating func checkReplay() {
    let (claims, changes) = (simulator.claims(at: simulator.living[0]), simulator.changes.count)
    let known = Dictionary(
      uniqueKeysWithValues: simulator[simulator.living[0]].members.map { ($0.name, $0.incarnation) })
    simulator.replay(within: .seconds(5))
    simulator.run(for: .seconds(60))
    let living = Set(simulator.living)
    for change in simulator.changes[changes...] {
      let isDead = !living.contains(Simulator.number(change.member.name))
      // What it said in its last moment, and nobody heard, is news even now; it is probed then, and fails again.
      if isDead && change.member.isPresent
        && known[change.member.name].map({ change.member.incarnation <= $0 }) ?? false
      {
        violations.append("\(change.member.name) was resurrected by old packets")
      }
      if change.isFalseFailure { violations.append("\(change.member.name) was failed by old packets") }
    }
    if !simulator.isSettled { violations.append("old packets upset: \(simulator.disagreement)") }
    // A claim that its maker took along when it died may come to light, but none may be lost or go back.
    for before in claims {
      let after = simulator.claims(at: simulator.living[0]).first { $0.runner == before.runner }
      if after != before && after?.overrides(before) != true { violations.append("\(before) became \(after as Any)") }
    }
  }
}
