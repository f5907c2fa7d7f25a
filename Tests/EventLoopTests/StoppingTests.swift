import EventLoop
import Glibc
import Synchronization
import Testing

// How a loop ends: after what was enqueued, once, and with nothing of it left. What must end the process, or counts
// the whole process's threads and descriptors, runs in a process of its own.

@Suite("Stopping the loop", .timeLimit(.minutes(5)))
struct StoppingTests {
  @Test("stopping runs what was enqueued before, and drops what comes later")
  func dropping() async throws {
    let loop = try EventLoop()
    loop.start()
    let log = Log(threads: 1)
    for number in 0..<10_000 { loop.execute { log.add(number, of: 0) } }
    await loop.stop()
    #expect(log.count(of: 0) == 10_000 && log.firstOutOfOrder(of: 0) == nil)

    weak var dropped: Token?
    do {
      let token = Token()
      dropped = token
      loop.execute { log.add(token.number, of: 0) }
    }
    #expect(dropped == nil, "a stopped loop holds on to work")
    #expect(log.count(of: 0) == 10_000)
    #expect(!loop.isCurrent)
  }

  @Test("stopping waits for work on the thread pool, and for what follows it")
  func poolWork() async throws {
    let loop = try EventLoop()
    loop.start()
    let work = Task(executorPreference: loop) {
      let value = try await loop.blocking {
        usleep(30_000)
        return 41
      }
      await Task.yield()
      return value + 1
    }
    await loop.stop()
    #expect(try await work.value == 42)
  }

  @Test("several may stop a loop, at once or again; all return when it has ended")
  func together() async throws {
    let loop = try EventLoop()
    loop.start()
    let ended = Shared(false)
    loop.execute {
      usleep(10_000)
      ended.value = true
    }
    await withTaskGroup(of: Bool.self) { group in
      for _ in 0..<10 {
        group.addTask {
          await loop.stop()
          return ended.value
        }
      }
      for await hasEnded in group { #expect(hasEnded) }
    }
    await loop.stop()
  }

  @Test(
    "a loop that is stopped while threads enqueue runs a beginning of each thread's work, and nothing after its end")
  func race() async throws {
    for _ in 0..<50 {
      let loop = try EventLoop()
      loop.start()
      let (log, attempts) = (Log(threads: 3), Log(threads: 3))
      let isOver = Shared(false)
      let started = (0..<3).map { thread in
        TestThread {
          var number = 0
          while !isOver.value {
            for next in number..<number + 10 { loop.execute { log.add(next, of: thread) } }
            number += 10
            attempts.add(number, of: thread)
            // The loop ends in a moment when nothing is enqueued; there must be some.
            usleep(100)
          }
        }
      }
      #expect(await eventually { (0..<3).allSatisfy { log.count(of: $0) > 0 } })
      await loop.stop()
      let atEnd = (0..<3).map { log.count(of: $0) }
      for thread in 0..<3 {
        let before = attempts.count(of: thread)
        #expect(await eventually { attempts.count(of: thread) > before + 1 })
      }
      isOver.value = true
      for thread in started { await thread.end() }
      for thread in 0..<3 {
        #expect(log.count(of: thread) == atEnd[thread])
        #expect(log.firstOutOfOrder(of: thread) == nil)
      }
    }
  }

  @Test("a loop may run on a thread that is there already, until it is stopped")
  func callersThread() async throws {
    let loop = try EventLoop()
    let isOver = Shared(false)
    let own = Mutex<TestThread.ID?>(nil)
    let thread = TestThread {
      own.withLock { $0 = TestThread.current }
      loop.run()
      isOver.value = true
    }
    let (runner, isCurrent) = await Task(executorPreference: loop) { (TestThread.current, loop.isCurrent) }.value
    #expect(runner == own.withLock { $0 } && isCurrent)
    #expect(!isOver.value)
    await loop.stop()
    await thread.end()
    #expect(isOver.value)
  }

  @Test("loops leave neither threads nor descriptors behind, whether they ran or not")
  func nothingLeft() async throws {
    await #expect(processExitsWith: .success) {
      func useLoops() async throws {
        for _ in 0..<20 {
          let loop = try EventLoop()
          loop.start()
          try await loop.sleep(for: .milliseconds(1))
          await loop.stop()
          _ = try EventLoop()
        }
      }
      try await useLoops()
      let before = (countEntries("/proc/self/fd"), countEntries("/proc/self/task"))
      try await useLoops()
      let after = (countEntries("/proc/self/fd"), countEntries("/proc/self/task"))
      // Swift may start and open some of its own meanwhile, when it first needs them: fewer than a leak of each loop.
      precondition(before.0 > 2 && after.0 < before.0 + 10, "\(before.0) descriptors became \(after.0)")
      precondition(after.1 < before.1 + 10, "\(before.1) threads became \(after.1)")
    }
  }

  @Test("stopping a loop with an open handle ends the program, and names the handle")
  func openHandle() async throws {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      let loop = try EventLoop()
      loop.start()
      await Task(executorPreference: loop) { _ = Timer(on: loop) }.value
      await loop.stop()
    }
    let message = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
    #expect(message.contains(#"handles are open at the end of an event loop: ["timer"]"#))
  }

  @Test("a task on the loop that stops the loop ends the program instead of waiting for ever")
  func stopsItself() async throws {
    let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
      let loop = try EventLoop()
      loop.start()
      await LoopBody(loop: loop).stopItself()
    }
    let message = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
    #expect(message.contains("an event loop cannot wait for its own end"))
  }
}

extension LoopBody {
  fileprivate func stopItself() async { await loop.stop() }
}

private final class Token: Sendable {
  let number = -1
}

/// A flag between threads.
final class Shared: Sendable {
  private let flag: Atomic<Bool>
  init(_ value: Bool) { flag = Atomic(value) }
  var value: Bool {
    get { flag.load(ordering: .acquiring) }
    set { flag.store(newValue, ordering: .releasing) }
  }
}

/// Entries of a directory, such as those that proc(5) has for a process's descriptors and threads.
func countEntries(_ directory: String) -> Int {
  guard let stream = opendir(directory) else { return 0 }
  defer { closedir(stream) }
  var count = 0
  while readdir(stream) != nil { count += 1 }
  return count - 2
}
