import Gossip
import Testing

@testable import Supervisor

@Suite("Queues on hold")
struct StartHoldsTests {
  private let start = ContinuousClock.now
  private let full = StartHolds.Cause.machine(code: -11, user: nil)

  private func at(_ milliseconds: Int) -> ContinuousClock.Instant { start + .milliseconds(milliseconds) }
  private func queue(_ number: Int) -> QueueName { QueueName(trusted: "q\(number)") }

  @Test("pauses grow up to a bound, and begin anew after a success")
  func pauses() {
    var holds = StartHolds()
    var now = start
    func fail() -> Double {
      #expect(holds.failed(queue(1), full, reason: "full", at: now) == [])
      return (holds.due! - now) / .milliseconds(1)
    }
    var pauses: [Double] = []
    for _ in 0..<8 {
      pauses.append(fail())
      #expect(holds.elapsed(at: holds.due! - .milliseconds(1)) == [])
      now = holds.due!
      #expect(holds.elapsed(at: now) == [.tryOne(queue(1))])
      #expect(holds.due == nil)
    }
    #expect(pauses == [250, 500, 1000, 2000, 4000, 5000, 5000, 5000])
    #expect(holds.started(queue(1)) == [.open(queue(1))])
    #expect(holds.isEmpty && holds.due == nil)
    #expect(fail() == 250)
  }

