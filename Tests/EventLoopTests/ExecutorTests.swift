import EventLoop
import Foundation
import Synchronization
import Testing

// The loop as an executor: what runs on its thread, and in which order. Threads are compared as the system knows them, so
// that the loop's own idea of where it is is tested too. How a loop ends is in StoppingTests.

@Suite("The loop as an executor", .timeLimit(.minutes(5)))
struct ExecutorTests {
  @Test("an actor whose executor is the loop runs on the loop's thread, also after it has waited")
  func actor() async throws {
    try await withThread { (loop, thread) async throws in
      #expect(TestThread.current != thread && !loop.isCurrent)
      #expect(try await Room(loop: loop).aroundWaits() == [TestThread.ID](repeating: thread, count: 4))
      #expect(TestThread.current != thread && !loop.isCurrent)
    }
  }

  @Test("a task that prefers the loop runs on it, and so do its children and what it calls concurrently")
  func preference() async throws {
    try await withThread { (loop, thread) async throws in
      let threads = await Task(executorPreference: loop) {
        async let child = TestThread.current
        var threads = [TestThread.current, await child, await currentThreadConcurrently()]
        await Task.yield()
        threads.append(TestThread.current)
        return await withTaskGroup(of: TestThread.ID.self) { group in
          for _ in 0..<10 { group.addTask { TestThread.current } }
          return await group.reduce(into: threads) { $0.append($1) }
        }
      }.value
      #expect(threads == [TestThread.ID](repeating: thread, count: 14))
    }
  }

  @Test("a call from one loop's actor to another loop's comes back to its own thread")
  func twoLoops() async throws {
    try await withThread { (first, firstThread) async throws in
      try await withThread { (second, secondThread) async throws in
        #expect(firstThread != secondThread)
        let (here, there) = (Room(loop: first), Room(loop: second))
        for _ in 0..<1000 { #expect(await here.visit(there) == [firstThread, secondThread, firstThread]) }
      }
    }
  }

  @Test("code on the loop may assume the isolation of the loop's actors")
  func assumedIsolation() async throws {
    try await withLoop { loop in
      let room = Room(loop: loop)
      let isCurrent = await withCheckedContinuation { continuation in
        loop.execute { continuation.resume(returning: room.assumeIsolated { $0.loop.isCurrent }) }
      }
      #expect(isCurrent)
    }
  }

  /// What a thread hands to the loop. The two are not mixed: Swift may enqueue the body of a task once more than others.
  enum Handover: CaseIterable {
    case bodies
    case tasks
  }

  @Test("what eight threads enqueue all runs, in the order of each thread", arguments: Handover.allCases)
  func orderPerThread(_ handover: Handover) async throws {
    let (threads, each) = (8, 10_000)
    let loop = try EventLoop()
    loop.start()
    let loopThread = await thread(of: loop)
    let log = Log(threads: threads)
    let started = (0..<threads).map { thread in
      TestThread {
        for number in 0..<each {
          switch handover {
          case .bodies: loop.execute { log.add(number, of: thread) }
          case .tasks: Task(executorPreference: loop) { log.add(number, of: thread) }
          }
        }
      }
    }
    for thread in started { await thread.end() }
    await loop.stop()
    for thread in 0..<threads {
      #expect(log.count(of: thread) == each)
      #expect(log.firstOutOfOrder(of: thread) == nil)
    }
    #expect(log.runners == [loopThread])
  }

  @Test("what is executed on the loop runs in order, soon, but not within the call")
  func execute() async throws {
    try await withLoop { loop in
      let log = Log(threads: 1)
      for number in 0..<3 {
        loop.execute {
          log.add(number, of: 0)
          loop.execute { log.add(number + 10, of: 0) }
        }
      }
      #expect(log.numbers(of: 0) == [])
      #expect(await eventually { log.numbers(of: 0).count == 6 })
      #expect(log.numbers(of: 0) == [0, 1, 2, 10, 11, 12])
    }
  }

  @Test("more work at once than the loop runs in a row is all run, in order")
  func burst() async throws {
    try await withLoop { loop in
      let log = Log(threads: 1)
      for number in 0..<50_000 { loop.execute { log.add(number, of: 0) } }
      #expect(await eventually { log.count(of: 0) == 50_000 })
      #expect(log.firstOutOfOrder(of: 0) == nil)
    }
  }

  @Test("work that enqueues itself for ever keeps neither timers nor sockets waiting")
  func fairness() async throws {
    try await withLoop { loop in
      let treadmill = Treadmill(loop: loop)
      treadmill.step()
      let pair = try await Pair.make(on: loop)
      let inbox = Inbox(pair.server)
      pair.client.write([1, 2, 3])
      try await loop.sleep(for: .milliseconds(5))
      while inbox.bytes.count < 3 { try await loop.sleep(for: .milliseconds(1)) }
      #expect(inbox.bytes == [1, 2, 3])
      #expect(treadmill.steps > 1)
      treadmill.isStopped = true
      pair.close()
    }
  }
}

/// An actor that lives on a loop.
private actor Room {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  init(loop: EventLoop) { self.loop = loop }

  func here() -> TestThread.ID { TestThread.current }

  func visit(_ other: Room) async -> [TestThread.ID] {
    [TestThread.current, await other.here(), TestThread.current]
  }

  func aroundWaits() async throws -> [TestThread.ID] {
    var threads = [TestThread.current]
    await Task.yield()
    threads.append(TestThread.current)
    try await loop.sleep(for: .milliseconds(1))
    threads.append(TestThread.current)
    try await Task.sleep(for: .milliseconds(1))
    return threads + [TestThread.current]
  }
}

/// Enqueues itself again and again, on the loop's thread.
private final class Treadmill: @unchecked Sendable {
  // @unchecked: touched on the loop's thread only, which `step` checks.
  let loop: EventLoop
  var steps = 0
  var isStopped = false
  init(loop: EventLoop) { self.loop = loop }

