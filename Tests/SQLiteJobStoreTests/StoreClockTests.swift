import Gossip
import Testing

@testable import SQLiteJobStore

// The store's time as a value: readings in, time and doubts out.

@Suite("The clock of a SQLite store")
struct StoreClockTests {
  private static let hour: Int64 = 3_600_000

  /// A machine whose clock may be wrong, and the time that has truly passed.
  private struct Machine {
    var truth: Int64 = 0
    /// How far the date is from the truth.
    var error: Int64 = 1_790_000_000_000
    var bootedAt: Int64 = -60_000
    var boot = 1

    var reading: StoreClock.Reading {
      .init(date: truth + error, sinceBoot: truth - bootedAt, bootID: "boot-\(boot)")
    }

    /// Is off for a while.
    mutating func reboot(after time: Int64) {
      truth += time
      bootedAt = truth
      boot += 1
    }
  }

  @Test("it counts the time that has passed, and no leap of the date")
  func leaps() {
    var machine = Machine()
    var clock = StoreClock(at: 0)
    #expect(clock.advance(to: machine.reading) == nil)
    machine.truth += 5000
    #expect(clock.advance(to: machine.reading) == nil)
    #expect(clock.time == 5000)
    for leap in [10 * 24 * Self.hour, -20 * 24 * Self.hour, 50 * 365 * 24 * Self.hour] {
      machine.error += leap
      machine.truth += 1000
      guard case .leapt? = clock.advance(to: machine.reading) else {
        Issue.record("\(leap) was not noticed")
        return
      }
      // Once a leap.
      #expect(clock.advance(to: machine.reading) == nil)
      #expect(clock.leap != nil)
    }
    #expect(clock.time == 8000)
  }

  @Test("a leap of less than an hour is none, one of more is; back where it was, the date is right again")
  func tolerance() {
    for (leap, isLeap) in [(Self.hour, false), (-Self.hour, false), (Self.hour + 1, true), (-Self.hour - 1, true)] {
      var machine = Machine()
      var clock = StoreClock(at: 0)
      _ = clock.advance(to: machine.reading)
      machine.error += leap
      #expect((clock.advance(to: machine.reading) != nil) == isLeap)
      #expect(clock.leap?.milliseconds == (isLeap ? leap : nil))
      machine.error -= leap
      #expect(clock.advance(to: machine.reading) == (isLeap ? .returned : nil))
      #expect(clock.leap == nil)
    }
  }

  @Test("a day of a steady date confirms it, and so does an operator")
  func confirmation() {
    var machine = Machine()
    var clock = StoreClock(at: 0)
    _ = clock.advance(to: machine.reading)
    machine.error += 100 * Self.hour
    _ = clock.advance(to: machine.reading)
    for _ in 0..<23 {
      machine.truth += Self.hour
      #expect(clock.advance(to: machine.reading) == nil)
    }
    machine.truth += Self.hour
    #expect(clock.advance(to: machine.reading) == .confirmed)
    #expect(clock.leap == nil)
    // A leap in between begins the day anew.
    machine.error -= 100 * Self.hour
    _ = clock.advance(to: machine.reading)
    machine.truth += 20 * Self.hour
    machine.error -= 50 * Self.hour
    _ = clock.advance(to: machine.reading)
    machine.truth += 20 * Self.hour
    #expect(clock.advance(to: machine.reading) == nil)
    #expect(clock.leap?.milliseconds == -150 * Self.hour)
    let time = clock.time
    let wasInDoubt = clock.confirm()
    #expect(wasInDoubt && clock.time == time && clock.leap == nil)
    #expect(clock.advance(to: machine.reading) == nil)
    let isInDoubt = clock.confirm()
    #expect(!isInDoubt)
  }

  @Test("a boot adds what the date says, up to an hour; that a machine was off for a week is told, and does not count")
  func boots() {
    for (off, counted, isTold) in [
      (0, 0, false), (600_000, 600_000, false), (Self.hour, Self.hour, false), (7 * 24 * Self.hour, 0, true),
    ] as [(Int64, Int64, Bool)] {
      var machine = Machine()
      var clock = StoreClock(at: 0)
      _ = clock.advance(to: machine.reading)
      machine.reboot(after: off)
      clock = StoreClock(clock.text)!
      #expect((clock.advance(to: machine.reading) != nil) == isTold)
      #expect(clock.time == counted)
    }
  }

  @Test("it comes back from its file as it was, and starts from the store's last end without one")
  func file() {
    var machine = Machine()
    var clock = StoreClock(at: 77)
    #expect(StoreClock(clock.text) == clock)
    _ = clock.advance(to: machine.reading)
    #expect(StoreClock(clock.text) == clock)
    machine.error -= 1_790_000_000_000
    _ = clock.advance(to: machine.reading)
    #expect(StoreClock(clock.text, atLeast: 3) == clock)
    #expect(StoreClock(clock.text, atLeast: 5000).time == 5000)
    for text in ["", "x", "1 2 3", "1 2 - - - - - -", "9223372036854775807 0 - - - - -", "1 x - - - - -"] {
      #expect(StoreClock(text) == nil, "\(text)")
      #expect(StoreClock(text, atLeast: 9) == StoreClock(at: 9))
    }
  }

  @Test("what passed between the last note of the time and a job's end is counted once")
  func notedLate() {
    func reading(_ time: Int64) -> StoreClock.Reading {
      StoreClock.Reading(date: 1_800_000_000_000 + time, sinceBoot: 5000 + time, bootID: "boot")
    }
    var clock = StoreClock(at: 100)
    _ = clock.advance(to: reading(0))
    // Killed ten minutes later, right after a job has ended.
    var next = StoreClock(clock.text, atLeast: 100 + 600_000)
    let event = next.advance(to: reading(601_000))
    #expect(next.time == 100 + 601_000 && event == nil && next.leap == nil)
  }

  @Test("whatever happens, the time never goes back, and is ahead of the truth by an hour a boot at most")
  func random() {
    let seed = UInt64.random(in: .min ... .max)
    var generator = SeededGenerator(seed: seed)
    for _ in 0..<500 {
      var machine = Machine()
      var clock = StoreClock(at: 0)
      _ = clock.advance(to: machine.reading)
      var boots: Int64 = 0
      for _ in 0..<60 {
        let before = clock
        switch Int.random(in: 0..<6, using: &generator) {
        case 0: machine.error += Int64.random(in: -500_000...500_000, using: &generator) * Self.hour / 1000
        case 1: machine.error = Int64.random(in: 0...2_000_000_000_000, using: &generator)
        case 2:
          machine.reboot(after: Int64.random(in: 0...200 * Self.hour, using: &generator))
          boots += 1
        case 3: clock = StoreClock(clock.text)!
        case 4: _ = clock.confirm()
        default: machine.truth += Int64.random(in: 0...10 * Self.hour, using: &generator)
        }
        _ = clock.advance(to: machine.reading)
        guard clock.time >= before.time, clock.time <= machine.truth + boots * Self.hour else {
          Issue.record("seed \(seed): \(clock.text) at \(machine)")
          return
        }
      }
    }
  }
}
