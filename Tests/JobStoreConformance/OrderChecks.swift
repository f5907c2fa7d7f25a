import Supervisor
import Testing

// What a node that starts must know: its unfinished jobs in their order, its runners in theirs.

extension StoreCheck {
  static let order = [
    StoreCheck("unfinished has queued and running jobs only") { under in
      for status in JobStatus.allCases { try await under.store.make(.sample("\(status)"), status) }
      let found = try await under.store.unfinished()
      #expect(found.map(\.status) == [.queued, .running])
      #expect(found.map(\.id.rawValue) == ["queued", "running"])
      #expect(found.map(\.attempt) == [0, 1])
      #expect(found.allSatisfy { $0.runner.rawValue == "runner" && $0.executor.rawValue == "shell" })
    },
    StoreCheck("unfinished is in the order of queueing, not of creation") { under in
      let store = under.store
      let ids = (0..<20).map { JobID(trusted: "job-\($0)") }
      for id in ids { _ = try await store.create(.created(.sample(id.rawValue))) }
      let queueing = ids.shuffled()
      for id in queueing { _ = try await store.transition(id, .enqueue(at: .at(1))) }
      #expect(try await store.unfinished().map(\.id) == queueing)
      #expect(try await under.reopen().unfinished().map(\.id) == queueing)
    },
    StoreCheck("every answer tells the place in the queue, and places are in the order of queueing") { under in
      let store = under.store
      let ids = (0..<60).map { JobID(trusted: "job-\($0)") }
      for id in ids where id.rawValue.hasSuffix("5") { _ = try await store.create(.created(.sample(id.rawValue))) }
      // At once, so that one commit takes many; some are created queued, some are queued later.
      let positions = try await concurrently(ids.count) { number in
        let id = ids[number]
        if id.rawValue.hasSuffix("5") { return try await store.transition(id, .enqueue(at: .at(1))).position }
        guard case .created(let record) = try await store.create(.queued(.sample(id.rawValue))) else { return nil }
        return record.position
      }
      let found = positions.compactMap(\.self)
      #expect(Set(found).count == ids.count)
      let unfinished = try await store.unfinished()
      #expect(unfinished.map(\.position) == found.sorted())
      #expect(unfinished.map(\.id) == zip(ids, found).sorted { $0.1 < $1.1 }.map(\.0))
      for (id, position) in zip(ids, found) { #expect(try await store.record(id).position == position) }
    },
    StoreCheck("a step is accepted before its call returns, and what is asked for then is not written before it") {
      under in
      let store = under.store
      for round in 0..<20 {
        let (first, second) = (JobID(trusted: "first-\(round)"), JobID(trusted: "second-\(round)"))
        try await store.make(.sample(first.rawValue), .running)
        try await store.make(.sample(second.rawValue), .queued)
        let next = Gate()
        async let start: JobRecord? = next.wait { try await store.transition(second, .start(at: .at(3))) }
        let end = Task {
          try await store.transition(first, .completed(), accepted: { next.open() })
        }
        #expect(try await start?.status == .running)
        // Whoever sees the second one run sees that the first one has ended.
        #expect(try await store.record(first).status == .completed)
        _ = try await end.value
      }
    },
    StoreCheck("a job that is queued again keeps the place of its first queueing") { under in
      var store = under.store
      let ids = ["a", "b", "c", "d"].map { JobID(trusted: $0) }
      for id in ids { _ = try await store.create(.queued(.sample(id.rawValue))) }
      _ = try await store.transition(ids[0], .start(at: .at(1)))
      _ = try await store.transition(ids[1], .start(at: .at(1)))
      #expect(try await store.unfinished().map(\.status) == [.running, .running, .queued, .queued])
      _ = try await store.transition(ids[0], .requeue(at: .at(2)))
      #expect(try await store.unfinished().map(\.id) == ids)
      store = try await under.reopen()
      _ = try await store.create(.queued(.sample("e")))
      _ = try await store.transition(ids[1], .requeue(at: .at(3)))
      #expect(try await store.unfinished().map(\.id.rawValue) == ["a", "b", "c", "d", "e"])
      _ = try await store.transition(ids[1], .completed())
      try await store.delete(ids[2])
      #expect(try await store.unfinished().map(\.id.rawValue) == ["a", "d", "e"])
    },
    StoreCheck("a deleted job that is created again is queued behind the others") { under in
      let store = under.store
      for id in ["a", "b"] { _ = try await store.create(.queued(.sample(id))) }
      try await store.delete(JobID(trusted: "a"))
      _ = try await store.create(.queued(.sample("a")))
      #expect(try await store.unfinished().map(\.id.rawValue) == ["b", "a"])
    },
  ]

  static let runners = [
    StoreCheck("runners are kept in the order of registration, with their newest state") { under in
      let store = under.store
      #expect(try await store.registeredRunners() == [])
      var runners = ["c", "a", "b"].map {
        RegisteredRunner(name: RunnerName(trusted: $0), queue: QueueName(trusted: "queue-\($0)"))
      }
      for runner in runners { try await store.save(runner) }
      #expect(try await store.registeredRunners() == runners)
      runners[0].isStopped = true
      try await store.save(runners[0])
      runners[1] = RegisteredRunner(name: runners[1].name, queue: QueueName(trusted: "other"))
      try await store.save(runners[1])
      #expect(try await store.registeredRunners() == runners)
      #expect(try await under.reopen().registeredRunners() == runners)
    },
    StoreCheck("a forgotten runner is gone, and last when it registers again") { under in
      let store = under.store
      let runners = ["a", "b", "c"].map {
        RegisteredRunner(name: RunnerName(trusted: $0), queue: QueueName(trusted: "queue"))
      }
      for runner in runners { try await store.save(runner) }
      try await store.forget(runners[1].name)
      try await store.forget(RunnerName(trusted: "nobody"))
      #expect(try await store.registeredRunners() == [runners[0], runners[2]])
      try await store.save(runners[1])
      #expect(try await under.reopen().registeredRunners() == [runners[0], runners[2], runners[1]])
    },
  ]
}

/// Opened once; whoever waits goes on then.
private final class Gate: Sendable {
  private let stream: AsyncStream<Void>
  private let continuation: AsyncStream<Void>.Continuation

  init() { (stream, continuation) = AsyncStream.makeStream() }
  func open() { continuation.finish() }
  func wait<Value: Sendable>(_ body: () async throws -> Value) async rethrows -> Value {
    for await _ in stream {}
    return try await body()
  }
}