  func step() {
    loop.preconditionCurrent()
    steps += 1
    if !isStopped { loop.execute { self.step() } }
  }
}

/// The numbers that ran, by the thread that enqueued them, and the threads that ran them.
final class Log: Sendable {
  private let state: Mutex<(numbers: [[Int]], runners: Set<TestThread.ID>)>
  init(threads: Int) { state = Mutex(([[Int]](repeating: [], count: threads), [])) }

  func add(_ number: Int, of thread: Int) {
    state.withLock {
      $0.numbers[thread].append(number)
      if number % 100 == 0 { $0.runners.insert(TestThread.current) }
    }
  }

  func numbers(of thread: Int) -> [Int] { state.withLock { $0.numbers[thread] } }
  func count(of thread: Int) -> Int { state.withLock { $0.numbers[thread].count } }
  /// The first place where they are not 0, 1, 2, …
  func firstOutOfOrder(of thread: Int) -> Int? { numbers(of: thread).enumerated().first { $0 != $1 }?.offset }
  var runners: Set<TestThread.ID> { state.withLock { $0.runners } }
}

/// A thread that Swift's concurrency knows nothing of.
final class TestThread: Sendable {
  /// As the system tells the threads of the process apart, as long as they live (pthread_self(3)).
  typealias ID = pthread_t
  static var current: ID { pthread_self() }

  private enum State {
    case running(waiting: [CheckedContinuation<Void, Never>])
    case ended
  }
  private let state = Mutex<State>(.running(waiting: []))

  init(_ body: @escaping @Sendable () -> Void) {
    Thread.detachNewThread { [self] in
      body()
      let waiting = state.withLock { state -> [CheckedContinuation<Void, Never>] in
        guard case .running(let waiting) = state else { return [] }
        state = .ended
        return waiting
      }
      for continuation in waiting { continuation.resume() }
    }
  }

  /// Waits until its body has returned, without holding a thread of the shared pool.
  func end() async {
    await withCheckedContinuation { continuation in
      let hasEnded = state.withLock { state in
        guard case .running(let waiting) = state else { return true }
        state = .running(waiting: waiting + [continuation])
        return false
      }
      if hasEnded { continuation.resume() }
    }
  }
}

@concurrent private func currentThreadConcurrently() async -> TestThread.ID { TestThread.current }

/// The thread that a loop runs on.
func thread(of loop: EventLoop) async -> TestThread.ID {
  await withCheckedContinuation { continuation in
    loop.execute { continuation.resume(returning: TestThread.current) }
  }
}

/// Runs a body beside a loop, with the thread that it runs on; not on the loop.
private func withThread(_ body: (EventLoop, TestThread.ID) async throws -> Void) async throws {
  let loop = try EventLoop()
  loop.start()
  try await body(loop, await thread(of: loop))
  await loop.stop()
}
