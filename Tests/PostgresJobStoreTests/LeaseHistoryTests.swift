import Foundation
import Gossip
import Supervisor
import Testing

@testable import PostgresJobStore

/// Leases as values, over random histories: one node that works by its lease, two that would take over what it owns, a row
/// in a database, and messages that take time, are lost, or arrive when nobody expects them any more. What the membership
/// believes is arbitrary.
@Suite("The lease over random histories", .timeLimit(.minutes(5)))
struct LeaseHistoryTests {
  @Test("whoever takes over starts nothing while the former owner still works")
  func histories() throws {
    let environment = ProcessInfo.processInfo.environment
    let first = environment["HERO_SEED"].flatMap(UInt64.init) ?? .random(in: 0 ... .max)
    let count = environment["HERO_LEASE_HISTORIES"].flatMap(UInt64.init) ?? 2000
    var adoptions = 0
    var returns = 0
    for number in 0..<count {
      var history = LeaseHistory(seed: first &+ number)
      if let violation = history.run() {
        Issue.record(
          "HERO_SEED=\(first &+ number) HERO_LEASE_HISTORIES=1: \(violation)\n\(history.log)"
        )
        return
      }
      adoptions += history.adoptions
      returns += history.returns
    }
    print("seed \(first): \(count) histories, \(adoptions) adoptions, \(returns) leases had again")
    // Histories in which nothing happens show nothing.
    #expect(adoptions > Int(count) / 4 && returns > Int(count) / 4)
  }
}

/// One history. Times are milliseconds.
private struct LeaseHistory {
  private static let length = 15_000
  private static let origin = ContinuousClock.now

  /// A row of the database, and who owns the runner.
  private struct Database {
    var beat: Int64 = 0
    /// What a standby has.
    var replicated: Int64 = 0
    /// Which server it is.
    var server = 0
    var isOver = false
    /// Of the runner: `nil` for the node that works.
    var adopter: Int?
  }

  private struct Peer {
    var watch = LeaseWatch()
    /// What the membership says.
    var seesNode = true
  }

  private struct Step {
    let time: Int
    let event: Event
    let database: Database
    let works: Bool
    let lease: Lease.State
  }

  private enum Event {
    case renew
    case commitRenewal(sent: Int, server: Int, revives: Bool)
    case renewalAnswered(sent: Int, done: Bool, revives: Bool)
    case leaseEnds(until: Int)
    case guardKills(term: Int)
    case jobsEnd(term: Int)
    case claimBack(loss: Int)
    case start(loss: Int)
    case pause(Int)
    case review(Int)
    case read(Int, connection: Int)
    case rowRead(Int, LeaseWatch.Row?, connection: Int)
    case asked(Int, PeerLease)
    case answered(Int, PeerLease, LeaseState)
    case end(Int, beat: Int64, server: Int)
    case adopt(Int)
    case giveBack
    case membership(Int)
    case reconnect(Int)
    case failover
  }

  private var generator: SeededGenerator
  private var now = 0
  private var order = 0
  private var events: [(time: Int, order: Int, event: Event)] = []
  private var steps: [Step] = []
  private(set) var adoptions = 0
  private(set) var returns = 0

  private var database = Database()
  private var peers = [Peer(), Peer()]
  // The node that works.
  private var lease = Lease(length: .milliseconds(length))
  private var pausedUntil = 0
  /// Whether something of its jobs runs.
  private var works = false
  /// Grows with each beginning of work, and with each loss.
  private var term = 0
  private var losses = 0
  private var isCut = false
  private var lastBeat: Int64 = 0

  /// What happened last.
  var log: String {
    steps.suffix(40).map { "\($0.time) \($0.event) \($0.database) works=\($0.works) \($0.lease)" }.joined(
      separator: "\n")
  }

  init(seed: UInt64) { generator = SeededGenerator(seed: seed) }

