import EventLoop
import Testing

// `sleep(for:)`: a timer that an asynchronous function waits for, and that a cancelled task does not.

@Suite("Sleeping", .timeLimit(.minutes(5)))
struct SleepTests {
  private static let anHour = Duration.seconds(3600)

  @Test("a sleep returns after its time, on and off the loop, and leaves no handle", arguments: [true, false])
  func returns(isOnLoop: Bool) async throws {
    try await withLoop { loop in
      for time in [Duration.milliseconds(1), .microseconds(1500), .milliseconds(20)] {
        let elapsed = try await Task(executorPreference: isOnLoop ? loop : globalConcurrentExecutor) {
          let start = ContinuousClock.now
          try await loop.sleep(for: time)
          #expect(loop.isCurrent == isOnLoop)
          return ContinuousClock.now - start
        }.value
        #expect(elapsed >= time)
      }
      #expect(await eventually { loop.liveHandles.isEmpty })
    }
  }

  @Test("a sleep of no time returns")
  func noTime() async throws {
    try await withLoop { loop in
      try await loop.sleep(for: .zero)
      try await loop.sleep(for: .seconds(-1))
      #expect(await eventually { loop.liveHandles.isEmpty })
    }
  }

  @Test("the shorter sleep ends first, whichever began first")
  func order() async throws {
    try await withLoop { loop in
      let hasEnded = Shared(false)
      let longer = Task(executorPreference: loop) {
        defer { hasEnded.value = true }
        try await loop.sleep(for: Self.anHour)
      }
      #expect(await eventually { loop.liveHandles == ["timer"] })
      try await loop.sleep(for: .milliseconds(5))
      #expect(!hasEnded.value)
      longer.cancel()
      await #expect(throws: CancellationError.self) { try await longer.value }
    }
  }

  @Test("a sleeper that is cancelled throws at once and leaves no handle", arguments: [true, false])
  func cancelled(isOnLoop: Bool) async throws {
    try await withLoop { loop in
      let sleeper = Task(executorPreference: isOnLoop ? loop : globalConcurrentExecutor) {
        try await loop.sleep(for: Self.anHour)
      }
      #expect(await eventually { loop.liveHandles == ["timer"] })
      sleeper.cancel()
      await #expect(throws: CancellationError.self) { try await sleeper.value }
      #expect(await eventually { loop.liveHandles.isEmpty })
    }
  }

  @Test("a task that is cancelled already does not sleep", arguments: [true, false])
  func alreadyCancelled(isOnLoop: Bool) async throws {
    try await withLoop { loop in
      let sleeper = Task(executorPreference: isOnLoop ? loop : globalConcurrentExecutor) {
        withUnsafeCurrentTask { $0?.cancel() }
        try await loop.sleep(for: Self.anHour)
      }
      await #expect(throws: CancellationError.self) { try await sleeper.value }
      #expect(await eventually { loop.liveHandles.isEmpty })
    }
  }

  @Test("a cancellation after the sleep changes nothing")
  func cancelledLate() async throws {
    try await withLoop { loop in
      let sleeper = Task(executorPreference: loop) {
        try await loop.sleep(for: .milliseconds(1))
        withUnsafeCurrentTask { $0?.cancel() }
        return Task.isCancelled
      }
      let isCancelled = try await sleeper.value
      #expect(isCancelled)
    }
  }

  @Test("of 2,000 sleepers, cancelled at any moment, each returns or throws, and no handle is left")
  func many() async throws {
    let seed = SystemRandomNumberGenerator().seed
    try await withLoop { loop in
      var random = SplitMix(state: seed)
      let sleepers = (0..<2000).map { _ in
        let time = Duration.microseconds(Int(random.next() % 20_000))
        return Task(executorPreference: random.next() % 2 == 0 ? loop : globalConcurrentExecutor) {
          try await loop.sleep(for: time)
        }
      }
      let victims = sleepers.filter { _ in random.next() % 2 == 0 }
      for (index, victim) in victims.enumerated() {
        victim.cancel()
        if index % 100 == 0 { try await loop.sleep(for: .milliseconds(1)) }
      }
      var returned = 0
      for sleeper in sleepers {
        do {
          try await sleeper.value
          returned += 1
        } catch {
          #expect(error is CancellationError, "seed \(seed)")
        }
      }
      #expect(returned >= sleepers.count - victims.count, "seed \(seed)")
      #expect(await eventually { loop.liveHandles.isEmpty }, "seed \(seed)")
    }
  }
}

extension SystemRandomNumberGenerator {
  /// A number to start a generator with that can be repeated.
  fileprivate var seed: UInt64 {
    var generator = self
    return generator.next()
  }
}
