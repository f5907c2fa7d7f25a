import JobStoreConformance
import Supervisor
import Testing

@testable import PostgresJobStore

// Nodes whose clocks differ share one database: it dates their jobs, and says when they are too old.

@Suite("The database's clock", .timeLimit(.minutes(10)))
struct DatabaseTimeTests {
  /// As nodes see the time whose clocks are years and days off.
  private static let wrong = [Timestamp(milliseconds: 0), .at(-864_000_000), .at(400 * 864_000_000)]

  @Test("dates every step, whatever the node's own clock says, and answers what is on disk")
  func dates() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      for (number, wrong) in Self.wrong.enumerated() {
        let before = try await now(store)
        let id = JobID(trusted: "\(number)")
        let created = JobRecord(job: .sample("\(number)"), createdAt: wrong)
        guard case .created(let record) = try await store.create(created, output: nil) else {
          Issue.record("it was there")
          return
        }
        #expect(try await store.record(id) == record)
        var seen = [record]
        for step: JobTransition in [
          .enqueue(at: wrong), .start(at: wrong), .spawned(.sample, at: wrong), .requeue(at: wrong), .start(at: wrong),
          .completed(at: wrong),
        ] {
          let answer = try await store.transition(id, step)
          #expect(try await store.record(id) == answer)
          seen.append(answer)
        }
        let last = seen.last!
        let after = try await now(store)
        let times = seen.map(\.updatedAt) + [last.completedAt!, after]
        #expect(times == times.sorted() && seen[0].createdAt == seen[0].updatedAt)
        #expect(before <= seen[0].createdAt && last.completedAt == last.updatedAt)
        #expect(seen[0].createdAt <= last.startedAt! && last.startedAt! <= last.completedAt!)
        #expect(seen[4].startedAt == nil)
      }
    }
  }

  @Test("dates a job that is created finished; one that is imported keeps its times")
  func creations() async throws {
    try await StoreFixture.with { fixture in
      let record = JobRecord(
        job: .sample("job"), status: .completed, attempt: 1, createdAt: .at(0), startedAt: .at(1), completedAt: .at(2),
        result: .success("out"))
      let store = try await fixture.open()
      let before = try await now(store)
      guard case .created(let created) = try await store.create(record, output: nil) else {
        Issue.record("it was there")
        return
      }
      #expect(try await store.record(created.job.id) == created)
      let after = try await now(store)
      for time in [created.createdAt, created.updatedAt, created.startedAt!, created.completedAt!] {
        #expect(before <= time && time <= after)
      }
      await fixture.close(store)
      var options = fixture.options()
      options.keepsTimes = true
      let importing = try await fixture.open(options)
      var other = record
      other = JobRecord(
        job: .sample("other"), status: .completed, attempt: 1, createdAt: .at(0), startedAt: .at(1),
        completedAt: .at(2), result: .success("out"))
      #expect(try await importing.create(other, output: nil) == .created(other))
      #expect(try await importing.record(other.job.id) == other)
    }
  }

  @Test("says which finished jobs are too old; unfinished ones stay, and what is deleted is counted")
  func retentionByAge() async throws {
    try await StoreFixture.with { fixture in
      var options = fixture.options()
      options.retentionDays = 1
      let store = try await fixture.open(options)
      for number in 0..<1200 {
        let job = Job.sample("\(number)", runner: "r\(number % 7)")
        _ = try await store.create(.queued(job), output: nil)
      }
      for number in stride(from: 0, to: 1200, by: 2) {
        _ = try await store.transition(JobID(trusted: "\(number)"), .completed(at: .at(-864_000_000)))
      }
      await store.retain()
      #expect(await store.statistics.expiredJobs == 0)
      #expect(try await count(store) == 1200)
      try await age(store, "id::bigint < 1100", hours: 25)
      try await age(store, "id::bigint >= 1100", hours: 23)
      await store.retain()
      #expect(await store.statistics.expiredJobs == 550)
      #expect(try await count(store) == 650)
      // Not one that runs.
      _ = try await store.transition(JobID(trusted: "1"), .start(at: .at(1)))
      await store.retain()
      #expect(try await count(store) == 650)
    }
  }

  @Test("by count, those that ended first go, whenever they were created")
  func retentionByCount() async throws {
    try await StoreFixture.with { fixture in
      var options = fixture.options()
      options.retentionMaximumJobs = 3
      let store = try await fixture.open(options)
      for number in 0..<20 { _ = try await store.create(.queued(.sample("\(number)")), output: nil) }
      for number in (5..<20).reversed() { _ = try await store.transition(JobID(trusted: "\(number)"), .completed()) }
      try await age(store, "status = 3", by: "id::bigint * INTERVAL '1 second'")
      await store.retain()
      let left = try await store.query(JobQuery()).jobs.map { Int($0.job.id.rawValue)! }
      #expect(left.sorted() == [0, 1, 2, 3, 4, 5, 6, 7])
    }
  }

  private func now(_ store: PostgresJobStore) async throws -> Timestamp {
    let answer = try await store.ask([Statement(sql: "SELECT \(Batch.now)")])
    return Timestamp(milliseconds: answer[0].first!.time(0)!)
  }

  private func count(_ store: PostgresJobStore) async throws -> Int64 {
    try await store.ask([Statement(sql: "SELECT count(*) FROM hero_jobs")])[0].first!.int(0)!
  }

  private func age(_ store: PostgresJobStore, _ filter: String, hours: Int) async throws {
    try await age(store, filter, by: "INTERVAL '\(hours) hours'")
  }

  /// Makes jobs older than they are.
  private func age(_ store: PostgresJobStore, _ filter: String, by interval: String) async throws {
    let statement = Statement(sql: "UPDATE hero_jobs SET completed_at = completed_at - \(interval) WHERE \(filter)")
    _ = try await store.ask([statement])
  }
}