  @Test("of a line one tries, and twice as many with each success; a failure makes it one again")
  func line() {
    var holds = StartHolds()
    for number in 1...10 { #expect(holds.failed(queue(number), full, reason: "full", at: start) == []) }
    #expect(holds.elapsed(at: at(250)) == [.tryOne(queue(1))])
    #expect(holds.started(queue(1)) == [.open(queue(1)), .tryOne(queue(2)), .tryOne(queue(3))])
    // A width of four, of which one tries already.
    #expect(
      holds.started(queue(2)) == [.open(queue(2)), .tryOne(queue(4)), .tryOne(queue(5)), .tryOne(queue(6))])
    for number in 3...6 { #expect(holds.failed(queue(number), full, reason: "full", at: at(300)) == []) }
    #expect(holds.due == at(800))
    #expect(holds.elapsed(at: at(800)) == [.tryOne(queue(7))])
    // It has nothing to start any more: that says nothing, and the next one tries.
    #expect(holds.idle(queue(7)) == [.open(queue(7)), .tryOne(queue(8))])
    #expect(holds.forget(queue(8)) == [.tryOne(queue(9))])
    #expect(holds.forget(queue(3)) == [])
    #expect(Set(holds.holds.keys) == Set([4, 5, 6, 9, 10].map(queue)))
  }

  @Test("when a job's process has ended a queue tries at once, but not all the time")
  func roomMade() {
    var holds = StartHolds()
    _ = holds.failed(queue(1), full, reason: "full", at: start)
    #expect(holds.roomMade(at: at(30)) == [])
    #expect(holds.due == at(100))
    #expect(holds.roomMade(at: at(100)) == [.tryOne(queue(1))])
    #expect(holds.roomMade(at: at(101)) == [])
    _ = holds.failed(queue(1), full, reason: "full", at: at(110))
    #expect(holds.due == at(610))
    #expect(holds.roomMade(at: at(300)) == [.tryOne(queue(1))])
    // What a store waits for is not made by jobs.
    _ = holds.failed(queue(2), .store, reason: "away", pause: .seconds(1), at: at(300))
    #expect(holds.roomMade(at: at(900)) == [])
  }

  @Test("queues that wait for other things do not wait for each other")
  func causes() {
    var holds = StartHolds()
    let other = StartHolds.Cause.machine(code: -11, user: 7)
    _ = holds.failed(queue(1), full, reason: "full", at: start)
    _ = holds.failed(queue(2), other, reason: "full", at: start)
    #expect(Set(holds.elapsed(at: at(250))) == [.tryOne(queue(1)), .tryOne(queue(2))])
    // One now waits for what the other waits for, and is behind it.
    #expect(holds.failed(queue(1), other, reason: "full", at: at(260)) == [])
    #expect(holds.holds[queue(1)]?.cause == other && holds.holds[queue(1)]?.since == start)
    #expect(holds.started(queue(2)) == [.open(queue(2)), .tryOne(queue(1))])
  }

  @Test("a failure of a job that was started beside the first one changes nothing")
  func late() {
    var holds = StartHolds()
    _ = holds.failed(queue(1), full, reason: "full", at: start)
    for time in [1, 200, 249] { #expect(holds.failed(queue(1), full, reason: "full", at: at(time)) == []) }
    #expect(holds.due == at(250))
    #expect(holds.started(queue(1)) == [])
    #expect(holds.idle(queue(1)) == [])
    #expect(!holds.isEmpty)
  }

  @Test("over random histories no queue is forgotten, none tries too often, and all go on when there is room")
  func random() {
    for _ in 0..<500 {
      let seed = UInt64.random(in: 0...(.max))
      var world = World(seed: seed)
      world.run()
      #expect(world.faults.isEmpty, "seed \(seed): \(world.faults.prefix(3))")
    }
  }
}

/// Queues on a machine that is short of one thing or another at times, in virtual time.
private struct World {
  private enum Event {
    /// A job comes to a queue.
    case arrival(Int)
    /// What was begun is seen to go, or not.
    case outcome(Int)
    case roomMade
    case elapsed
    case forget(Int)
  }

  private var generator: SeededGenerator
  private var holds = StartHolds()
  private var now = ContinuousClock.now
  private let origin: ContinuousClock.Instant
  private var events: [(time: ContinuousClock.Instant, event: Event)] = []
  private let queues: Int
  /// For each thing the time at which there is enough of it for good.
  private let ends: [ContinuousClock.Instant]
  private let needs: [Set<Int>]
  private var waiting: [Int]
  private var trying: Set<Int> = []
  private var tries = 0
  private var happenings = 0
  private(set) var faults: [String] = []

  init(seed: UInt64) {
    generator = SeededGenerator(seed: seed)
    origin = now
    queues = generator.number(1...12)
    let things = generator.number(1...3)
    let last = generator.number(0...20_000)
    let start = now
    var random = generator
    ends = (0..<things).map { _ in start + .milliseconds(random.number(0...max(1, last))) }
    needs = (0..<queues).map { _ in Set((0..<things).filter { _ in random.number(0...1) == 0 }) }
    generator = random
    waiting = Array(repeating: 0, count: queues)
    for queue in 0..<queues {
      for _ in 0..<generator.number(1...4) { add(.arrival(queue), after: generator.number(0...last + 1)) }
      if generator.number(0...5) == 0 { add(.forget(queue), after: generator.number(0...last + 1)) }
    }
    for _ in 0..<generator.number(0...10) { add(.roomMade, after: generator.number(0...last + 1)) }
  }

  private mutating func add(_ event: Event, after milliseconds: Int) {
    events.append((now + .milliseconds(milliseconds), event))
  }

  private func name(_ queue: Int) -> QueueName { QueueName(trusted: "\(queue)") }

  mutating func run() {
    while let index = events.indices.min(by: { events[$0].time < events[$1].time }) {
      if let due = holds.due, due < events[index].time {
        now = max(now, due)
        carryOut(holds.elapsed(at: now))
      } else {
        let (time, event) = events.remove(at: index)
        now = max(now, time)
        happen(event)
      }
      check()
      guard faults.isEmpty else { return }
    }
    // Nothing happens any more but the passing of time.
    while let due = holds.due {
      now = max(now, due)
      carryOut(holds.elapsed(at: now))
      while let index = events.indices.min(by: { events[$0].time < events[$1].time }) {
        let (time, event) = events.remove(at: index)
        now = max(now, time)
        happen(event)
      }
      check()
      if now > ends.max()! + .seconds(10) && !holds.isEmpty { faults.append("still on hold 10 s after the shortage") }
      guard faults.isEmpty else { return }
    }
    if !holds.isEmpty { faults.append("on hold for ever: \(holds.holds)") }
    if waiting.contains(where: { $0 > 0 }) { faults.append("jobs wait for ever: \(waiting)") }
    // Each happening may cause tries at once, a success those of the rest of the line; time alone, one for each pause.
    let causes: Int = 2 * queues * (happenings + ends.count)
    let pauses = Int((now - origin) / .milliseconds(500))
    let bound: Int = 8 + causes + pauses * ends.count
    if tries > bound { faults.append("\(tries) tries, more than \(bound)") }
  }

  private mutating func happen(_ event: Event) {
    happenings += 1
    switch event {
    case .arrival(let queue):
      waiting[queue] += 1
      if holds.holds[name(queue)] == nil && !trying.contains(queue) { begin(queue) }
    case .outcome(let queue):
      happenings -= 1
      trying.remove(queue)
      if let missing = needs[queue].filter({ ends[$0] > now }).min() {
        waiting[queue] += 1
        let cause = StartHolds.Cause.machine(code: Int32(missing), user: nil)
        carryOut(holds.failed(name(queue), cause, reason: "short", at: now))
      } else {
        carryOut(holds.started(name(queue)))
        if waiting[queue] > 0, holds.holds[name(queue)] == nil, !trying.contains(queue) { begin(queue) }
      }
    case .roomMade: carryOut(holds.roomMade(at: now))
    case .elapsed: carryOut(holds.elapsed(at: now))
    case .forget(let queue):
      waiting[queue] = 0
      carryOut(holds.forget(name(queue)))
    }
  }

  private mutating func begin(_ queue: Int) {
    guard waiting[queue] > 0 else { return }
    waiting[queue] -= 1
    trying.insert(queue)
    tries += 1
    add(.outcome(queue), after: generator.number(0...60))
  }

  private mutating func carryOut(_ directives: [StartHolds.Directive]) {
    var rest = directives[...]
    while let directive = rest.popFirst() {
      switch directive {
      case .open(let name):
        if holds.holds[name] != nil { faults.append("\(name) is open and on hold") }
        let queue = Int(name.rawValue)!
        if !trying.contains(queue) { begin(queue) }
      case .tryOne(let name):
        if holds.holds[name] == nil { faults.append("\(name) tries and is not on hold") }
        let queue = Int(name.rawValue)!
        if trying.contains(queue) || waiting[queue] == 0 { rest += holds.idle(name) } else { begin(queue) }
      }
    }
  }

  private mutating func check() {
    // Whoever is on hold is tried at some time: there is a time for it, or somebody of its line tries.
    let held = holds.holds.filter { !trying.contains(Int($0.key.rawValue)!) }
    if !held.isEmpty && trying.isEmpty && holds.due == nil { faults.append("nobody tries, ever: \(held)") }
  }
}

extension SeededGenerator {
  fileprivate mutating func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self) }
}
