import EventLoop
import Testing

// Calls between actors of one loop are plain calls: nothing else of the loop runs in between, whatever the task prefers.

@Suite("Switching between actors of a loop", .timeLimit(.minutes(2)))
struct SwitchingTests {
  @Test("nothing runs on the loop between calls to its actors", arguments: Starter.allCases)
  func calls(_ starter: Starter) async throws {
    try await withLoop { loop in
      let room = Room(loop: loop)
      #expect(await starter.task(on: loop) { await room.callsThatWereInterrupted(of: 100) }.value == 0)
    }
  }

  @Test("nothing runs on the loop between a check and the suspension that follows it", arguments: Starter.allCases)
  func suspension(_ starter: Starter) async throws {
    try await withLoop { loop in
      let room = Room(loop: loop)
      let task = starter.task(on: loop) { await room.waitsThatWereInterrupted(of: 100) }
      #expect(await eventually { await room.waits == 100 }, "a wake-up was lost")
      if await room.waits == 100 { #expect(await task.value == 0) }
    }
  }

  @Test("a task that prefers another loop is not interrupted either")
  func otherPreference() async throws {
    try await withLoop { loop in
      let other = try EventLoop()
      other.start()
      let room = Room(loop: loop)
      #expect(await Task(executorPreference: other) { await room.callsThatWereInterrupted(of: 100) }.value == 0)
      await Task.detached { await other.stop() }.value
    }
  }

  @Test("a task that yields lets everything run that was enqueued before", arguments: Starter.allCases)
  func yield(_ starter: Starter) async throws {
    try await withLoop { loop in
      let room = Room(loop: loop)
      #expect(await starter.task(on: loop) { await room.yieldsThatWereInterrupted(of: 100) }.value == 100)
    }
  }

  @Test("a call that leaves the actors of the loop comes back to them", arguments: Starter.allCases)
  func concurrentCalls(_ starter: Starter) async throws {
    try await withLoop { loop in
      let room = Room(loop: loop)
      #expect(await starter.task(on: loop) { await room.concurrentCallsThatCameBack(of: 100) }.value == 100)
    }
  }
}

/// An actor of a loop that watches what runs there besides itself.
private actor Room {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private let neighbour: Neighbour
  private var isBusy = false
  private var waiter: CheckedContinuation<Void, Never>?
  private var interruptions = 0
  private(set) var waits = 0

  init(loop: EventLoop) {
    self.loop = loop
    neighbour = Neighbour(loop: loop)
  }

  /// Enqueues something that runs as soon as anything but the present task does.
  private func watch() { loop.execute { self.assumeIsolated { $0.interruptions += 1 } } }

  func callsThatWereInterrupted(of count: Int) async -> Int {
    var interrupted = 0
    for _ in 0..<count {
      let before = interruptions
      watch()
      await neighbour.visit()
      await neighbour.visit()
      if interruptions != before { interrupted += 1 }
      await Task.yield()
    }
    return interrupted
  }

  /// The wait by hand that `Waiters` replaces: a wake-up between the check and the continuation's body would be lost.
  func waitsThatWereInterrupted(of count: Int) async -> Int {
    var interrupted = 0
    for _ in 0..<count {
      isBusy = true
      loop.execute { self.assumeIsolated { $0.endWait() } }
      while isBusy {
        let before = interruptions
        watch()
        await withCheckedContinuation {
          if interruptions != before { interrupted += 1 }
          waiter = $0
        }
      }
      waits += 1
    }
    return interrupted
  }

  private func endWait() {
    isBusy = false
    waiter?.resume()
    waiter = nil
  }

  func yieldsThatWereInterrupted(of count: Int) async -> Int {
    var interrupted = 0
    for _ in 0..<count {
      let before = interruptions
      watch()
      await Task.yield()
      if interruptions != before { interrupted += 1 }
    }
    return interrupted
  }

  func concurrentCallsThatCameBack(of count: Int) async -> Int {
    var back = 0
    for _ in 0..<count {
      await elsewhere()
      if loop.isCurrent { back += 1 }
    }
    return back
  }

  @concurrent private nonisolated func elsewhere() async {}
}

private actor Neighbour {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private var visits = 0

  init(loop: EventLoop) { self.loop = loop }
  func visit() { visits += 1 }
}
