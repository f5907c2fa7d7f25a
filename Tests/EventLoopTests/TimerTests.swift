import EventLoop
import Testing

// Timers and sleeping. A test that shows that something does not fire waits for a later timer, not for a while: libuv
// calls timers in the order of their times.

@Suite("Timers", .timeLimit(.minutes(5)))
struct TimerTests {
  @Test("a timer fires once, not before its time, and not within the call")
  func once() async throws {
    try await withLoop { loop in
      let (timer, later) = (Timer(on: loop), Timer(on: loop))
      let clock = ContinuousClock()
      let start = clock.now
      var firings: [Duration] = []
      var isOver = false
      timer.schedule(after: .milliseconds(20)) { firings.append(clock.now - start) }
      later.schedule(after: .milliseconds(80)) { isOver = true }
      #expect(firings.isEmpty)
      #expect(await eventually { isOver })
      #expect(firings.count == 1)
      #expect(firings.allSatisfy { $0 >= .milliseconds(20) })
      timer.close()
      later.close()
    }
  }

  @Test("times that are over, or below zero, fire in the next turn of the loop")
  func noTime() async throws {
    try await withLoop { loop in
      for time in [Duration.zero, .milliseconds(-5), .seconds(-1_000_000)] {
        let timer = Timer(on: loop)
        var firings = 0
        timer.schedule(after: time) { firings += 1 }
        #expect(firings == 0)
        #expect(await eventually { firings == 1 })
        timer.close()
      }
    }
  }

  @Test("timers fire in the order of their times, and those of one time in the order they were scheduled")
  func order() async throws {
    try await withLoop { loop in
      let times = [30, 10, 20, 10, 0, 30]
      let timers = times.map { _ in Timer(on: loop) }
      var fired: [Int] = []
      // Scheduled within less time than lies between two of them, however busy the machine is.
      var start = ContinuousClock.now
      repeat {
        start = ContinuousClock.now
        for (index, time) in times.enumerated() {
          timers[index].schedule(after: .milliseconds(time)) { fired.append(index) }
        }
      } while ContinuousClock.now - start > .milliseconds(5)
      #expect(await eventually { fired.count == times.count })
      #expect(fired == [4, 1, 3, 2, 0, 5])
      for timer in timers { timer.close() }
    }
  }

  @Test("a repeating timer fires until it is cancelled, here by its own handler")
  func repeating() async throws {
    try await withLoop { loop in
      let (timer, later) = (Timer(on: loop), Timer(on: loop))
      var firings = 0
      timer.schedule(after: .milliseconds(1), repeating: .milliseconds(2)) {
        firings += 1
        if firings == 5 { timer.cancel() }
      }
      #expect(await eventually { firings == 5 })
      var isOver = false
      later.schedule(after: .milliseconds(20)) { isOver = true }
      #expect(await eventually { isOver })
      #expect(firings == 5)
      timer.close()
      later.close()
    }
  }

  @Test("a timer that is cancelled or closed before its time does not fire")
  func cancelled() async throws {
    try await withLoop { loop in
      let (cancelled, closed, later) = (Timer(on: loop), Timer(on: loop), Timer(on: loop))
      var fired: [String] = []
      cancelled.schedule(after: .milliseconds(2)) { fired.append("cancelled") }
      closed.schedule(after: .milliseconds(2)) { fired.append("closed") }
      later.schedule(after: .milliseconds(20)) { fired.append("later") }
      cancelled.cancel()
      closed.close()
      // Neither is harmful again, and a closed timer takes nothing more.
      cancelled.cancel()
      closed.cancel()
      closed.schedule(after: .zero) { fired.append("closed") }
      #expect(await eventually { !fired.isEmpty })
      #expect(fired == ["later"])
      cancelled.schedule(after: .zero) { fired.append("again") }
      #expect(await eventually { fired == ["later", "again"] })
      cancelled.close()
      later.close()
    }
  }

  @Test("scheduling again replaces what was scheduled, also from the handler itself")
  func rescheduled() async throws {
    try await withLoop { loop in
      let timer = Timer(on: loop)
      var fired: [String] = []
      timer.schedule(after: .milliseconds(1), repeating: .milliseconds(1)) { fired.append("first") }
      timer.schedule(after: .milliseconds(10)) {
        fired.append("second")
        timer.schedule(after: .milliseconds(10)) { fired.append("third") }
      }
      #expect(await eventually { fired.count == 2 })
      #expect(fired == ["second", "third"])
      timer.close()
    }
  }

  @Test("a timer lets go of its handler when it fires for the last time, is cancelled, or is closed")
  func handlerReleased() async throws {
    try await withLoop { loop in
      final class Token { var firings = 0 }
      for ending in ["fired", "cancelled", "closed"] {
        let timer = Timer(on: loop)
        weak var held: Token?
        do {
          let token = Token()
          held = token
          timer.schedule(after: ending == "fired" ? .zero : .seconds(3600)) { token.firings += 1 }
        }
        #expect(held != nil)
        switch ending {
        case "fired": #expect(await eventually { held == nil }, "fired")
        case "cancelled": timer.cancel()
        default: timer.close()
        }
        #expect(held == nil, "\(ending)")
        timer.close()
      }
    }
  }

  @Test("a time beyond what libuv can count is a timer that does not fire, not a crash")
  func forEver() async throws {
    try await withLoop { loop in
      let (timer, later) = (Timer(on: loop), Timer(on: loop))
      var fired: [String] = []
      timer.schedule(after: .seconds(Int64.max), repeating: .seconds(Int64.max)) { fired.append("forever") }
      later.schedule(after: .milliseconds(5)) { fired.append("later") }
      #expect(await eventually { !fired.isEmpty })
      #expect(fired == ["later"])
      timer.close()
      later.close()
    }
  }
}
