import EventLoop
import Synchronization
import Testing

// Waiting for a condition, and for a value: no wake-up and no cancellation is lost, and nothing is left behind. Each test
// runs with tasks that prefer the loop and with tasks that do not, because Swift resumes the two in different ways.

@Suite("Waiting for a condition", .timeLimit(.minutes(2)))
struct WaitersTests {
  @Test("a condition that changes between the check and the suspension is noticed", arguments: Starter.allCases)
  func changeBeforeSuspension(_ starter: Starter) async throws {
    try await withGate { gate in
      // Nobody calls `resumeAll`: what is seen in the step that would suspend the task ends the wait.
      await starter.start(on: gate) { await $0.waitForSecondEvaluation() }.expect(3)
      await starter.start(on: gate) { await $0.waitForSecondEvaluationUnlessCancelled() }.expect(3)
    }
  }

  @Test("a wake-up that is on its way when the wait begins is not lost", arguments: Starter.allCases)
  func wakeUpUnderWay(_ starter: Starter) async throws {
    try await withGate { gate in
      for _ in 0..<100 { await starter.start(on: gate) { await $0.passWhileItOpens() }.expect(true) }
    }
  }

  @Test("a wake-up ends no wait whose condition still holds", arguments: Starter.allCases)
  func uselessWakeUps(_ starter: Starter) async throws {
    try await withGate { gate in
      let pass = starter.start(on: gate) { await $0.pass() }
      for _ in 0..<3 {
        try await gate.untilWaiting(1)
        await gate.resumeAll()
      }
      try await gate.untilWaiting(1)
      #expect(!pass.hasEnded)
      await gate.open()
      await pass.expect(true)
    }
  }

  @Test("no two tasks find the same condition at the end of their waits", arguments: Starter.allCases)
  func exclusion(_ starter: Starter) async throws {
    try await withGate { gate in
      let passes = (0..<50).map { _ in starter.start(on: gate) { await $0.passAndShut() } }
      try await gate.untilWaiting(50)
      for passed in 1...50 {
        await gate.open()
        try #require(await eventually { await gate.passed >= passed })
        #expect(await gate.passed == passed)
        try await gate.untilWaiting(50 - passed)
      }
      for pass in passes { await pass.expect(true) }
    }
  }

  @Test("tasks are resumed in the order in which they began to wait")
  func order() async throws {
    try await withGate { gate in
      let order = Log(threads: 1)
      for number in 0..<5 {
        _ = Starter.withPreference.start(on: gate) {
          _ = await $0.pass()
          order.add(number, of: 0)
          return true
        }
        try await gate.untilWaiting(number + 1)
      }
      await gate.open()
      await eventually { order.count(of: 0) == 5 }
      #expect(order.numbers(of: 0) == [0, 1, 2, 3, 4])
    }
  }

  @Test("a cancellation before a wait, or during it, ends it", arguments: Starter.allCases)
  func cancellation(_ starter: Starter) async throws {
    try await withGate { gate in
      let before = starter.start(on: gate) {
        withUnsafeCurrentTask { $0?.cancel() }
        return await $0.passUnlessCancelled()
      }
      await before.expect(false)
      let during = starter.start(on: gate) { await $0.passUnlessCancelled() }
      try await gate.untilWaiting(1)
      during.cancel()
      await during.expect(false)
      #expect(await gate.isEmpty)
    }
  }

  @Test("a cancellation that comes with the wake-up, or later, changes nothing", arguments: Starter.allCases)
  func lateCancellation(_ starter: Starter) async throws {
    try await withGate { gate in
      let pass = starter.start(on: gate) { await $0.passUnlessCancelled() }
      try await gate.untilWaiting(1)
      await gate.open { pass.cancel() }
      await pass.expect(true)
      // Of that cancellation nothing is left for the next wait.
      await gate.shut()
      let next = starter.start(on: gate) { await $0.passUnlessCancelled() }
      try await gate.untilWaiting(1)
      pass.cancel()
      await gate.open()
      await next.expect(true)
    }
  }

