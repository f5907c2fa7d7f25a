import EventLoop
import Glibc
import Testing

// Signals that the process gets. They are the whole process's, so this suite runs one test after another, and each
// signal is sent only while a source takes it. It goes to the process as kill(2) does, not to a thread as raise(3) does:
// a thread may block signals. SIGUSR1, SIGUSR2 and SIGWINCH are this suite's; LifetimeTests has SIGURG.

@Suite("SignalSource", .serialized, .timeLimit(.minutes(5)))
struct SignalTests {
  @Test("each signal is delivered to its own source, on the loop", arguments: [SIGUSR1, SIGUSR2])
  func delivery(signal: Int32) async throws {
    try await withLoop { loop in
      let other = signal == SIGUSR1 ? SIGUSR2 : SIGUSR1
      var (delivered, others, onLoop) = (0, 0, 0)
      let source = try SignalSource(signal, on: loop) {
        delivered += 1
        if loop.isCurrent { onLoop += 1 }
      }
      let otherSource = try SignalSource(other, on: loop) { others += 1 }
      for round in 1...3 {
        #expect(kill(getpid(), signal) == 0)
        #expect(delivered == round - 1, "not within the signal's own handler")
        #expect(await eventually { delivered == round })
      }
      #expect(kill(getpid(), other) == 0)
      #expect(await eventually { others == 1 })
      #expect(delivered == 3 && onLoop == 3)
      source.close()
      otherSource.close()
    }
  }

  @Test("a signal sent from another thread or process arrives")
  func fromElsewhere() async throws {
    try await withLoop { loop in
      var delivered = 0
      let source = try SignalSource(SIGUSR1, on: loop) { delivered += 1 }
      await TestThread { kill(getpid(), SIGUSR1) }.end()
      #expect(await eventually { delivered == 1 })
      let child = try ChildProcess.spawn(.shell("kill -USR1 $PPID"), on: loop)
      #expect(await child.exit().code == 0)
      #expect(await eventually { delivered == 2 })
      child.close()
      source.close()
    }
  }

  @Test("every source of a signal gets it, also those of another loop")
  func manySources() async throws {
    try await withLoop { first in
      var (one, two) = (0, 0)
      let sources = [
        try SignalSource(SIGUSR2, on: first) { one += 1 }, try SignalSource(SIGUSR2, on: first) { two += 1 },
      ]
      try await withLoop { second in
        var three = 0
        let source = try SignalSource(SIGUSR2, on: second) { three += 1 }
        #expect(kill(getpid(), SIGUSR2) == 0)
        #expect(await eventually { three == 1 })
        source.close()
      }
      #expect(await eventually { one == 1 && two == 1 })
      for source in sources { source.close() }
    }
  }

  @Test("a closed source delivers nothing, also of what was sent before it closed")
  func closed() async throws {
    try await withLoop { loop in
      var (closedDelivered, openDelivered) = (0, 0)
      let closed = try SignalSource(SIGUSR1, on: loop) { closedDelivered += 1 }
      let open = try SignalSource(SIGUSR1, on: loop) { openDelivered += 1 }
      #expect(kill(getpid(), SIGUSR1) == 0)
      closed.close()
      closed.close()
      #expect(await eventually { openDelivered == 1 })
      #expect(kill(getpid(), SIGUSR1) == 0)
      #expect(await eventually { openDelivered == 2 })
      #expect(closedDelivered == 0)
      open.close()
    }
  }

  @Test("a source may close itself in its handler, and lets go of the handler")
  func closedInHandler() async throws {
    try await withLoop { loop in
      final class Token { var delivered = 0 }
      let other = try SignalSource(SIGUSR2, on: loop) {}
      var source: SignalSource?
      weak var held: Token?
      do {
        let token = Token()
        held = token
        source = try SignalSource(SIGUSR2, on: loop) {
          token.delivered += 1
          source?.close()
        }
      }
      #expect(held != nil)
      #expect(kill(getpid(), SIGUSR2) == 0)
      #expect(await eventually { source!.isClosed && held == nil })
      source = nil
      other.close()
    }
  }

  @Test("after the last source is closed the signal acts as before")
  func restored() async throws {
    try await withLoop { loop in
      // Its default is to be ignored (signal(7)), so that it can be looked at without ending the test.
      let source = try SignalSource(SIGWINCH, on: loop) {}
      #expect(disposition(of: SIGWINCH) == .handled)
      source.close()
      #expect(disposition(of: SIGWINCH) == .byDefault)
    }
  }

  @Test("a signal that cannot be caught is an error and leaves no handle", arguments: [SIGKILL, SIGSTOP, 0, -1, 1000])
  func refused(signal: Int32) async throws {
    try await withLoop { loop in
      let error = #expect(throws: UVError.self) { try SignalSource(signal, on: loop) {} }
      #expect(error?.code == UVError.invalid)
      #expect(error?.operation == "watch signal \(signal)")
      #expect(await eventually { loop.liveHandles.isEmpty })
    }
  }

  private enum Disposition {
    case byDefault
    case ignored
    case handled
  }

  private func disposition(of signal: Int32) -> Disposition {
    var action = sigaction()
    sigaction(signal, nil, &action)
    switch unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) {
    case 0: return .byDefault
    case 1: return .ignored
    default: return .handled
    }
  }
}
