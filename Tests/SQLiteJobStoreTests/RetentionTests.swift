import GRDB
import JobStoreConformance
import Supervisor
import Testing

@testable import SQLiteJobStore

// Finished jobs go when they are too old or too many; unfinished ones never.

@Suite("Retention in a SQLite store", .timeLimit(.minutes(10)))
struct RetentionTests {
  @Test("by age: finished jobs that ended long ago go, all others stay")
  func byAge() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open(options(days: 0))
      let now = Timestamp.now.milliseconds
      let hour: Int64 = 3_600_000
      for number in 0..<700 {
        let job = Job.sample("\(number)")
        // All were created long ago; what counts is when they ended.
        _ = try await store.create(JobRecord(job: job, status: .queued, createdAt: .at(0)))
        let end = Timestamp(milliseconds: number < 600 ? now - 25 * hour : now - 23 * hour)
        if number % 3 == 1 { _ = try await store.transition(job.id, .completed(at: end)) }
        if number % 3 == 2 { _ = try await store.transition(job.id, .start(at: end)) }
      }
      let before = try await ids(store)
      #expect(before.count == 700)
      await fixture.close(store)
      let again = try await fixture.open(options(days: 1))
      let expected = (0..<700).filter { $0 % 3 != 1 || $0 >= 600 }
      #expect(try await eventually { try await ids(again) == expected })
      // And no more.
      await again.retain()
      #expect(await eventually { await !again.isRetaining })
      #expect(try await ids(again) == expected)
    }
  }

  @Test("by count: the oldest finished jobs go, unfinished ones neither go nor count")
  func byCount() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open(options(days: 0))
      for number in 0..<500 {
        let job = Job.sample("\(number)")
        _ = try await store.create(.queued(job))
        if number % 2 == 1 { _ = try await store.transition(job.id, .failed()) }
      }
      await fixture.close(store)
      let again = try await fixture.open(options(days: 0, jobs: 30))
      let expected = (0..<500).filter { $0 % 2 == 0 || $0 >= 440 }
      #expect(try await eventually { try await ids(again) == expected })
      #expect(await eventually { await !again.isRetaining })
      #expect(try await ids(again) == expected)
      #expect(try await again.unfinished().count == 250)
    }
  }

  @Test("unfinished jobs stay, however many and however old")
  func unfinished() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open(options(days: 0))
      for number in 0..<300 {
        let status: JobStatus = [.created, .queued, .running][number % 3]
        try await store.make(.sample("\(number)"), status)
      }
      await fixture.close(store)
      let again = try await fixture.open(options(days: 0.000_001, jobs: 1))
      try await again.make(.sample("300"), .completed)
      await again.retain()
      #expect(await eventually { await !again.isRetaining })
      #expect(try await eventually { try await !ids(again).contains(300) })
      #expect(try await ids(again) == Array(0..<300))
    }
  }

  @Test("a deleted job is gone from memory too, with its output")
  func nothingIsLeft() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open(options(days: 1))
      let id = JobID(trusted: "0")
      try await store.make(.sample("0"), .running)
      _ = try await store.transition(id, .finish(.failed, .error("no"), JobOutput(stdout: [1]), at: .at(0)))
      #expect(try await store.record(id).status == .failed)
      await store.retain()
      #expect(try await eventually { try await ids(store).isEmpty })
      #expect(await eventually { await !store.isRetaining })
      await expect(.notFound(id)) { _ = try await store.record(id) }
      await expect(.notFound(id)) { _ = try await store.finished(id) }
      let outputs = try await store.pool.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM outputs") }
      #expect(outputs == 0)
      #expect(try await store.create(.queued(.sample("0"))).isNew)
    }
  }

  @Test("a store in which little happens looks for old jobs by itself")
  func byItself() async throws {
    try await StoreFixture.with { fixture in
      var options = options(days: 1)
      options.retentionInterval = .milliseconds(5)
      let store = try await fixture.open(options)
      #expect(await eventually { await !store.isRetaining })
      try await store.make(.sample("0"), .completed)
      try await store.make(.sample("1"), .queued)
      #expect(try await eventually { try await ids(store) == [1] })
    }
  }

  @Test("a store that is used heavily keeps its limit")
  func whileUsed() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open(options(days: 0, jobs: 100))
      _ = try await concurrently(2500) { number in
        let job = Job.sample("\(number)")
        _ = try await store.create(.queued(job))
        _ = try await store.transition(job.id, .completed())
      }
      try await store.make(.sample("9999"), .queued)
      await store.retain()
      #expect(try await eventually { try await ids(store).count == 101 })
      #expect(try await ids(store).last == 9999)
    }
  }

  private func options(days: Double, jobs: Int = 1_000_000) -> SQLiteJobStore.Options {
    var options = SQLiteJobStore.Options()
    options.retentionDays = days
    options.retentionMaximumJobs = jobs
    return options
  }

  /// The numbers by which the jobs are named, oldest first.
  private func ids(_ store: SQLiteJobStore) async throws -> [Int] {
    try await store.query(JobQuery(limit: 10_000, maximumBytes: 1 << 30)).jobs.map { Int($0.job.id.rawValue)! }
      .reversed()
  }
}