  private func instant(_ time: Int) -> ContinuousClock.Instant { Self.origin + .milliseconds(time) }

  private mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &generator) < percent }

  /// How long a message takes; some take very long.
  private mutating func delay() -> Int {
    chance(90) ? .random(in: 0...200, using: &generator) : .random(in: 0...25_000, using: &generator)
  }

  private mutating func plan(_ event: Event, in time: Int) {
    order += 1
    events.append((now + time, order, event))
  }

  /// - Returns: what must not have happened.
  mutating func run() -> String? {
    let started = lease.renewed(sent: instant(0), now: instant(0))
    precondition(started != nil)
    works = true
    planEnd(sent: 0)
    plan(.renew, in: 5000)
    for peer in peers.indices {
      peers[peer].watch.connected(at: instant(0))
      plan(.review(peer), in: .random(in: 0...3000, using: &generator))
      plan(.membership(peer), in: .random(in: 0...40_000, using: &generator))
      plan(.reconnect(peer), in: .random(in: 0...120_000, using: &generator))
    }
    plan(.pause(.random(in: 0...40_000, using: &generator)), in: .random(in: 0...60_000, using: &generator))
    plan(.failover, in: .random(in: 10_000...200_000, using: &generator))
    while now < 240_000,
      let next = events.indices.min(by: { (events[$0].time, events[$0].order) < (events[$1].time, events[$1].order) })
    {
      let (time, _, event) = events.remove(at: next)
      // A node that stands still does nothing; its guard does.
      if time < pausedUntil, isOfNode(event) {
        order += 1
        events.append((pausedUntil, order, event))
        continue
      }
      now = max(now, time)
      if let violation = happen(event) { return violation }
    }
    return nil
  }

  private func isOfNode(_ event: Event) -> Bool {
    switch event {
    case .renew, .renewalAnswered, .leaseEnds, .jobsEnd, .start, .asked: true
    default: false
    }
  }

  private mutating func planEnd(sent: Int) {
    term += 1
    guard case .held(let until) = lease.state else { return }
    let time = Int((instant(0).duration(to: until) / .milliseconds(1)).rounded())
    plan(.leaseEnds(until: time), in: time - now)
    plan(
      .guardKills(term: term),
      in: Int((instant(now).duration(to: lease.end(sent: instant(sent))) / .milliseconds(1)).rounded()))
  }

  private mutating func lose() {
    if case .lost = lease.state { return }
    lease.lose("")
    losses += 1
    if works { plan(.jobsEnd(term: losses), in: .random(in: 0...1000, using: &generator)) }
    // It says so at once.
    for peer in peers.indices where chance(50) {
      plan(.read(peer, connection: peers[peer].watch.connection), in: delay())
    }
  }

  private mutating func reconnect(_ peer: Int) {
    peers[peer].watch.connected(at: instant(now))
  }

  private mutating func happen(_ event: Event) -> String? {
    steps.append(Step(time: now, event: event, database: database, works: works, lease: lease.state))
    switch event {
    case .renew:
      plan(.renew, in: 5000)
      if chance(3) { isCut.toggle() }
      if !isCut { plan(.commitRenewal(sent: now, server: database.server, revives: false), in: delay()) }
    case .commitRenewal(let sent, let server, let revives):
      guard server == database.server else { return nil }
      let done = revives || !database.isOver
      if done {
        if chance(80) { database.replicated = database.beat }
        lastBeat += 1
        database.beat = lastBeat
        database.isOver = false
      }
      if chance(95) { plan(.renewalAnswered(sent: sent, done: done, revives: revives), in: delay()) }
    case .renewalAnswered(let sent, let done, _):
      guard done else {
        lose()
        plan(.commitRenewal(sent: now, server: database.server, revives: true), in: delay())
        return nil
      }
      let wasLost = if case .lost = lease.state { true } else { false }
      guard lease.renewed(sent: instant(sent), now: instant(now)) != nil else { return nil }
      planEnd(sent: sent)
      if wasLost {
        returns += 1
        plan(.claimBack(loss: losses), in: delay())
      }
    case .leaseEnds(let until):
      if case .held(let end) = lease.state, end <= instant(until) { lose() }
    case .guardKills(let killed): if killed == term { works = false }
    case .jobsEnd(let loss): if loss == losses { works = false }
    case .claimBack(let loss):
      // Starts are written only while nobody else owns the runner.
      if database.adopter == nil { plan(.start(loss: loss), in: delay()) }
    case .start(let loss):
      // The clock is read before a process is made: what stood still may hear of the start before its timer.
      if loss == losses, case .held(let until) = lease.state, instant(now) < until + lease.margin / 2 { works = true }
    case .pause(let time):
      pausedUntil = now + time
      plan(.pause(.random(in: 0...40_000, using: &generator)), in: time + .random(in: 0...120_000, using: &generator))
    case .review(let peer):
      plan(.review(peer), in: 3000)
      plan(.read(peer, connection: peers[peer].watch.connection), in: delay())
    case .read(let peer, let connection):
      guard peers[peer].watch.connection == connection else { return nil }
      let row = LeaseWatch.Row(
        session: 1, node: NodeName(trusted: "n"), beat: database.beat, length: .milliseconds(Self.length))
      plan(.rowRead(peer, database.isOver ? nil : row, connection: connection), in: delay())
    case .rowRead(let peer, let row, let connection):
      guard peers[peer].watch.connection == connection else { return nil }
      guard let seen = peers[peer].watch.saw(row.map { [$0] } ?? [], now: instant(now)).first else {
        if database.adopter == nil { plan(.adopt(peer), in: delay()) }
        return nil
      }
      switch seen.verdict(isPresent: peers[peer].seesNode, hasTold: chance(10)) {
      case .wait: break
      case .ask: if chance(90) { plan(.asked(peer, seen), in: delay()) }
      case .end: plan(.end(peer, beat: seen.beat, server: database.server), in: delay())
      }
    case .asked(let peer, let seen):
      let answer: LeaseState = lease.sayOver(now: instant(now)) && !works ? .over : chance(5) ? .unknown : .inForce
      if chance(90) { plan(.answered(peer, seen, answer), in: delay()) }
    case .answered(let peer, let seen, let answer):
      guard seen.connection == peers[peer].watch.connection else { return nil }
      if case .end = seen.verdict(after: answer) {
        plan(.end(peer, beat: seen.beat, server: database.server), in: delay())
      }
    case .end(let peer, let beat, let server):
      guard server == database.server, !database.isOver, database.beat == beat else { return nil }
      database.isOver = true
      plan(.adopt(peer), in: delay())
    case .adopt(let peer):
      guard database.isOver, database.adopter == nil else { return nil }
      database.adopter = peer
      adoptions += 1
      plan(.giveBack, in: .random(in: 1000...20_000, using: &generator))
      if works { return "peer \(peer) takes over at \(now) what still runs" }
    case .giveBack:
      // By consent, as a move does, to a node that works.
      guard case .held = lease.state, !database.isOver, now >= pausedUntil else {
        plan(.giveBack, in: 5000)
        return nil
      }
      database.adopter = nil
      plan(.start(loss: losses), in: 0)
    case .membership(let peer):
      peers[peer].seesNode.toggle()
      plan(.membership(peer), in: .random(in: 0...40_000, using: &generator))
    case .failover:
      // The standby that follows may not have the last renewals; their answers are on their way, and count.
      if chance(50) { database.beat = database.replicated }
      database.server += 1
      for peer in peers.indices { reconnect(peer) }
      plan(.failover, in: .random(in: 10_000...200_000, using: &generator))
    case .reconnect(let peer):
      reconnect(peer)
      plan(.reconnect(peer), in: .random(in: 0...120_000, using: &generator))
    }
    return nil
  }
}
