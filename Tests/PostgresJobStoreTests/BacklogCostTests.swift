import EventLoop
import JobStoreConformance
import PostgresServer
import Supervisor
import Testing

@testable import PostgresJobStore

// What it costs to find the next job, counted in pages that the database looks at.

@Suite("The cost of the next job", .timeLimit(.minutes(10)))
struct BacklogCostTests {
  private let runner = RegisteredRunner(name: RunnerName(trusted: "runner"), queue: QueueName(trusted: "runner"))

  @Test("does not depend on how many have ended, beside a transaction that keeps all they left behind")
  func longTransaction() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      _ = try await store.claim([runner], consented: false)
      _ = try await store.backlog(of: [runner.name], limit: 100)
      let reader = try await connect(fixture)
      let explainer = try await connect(fixture)
      // A backup, say: what was there when it began stays.
      let hold = [
        Statement(sql: "BEGIN ISOLATION LEVEL REPEATABLE READ"), Statement(sql: "SELECT count(*) FROM hero_jobs"),
      ]
      _ = try await on(fixture) { await reader.run(hold) }.get()
      try await drain(store, 0..<200)
      let before = try await costs(store, explainer, fixture)
      try await drain(store, 200..<1400)
      let after = try await costs(store, explainer, fixture)
      for (what, pages) in after { #expect(pages < 2 * before[what]! + 20, "\(what): \(before[what]!), then \(pages)") }
      await on(fixture) {
        reader.close()
        explainer.close()
      }
    }
  }

  @Test("is paid from the head again for jobs that are queued again, and for those that nobody told of")
  func queuedAgain() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      _ = try await store.claim([runner], consented: false)
      for number in 0..<3 { try await store.make(.sample("job-\(number)"), .queued) }
      _ = try await store.backlog(of: [runner.name], limit: 100)
      _ = try await store.transition(JobID(trusted: "job-0"), .start(at: .at(3)))
      #expect(try await store.check().first.map(\.id.rawValue) == ["job-1"])
      #expect(try await store.check().first.map(\.id.rawValue) == ["job-1"])
      _ = try await store.transition(JobID(trusted: "job-0"), .requeue(at: .at(4)))
      #expect(try await store.check().first.map(\.id.rawValue) == ["job-0"])
      _ = try await store.transition(JobID(trusted: "job-0"), .start(at: .at(5)))
      #expect(try await store.check().first.map(\.id.rawValue) == ["job-1"])
      _ = try await store.transition(JobID(trusted: "job-0"), .putBack(at: .at(5)))
      #expect(try await store.check().first.map(\.id.rawValue) == ["job-0"])
      // By somebody who said nothing.
      _ = try await store.transition(JobID(trusted: "job-0"), .start(at: .at(5)))
      #expect(try await store.check().first.map(\.id.rawValue) == ["job-1"])
      try PostgresServer.shared.get().sql(
        "UPDATE hero_jobs SET status = 1 WHERE id = 'job-0'", database: String(fixture.url.split(separator: "/").last!))
      var looks = 0
      while try await store.check().first.map(\.id.rawValue) != ["job-0"] {
        looks += 1
        try #require(looks < 30)
      }
      // Nothing waits, then something does.
      for number in 0..<3 { try await finish(store, "job-\(number)") }
      #expect(try await store.check().first.isEmpty)
      try await store.make(.sample("job-3"), .queued)
      #expect(try await store.check().first.map(\.id.rawValue) == ["job-3"])
    }
  }

  @Test("keeps nothing of a runner that was forgotten")
  func forgotten() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      _ = try await store.claim([runner], consented: false)
      _ = try await store.backlog(of: [runner.name], limit: 100)
      #expect(await store.readings.look.floors.keys.map(\.self) == [runner.name])
      try await store.forget(runner.name)
      #expect(await store.readings.look.floors.isEmpty)
    }
  }

  private func finish(_ store: PostgresJobStore, _ id: String) async throws {
    _ = try await store.transition(JobID(trusted: id), .start(at: .at(6)))
    _ = try await store.transition(JobID(trusted: id), .completed())
  }

  /// Jobs are queued and end, with a look now and then.
  private func drain(_ store: PostgresJobStore, _ numbers: Range<Int>) async throws {
    let step = 100
    for start in stride(from: numbers.lowerBound, to: numbers.upperBound, by: step) {
      _ = try await concurrently(step) { try await store.create(.queued(.sample("job-\(start + $0)"))) }
      _ = try await concurrently(step) { try await finish(store, "job-\(start + $0)") }
      _ = try await store.check()
    }
  }

  /// Pages that each statement looks at, by its name.
  private func costs(
    _ store: PostgresJobStore, _ connection: PostgresConnection, _ fixture: StoreFixture
  ) async throws -> [String: Int] {
    #expect(try await store.create(.queued(.sample("next"))).isNew)
    let look = await store.readings.look
    let writer = await store.writer
    var statements = PostgresJobStore.checks(look, store.session)
    let id = JobID(trusted: "next")
    let kinds: [PendingStep.Kind] = [
      .transition(.start(at: .at(1))), .transition(.spawned(.sample, at: .at(2))), .transition(.completed()),
    ]
    for kind in kinds {
      let step = PendingStep(id: id, kind: kind, number: 1, token: 1, caller: StepCaller(nil))
      statements += Batch([step], by: writer).statements.filter { $0.sql.contains("hero_jobs") }
    }
    let explained =
      statements.map {
        Statement(sql: "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) \($0.sql)", parameters: $0.parameters)
      }
    let results = try await on(fixture) {
      await connection.run([.begin, Statement(sql: "SET LOCAL plan_cache_mode = force_generic_plan")] + explained)
    }.get()
    _ = await on(fixture) { await connection.run([.rollback]) }
    try await store.delete(id)
    var costs: [String: Int] = [:]
    for (statement, result) in zip(statements, results.dropFirst(2)) {
      let words = result.first!.text(0)!
      let pages = words.split(separator: "\"Shared Hit Blocks\": ").dropFirst().first!.prefix { $0.isNumber }
      costs[statement.name!, default: 0] += Int(pages)!
    }
    return costs
  }

  private func connect(_ fixture: StoreFixture) async throws -> PostgresConnection {
    try await PostgresConnection.open({ fixture.url }, defaults: [], on: fixture.loop)
  }

  private func on<Value: Sendable>(
    _ fixture: StoreFixture, _ body: @escaping @Sendable () async -> Value
  ) async -> Value {
    await Task(executorPreference: fixture.loop) { await body() }.value
  }
}
