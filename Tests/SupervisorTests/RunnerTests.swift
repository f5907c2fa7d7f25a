import EventLoop
import Logging
import Testing

@testable import Supervisor

@Suite("A runner and its store", .timeLimit(.minutes(5)))
struct RunnerTests {
  /// A runner at concurrency 1 over a store that does what the test says.
  private func withRunner(
    _ body: @escaping @Sendable (Runner, ScriptedStore) async throws -> Void
  ) async throws {
    let loop = try EventLoop()
    loop.start()
    let scratch = ScratchDirectory()
    let result = await Task(executorPreference: loop) {
      let store = ScriptedStore(on: loop)
      let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
      let context = RunnerContext(
        loop: loop, store: store, executors: try Executors(),
        settings: JobSettings(node: NodeName(trusted: "n"), instance: "i"),
        processes: ProcessGuard(loop: loop, command: nil, logger: logger), launcher: try Launcher(),
        workspaces: try Workspaces(at: scratch.path, loop: loop, logger: logger), logger: logger)
      let queue = JobQueue(name: QueueName(trusted: "q"), loop: loop)
      let settings = RunnerSettings(name: RunnerName(trusted: "r"), queue: queue.name)
      let runner = Runner(settings, queue: queue, context: context, isStopped: false)
      await queue.add(runner, isOpen: true)
      try await body(runner, store)
      await runner.idle()
      await queue.drain()
    }.result
    await loop.stop()
    try result.get()
  }

  private func job(_ id: String, script: String? = nil) -> Job {
    Job(
      id: JobID(trusted: id), callerID: "", contextID: "", payload: script ?? id, runner: RunnerName(trusted: "r"),
      executor: script == nil ? .echo : .shell)
  }

  private func submit(_ id: String, script: String? = nil, to runner: Runner) async throws {
    try await runner.create(job(id, script: script))
    try await runner.start(JobID(trusted: id))
  }

  @Test("the next job's start is asked for while the end of the one before is being written, never before it")
  func endBeforeStart() async throws {
    try await withRunner { runner, store in
      await store.holdBackEnds(true)
      try await submit("a", to: runner)
      try await submit("b", to: runner)
      // The end of `a` is under way and not written: `b` may start now, so that both share a transaction.
      await store.waitForStep("start b")
      let steps = await store.steps
      #expect(steps.firstIndex(of: "finish a")! < steps.firstIndex(of: "start b")!, "\(steps)")
      #expect(await store.status("a") == .running)
      await store.holdBackEnds(false)
      #expect(try await store.finished(JobID(trusted: "b")).status == .completed)
      #expect(await store.status("a") == .completed)
    }
  }

  @Test("a job that cannot be started keeps its place, also while its record cannot be read")
  func putBack() async throws {
    try await withRunner { runner, store in
      await store.refuse("start a", .unavailable("away", retryAfterMilliseconds: 20), times: 3)
      await store.setUnreadable(true)
      for id in ["a", "b"] { try await submit(id, to: runner) }
      await store.waitForStep("finish b")
      await store.setUnreadable(false)
      _ = try await store.finished(JobID(trusted: "b"))
      let starts = await store.steps.filter { $0.hasPrefix("start") }
      #expect(starts == ["start a", "start a", "start a", "start a", "start b"])
    }
  }

  @Test("a start that was done before, and whose job cannot be read, is an error and not a success")
  func repeatedStart() async throws {
    try await withRunner { runner, store in
      await store.refuse("start a", .unavailable("away", retryAfterMilliseconds: 600_000))
      try await submit("a", to: runner)
      await store.waitForStep("start a")
      await store.setUnreadable(true)
      await #expect(throws: SupervisorError.store(.unavailable("not now", retryAfterMilliseconds: 1))) {
        try await runner.start(JobID(trusted: "a"))
      }
      await store.setUnreadable(false)
      // Once more in the backlog is no second time.
      try await runner.start(JobID(trusted: "a"))
      #expect(await runner.status().queued == 1)
    }
  }

  @Test("nothing of an attempt is written once a later runner of the node has the job")
  func overtaken() async throws {
    try await withRunner { runner, store in
      let id = JobID(trusted: "a")
      try await submit("a", script: "echo here; trap '' TERM; while :; do sleep 0.01; done", to: runner)
      while await runner.liveOutput(id)?.stdout.isEmpty != false {
        try await runner.context.loop.sleep(for: .milliseconds(2))
      }
      // Another node has recovered it, and the runner came back with it.
      let later = Runner(runner.settings, queue: runner.queue, context: runner.context, isStopped: false, epoch: 3)
      await later.take(id)
      await runner.killAll("the lease is lost")
      await runner.idle()
      let steps = await store.steps
      #expect(steps.contains("start a") && !steps.contains { ["finish a", "requeue a", "put back a"].contains($0) })
      #expect(await runner.context.held.holder(of: id) === later)
    }
  }

  @Test("a node that stood still beyond its lease makes no process, and its runner is as before")
  func leaseOverBeforeProcess() async throws {
    try await withRunner { runner, store in
      await runner.context.processes.expectLife(until: .now - .seconds(1))
      try await submit("a", script: "echo here", to: runner)
      await store.waitForStep("put back a")
      await runner.idle()
      let record = try await store.record(JobID(trusted: "a"))
      #expect(record.status == .queued && record.attempt == 0)
      #expect(await store.steps == ["enqueue a", "start a", "put back a"])
      // What is stopped later fails, and is not queued again.
      #expect(await !runner.handsBack)
    }
  }

  @Test("a job that the store calls running, though nobody here runs it, keeps its slot")
  func runsElsewhere() async throws {
    try await withRunner { runner, store in
      await store.refuse("start a", .wrongState(JobID(trusted: "a"), .running))
      for id in ["a", "b"] { try await submit(id, to: runner) }
      await store.waitForStep("start a")
      await runner.idle()
      #expect(await runner.status().queued == 1)
      #expect(await !store.steps.contains("start b"))
      await runner.queue.vacate(JobID(trusted: "a"), of: runner.name)
      #expect(try await store.finished(JobID(trusted: "b")).status == .completed)
    }
  }
}