  @Test("a cancellation from another thread at any moment ends its wait and no other", arguments: Starter.allCases)
  func cancellationRace(_ starter: Starter) async throws {
    try await withGate { gate in
      let other = starter.start(on: gate) { await $0.passUnlessCancelled() }
      try await gate.untilWaiting(1)
      for _ in 0..<500 {
        let wait = starter.start(on: gate) { await $0.passUnlessCancelled() }
        await Task.detached { wait.cancel() }.value
        await wait.expect(false)
      }
      #expect(!other.hasEnded)
      await gate.open()
      await other.expect(true)
    }
  }

  @Test("a wait that cannot be cancelled goes on", arguments: Starter.allCases)
  func noCancellation(_ starter: Starter) async throws {
    try await withGate { gate in
      let pass = starter.start(on: gate) { await $0.pass() }
      try await gate.untilWaiting(1)
      pass.cancel()
      await gate.resumeAll()
      try await gate.untilWaiting(1)
      #expect(!pass.hasEnded)
      await gate.open()
      await pass.expect(true)
    }
  }

  @Test("a wait ends when its time has passed and not before, however often it is woken", arguments: Starter.allCases)
  func time(_ starter: Starter) async throws {
    try await withGate { gate in
      let start = SuspendingClock.now
      let pass = starter.start(on: gate) { await $0.passUnlessCancelled(atMost: .milliseconds(50)) }
      await eventually { await gate.waiting == 1 || pass.hasEnded }
      await gate.resumeAll()
      await pass.expect(false)
      #expect(start.duration(to: .now) >= .milliseconds(50))
      for time in [Duration.zero, .seconds(-1)] {
        await starter.start(on: gate) { await $0.passUnlessCancelled(atMost: time) }.expect(false)
      }
    }
  }

  @Test("a wait that ends before its time leaves no timer", arguments: Starter.allCases)
  func noTimerLeft(_ starter: Starter) async throws {
    try await withGate { gate in
      let pass = starter.start(on: gate) { await $0.passUnlessCancelled(atMost: .seconds(3600)) }
      try await gate.untilWaiting(1)
      await gate.resumeAll()
      try await gate.untilWaiting(1)
      await gate.open()
      await pass.expect(true)
      // `withLoop` finds it otherwise.
    }
  }
}

@Suite("Waiting for a value", .timeLimit(.minutes(2)))
struct PromiseTests {
  @Test("a value reaches those who wait before it and after it, and stays", arguments: Starter.allCases)
  func value(_ starter: Starter) async throws {
    try await withGate { gate in
      let early = (0..<3).map { _ in starter.start(on: gate) { await $0.value() } }
      let cancellable = starter.start(on: gate) { await $0.valueUnlessCancelled(atMost: .seconds(3600)) }
      await eventually { await gate.asked == 4 }
      #expect(await gate.current == nil)
      #expect(await gate.resolve(1))
      #expect(await !gate.resolve(2))
      #expect(await gate.current == 1)
      for wait in early { await wait.expect(1) }
      await cancellable.expect(1)
      await starter.start(on: gate) { await $0.value() }.expect(1)
    }
  }

  @Test("without a value, a cancellation and the end of the time end the wait", arguments: Starter.allCases)
  func noValue(_ starter: Starter) async throws {
    try await withGate { gate in
      let cancelled = starter.start(on: gate) { await $0.valueUnlessCancelled() }
      cancelled.cancel()
      await cancelled.expect(nil)
      let late = starter.start(on: gate) { await $0.valueUnlessCancelled(atMost: .milliseconds(1)) }
      await late.expect(nil)
      #expect(await gate.resolve(3))
      await starter.start(on: gate) { await $0.valueUnlessCancelled() }.expect(3)
    }
  }

  @Test("a value that comes together with a cancellation is not lost", arguments: Starter.allCases)
  func valueAndCancellation(_ starter: Starter) async throws {
    try await withGate { gate in
      let wait = starter.start(on: gate) { await $0.valueUnlessCancelled() }
      await eventually { await gate.asked == 1 }
      #expect(await gate.resolve(4) { wait.cancel() })
      await wait.expect(4)
    }
  }
}

/// How a task that waits on a loop is made.
enum Starter: CaseIterable {
  case withPreference
  case withoutPreference

