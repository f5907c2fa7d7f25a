import EventLoop
import Glibc
import Synchronization
import Testing

// The loop as an executor: what runs on its thread, and in which order. The thread is told apart by its name, which the
// system keeps, so that the loop's own idea of where it is is tested too. How a loop ends is in StoppingTests.

@Suite("The loop as an executor", .timeLimit(.minutes(1)))
struct ExecutorTests {
  @Test("an actor whose executor is the loop runs on the loop's thread, also after it has waited")
  func actor() async throws {
    let loop = try EventLoop(name: "an-actor")
    loop.start()
    #expect(threadName() != "an-actor" && !loop.isCurrent)
    #expect(try await Room(loop: loop).aroundWaits() == [String](repeating: "an-actor", count: 4))
    #expect(threadName() != "an-actor" && !loop.isCurrent)
    await loop.stop()
  }

  @Test("a task that prefers the loop runs on it, and so do its children and what it calls concurrently")
  func preference() async throws {
    let loop = try EventLoop(name: "a-task")
    loop.start()
    let names = await Task(executorPreference: loop) {
      async let child = threadName()
      var names = [threadName(), await child, await threadNameConcurrently()]
      await Task.yield()
      names.append(threadName())
      return await withTaskGroup(of: String.self) { group in
        for _ in 0..<10 { group.addTask { threadName() } }
        return await group.reduce(into: names) { $0.append($1) }
      }
    }.value
    #expect(names == [String](repeating: "a-task", count: 14))
    await loop.stop()
  }

  @Test("a call from one loop's actor to another loop's comes back to its own thread")
  func twoLoops() async throws {
    let (first, second) = (try EventLoop(name: "loop-1"), try EventLoop(name: "loop-2"))
    first.start()
    second.start()
    let (here, there) = (Room(loop: first), Room(loop: second))
    for _ in 0..<1000 { #expect(await here.visit(there) == ["loop-1", "loop-2", "loop-1"]) }
    await first.stop()
    await second.stop()
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
    let loop = try EventLoop(name: "order")
    loop.start()
    let log = Log(threads: threads)
    let started = (0..<threads).map { thread in
      startThread {
        for number in 0..<each {
          switch handover {
          case .bodies: loop.execute { log.add(number, of: thread) }
          case .tasks: Task(executorPreference: loop) { log.add(number, of: thread) }
          }
        }
      }
    }
    for thread in started { join(thread) }
    await loop.stop()
    for thread in 0..<threads {
      #expect(log.count(of: thread) == each)
      #expect(log.firstOutOfOrder(of: thread) == nil)
    }
    #expect(log.runners == ["order"])
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

  func here() -> String { threadName() }
  func visit(_ other: Room) async -> [String] { [threadName(), await other.here(), threadName()] }

  func aroundWaits() async throws -> [String] {
    var names = [threadName()]
    await Task.yield()
    names.append(threadName())
    try await loop.sleep(for: .milliseconds(1))
    names.append(threadName())
    try await Task.sleep(for: .milliseconds(1))
    return names + [threadName()]
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
  private let state: Mutex<(numbers: [[Int]], runners: Set<String>)>
  init(threads: Int) { state = Mutex(([[Int]](repeating: [], count: threads), [])) }

  func add(_ number: Int, of thread: Int) {
    state.withLock {
      $0.numbers[thread].append(number)
      // To look at each is slow.
      if number % 1000 == 0 { $0.runners.insert(threadName()) }
    }
  }

  func numbers(of thread: Int) -> [Int] { state.withLock { $0.numbers[thread] } }
  func count(of thread: Int) -> Int { state.withLock { $0.numbers[thread].count } }
  /// The first place where they are not 0, 1, 2, …
  func firstOutOfOrder(of thread: Int) -> Int? { numbers(of: thread).enumerated().first { $0 != $1 }?.offset }
  var runners: Set<String> { state.withLock { $0.runners } }
}

/// The name that the system has for the calling thread (proc(5), `/proc/thread-self/comm`).
func threadName() -> String {
  guard let file = fopen("/proc/thread-self/comm", "r") else { return "" }
  defer { fclose(file) }
  var name = [CChar](repeating: 0, count: 32)
  guard fgets(&name, Int32(name.count), file) != nil else { return "" }
  return String(decoding: name.prefix { $0 != 0 && $0 != 10 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

@concurrent private func threadNameConcurrently() async -> String { threadName() }

/// A thread that Swift's concurrency knows nothing of.
func startThread(_ body: @escaping @Sendable () -> Void) -> pthread_t {
  final class Box {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }
  var thread = pthread_t()
  let error = pthread_create(
    &thread, nil,
    { argument in
      Unmanaged<Box>.fromOpaque(argument!).takeRetainedValue().body()
      return nil
    }, Unmanaged.passRetained(Box(body)).toOpaque())
  precondition(error == 0, "cannot create a thread: \(error)")
  return thread
}

func join(_ thread: pthread_t) { pthread_join(thread, nil) }
