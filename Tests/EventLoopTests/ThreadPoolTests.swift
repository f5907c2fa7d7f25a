import EventLoop
import Glibc
import Testing

// Blocking work beside the loop. That the loop goes on meanwhile is shown by work that only the loop can end: it reads
// from a pipe into which the loop writes.

@Suite("The thread pool", .timeLimit(.minutes(5)))
struct ThreadPoolTests {
  struct Failure: Error, Equatable {
    let number: Int
  }

  @Test("work runs off the loop, its value comes back on the caller's thread", arguments: [true, false])
  func value(isOnLoop: Bool) async throws {
    let loop = try EventLoop()
    loop.start()
    let loopThread = await thread(of: loop)
    let (worker, caller) = try await Task(executorPreference: isOnLoop ? loop : globalConcurrentExecutor) {
      let worker = try await loop.blocking { (TestThread.current, loop.isCurrent) }
      return (worker, (TestThread.current, loop.isCurrent))
    }.value
    #expect(!worker.1 && worker.0 != loopThread)
    #expect(caller.1 == isOnLoop && (caller.0 == loopThread) == isOnLoop)
    await loop.stop()
  }

  @Test("an error that work throws comes back as it is")
  func failure() async throws {
    try await withLoop { loop in
      await #expect(throws: Failure(number: 7)) { try await loop.blocking { throw Failure(number: 7) } }
      await #expect(throws: UVError(code: UVError.noSpace, operation: "test")) {
        try await loop.blocking { throw UVError(code: UVError.noSpace, operation: "test") }
      }
    }
  }

  @Test("the loop goes on while work blocks")
  func loopGoesOn() async throws {
    try await withLoop { loop in
      let gate = Gate()
      let work = Task(executorPreference: loop) { try await loop.blocking { gate.wait() } }
      let timer = Timer(on: loop)
      var firings = 0
      timer.schedule(after: .milliseconds(1), repeating: .milliseconds(1)) {
        firings += 1
        if firings == 5 { gate.open() }
      }
      let isOpen = try await work.value
      #expect(isOpen, "the loop stood still")
      #expect(firings >= 5)
      timer.close()
    }
  }

  @Test("more work than threads all runs, each with its own value")
  func many() async throws {
    try await withLoop { loop in
      let results = try await withThrowingTaskGroup(of: (Int, Int).self) { group in
        for number in 0..<500 {
          group.addTask { (number, try await loop.blocking { number * number }) }
        }
        return try await group.reduce(into: [Int: Int]()) { $0[$1.0] = $1.1 }
      }
      #expect(results == Dictionary(uniqueKeysWithValues: (0..<500).map { ($0, $0 * $0) }))
    }
  }

  @Test("work of a cancelled task still runs to its end, and answers")
  func cancelled() async throws {
    try await withLoop { loop in
      let (started, gate) = (Shared(false), Gate())
      let work = Task(executorPreference: loop) {
        let isOpen = try await loop.blocking {
          started.value = true
          return gate.wait()
        }
        return (isOpen, Task.isCancelled)
      }
      #expect(await eventually { started.value })
      work.cancel()
      gate.open()
      let (isOpen, isCancelled) = try await work.value
      #expect(isOpen && isCancelled)
    }
  }

  @Test("two loops share the pool, and each gets its own answers")
  func twoLoops() async throws {
    try await withLoop { first in
      try await withLoop { second in
        for number in 0..<100 {
          async let one = first.blocking { number }
          async let two = second.blocking { -number }
          let (here, there) = (try await one, try await two)
          #expect(here == number && there == -number)
        }
      }
    }
  }

  @Test("the loop lets go of work and its value when they are done")
  func released() async throws {
    try await withLoop { loop in
      final class Token: Sendable {}
      weak var held: Token?
      do {
        let token = Token()
        held = token
        let same = try await loop.blocking { token }
        #expect(same === token)
      }
      #expect(await eventually { held == nil })
    }
  }
}

/// Lets a blocked thread go on, from any other thread: a pipe with a byte in it.
private final class Gate: Sendable {
  private let (input, output): (Int32, Int32)

  init() {
    var ends: [Int32] = [-1, -1]
    precondition(pipe(&ends) == 0, "cannot make a pipe: \(errno)")
    (input, output) = (ends[0], ends[1])
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
  }

  func open() { _ = write(output, [1], 1) }

  /// Blocks until the gate is open, at most 10 s.
  /// - Returns: whether it is.
  func wait() -> Bool {
    var descriptor = pollfd(fd: input, events: Int16(POLLIN), revents: 0)
    return poll(&descriptor, 1, 10_000) == 1
  }

  deinit {
    close(input)
    close(output)
  }
}