  fileprivate func start<Value: Sendable & Equatable>(
    on gate: Gate, _ body: @escaping @Sendable (Gate) async -> Value
  ) -> Started<Value> {
    let started = Started<Value>()
    started.use(task(on: gate.loop) { started.end(await body(gate)) })
    return started
  }

  func task<Value: Sendable>(on loop: EventLoop, _ body: @escaping @Sendable () async -> Value) -> Task<Value, Never> {
    switch self {
    case .withPreference: Task(executorPreference: loop) { await body() }
    case .withoutPreference: Task.detached { await body() }
    }
  }
}

/// A task whose end is waited for with a bound, so that one that hangs fails its test.
private final class Started<Value: Sendable & Equatable>: Sendable {
  private let state = Mutex<(value: Value?, task: Task<Void, Never>?)>((nil, nil))

  func use(_ task: Task<Void, Never>) { state.withLock { $0.task = task } }
  func end(_ value: Value) { state.withLock { $0.value = value } }
  func cancel() { state.withLock(\.task)?.cancel() }
  var hasEnded: Bool { state.withLock { $0.value != nil } }

  func expect(_ expected: Value, sourceLocation: SourceLocation = #_sourceLocation) async {
    await eventually { hasEnded }
    let value = state.withLock(\.value)
    #expect(value == .some(expected), "`nil` when it did not end", sourceLocation: sourceLocation)
  }
}

private func withGate(_ body: @escaping @Sendable (Gate) async throws -> Void) async throws {
  try await withLoop { try await body(Gate(loop: $0)) }
}

/// An actor of a loop with something to wait for.
private actor Gate {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private let waiters: Waiters
  private let promise: Promise<Int>
  private var isShut = true
  /// Tasks that wait, since the last wake-up.
  private(set) var waiting = 0
  private(set) var passed = 0
  /// Tasks that have asked for the value.
  private(set) var asked = 0

  init(loop: EventLoop) {
    self.loop = loop
    waiters = Waiters(on: loop)
    promise = Promise(on: loop)
  }

  // MARK: The condition

  func shut() { isShut = true }

  func open(_ then: @Sendable () -> Void = {}) {
    isShut = false
    resumeAll()
    then()
  }

  func resumeAll() {
    waiting = 0
    waiters.resumeAll()
  }

  var isEmpty: Bool { waiters.isEmpty }

  func untilWaiting(_ count: Int) async throws {
    try #require(await eventually { waiting == count }, "\(waiting) tasks wait instead of \(count)")
  }

  /// A wait evaluates its condition twice before it suspends its task, the second time in the same step.
  private func evaluate(_ evaluations: inout Int) -> Bool {
    evaluations += 1
    if isShut && evaluations.isMultiple(of: 2) { waiting += 1 }
    return isShut
  }

  func pass() async -> Bool {
    var evaluations = 0
    await waiters.wait(while: { evaluate(&evaluations) })
    return !isShut
  }

  func passUnlessCancelled(atMost time: Duration? = nil) async -> Bool {
    var evaluations = 0
    return await waiters.waitUnlessCancelled(while: { evaluate(&evaluations) }, atMost: time)
  }

  func passAndShut() async -> Bool {
    guard await pass() else { return false }
    isShut = true
    passed += 1
    return true
  }

  /// Has the gate open as soon as anything else runs on the loop.
  func passWhileItOpens() async -> Bool {
    isShut = true
    loop.execute { self.assumeIsolated { $0.open() } }
    return await pass()
  }

  func waitForSecondEvaluation() async -> Int {
    var evaluations = 0
    await waiters.wait(while: {
      evaluations += 1
      return evaluations == 1
    })
    return evaluations
  }

  func waitForSecondEvaluationUnlessCancelled() async -> Int {
    var evaluations = 0
    await waiters.waitUnlessCancelled(while: {
      evaluations += 1
      return evaluations == 1
    })
    return evaluations
  }

  // MARK: The value

  var current: Int? { promise.current }

  func resolve(_ value: Int, _ then: @Sendable () -> Void = {}) -> Bool {
    defer { then() }
    return promise.resolve(value)
  }

  func value() async -> Int {
    asked += 1
    return await promise.value()
  }

  func valueUnlessCancelled(atMost time: Duration? = nil) async -> Int? {
    asked += 1
    return await promise.valueUnlessCancelled(atMost: time)
  }
}
