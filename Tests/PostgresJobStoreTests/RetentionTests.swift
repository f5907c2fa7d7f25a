import EventLoop
import JobStoreConformance
import PostgresServer
import Supervisor
import Testing

@testable import PostgresJobStore

// What is deleted: jobs that have ended, by age and by number, and nothing else.

@Suite("Retention in the database", .timeLimit(.minutes(10)))
struct RetentionTests {
  private static func database(_ fixture: StoreFixture) -> String { String(fixture.url.split(separator: "/").last!) }

  private static let unfinished: [JobStatus] = [.created, .queued, .running]

  /// One job of each status, which is as old as the database has days.
  private func makeOneOfEach(_ store: PostgresJobStore, _ prefix: String, days: Int, in fixture: StoreFixture)
    async throws
  {
    for status in JobStatus.allCases { try await store.make(.sample("\(prefix)-\(status)"), status) }
    try PostgresServer.shared.get().sql(
      """
      UPDATE hero_jobs SET created_at = now() - interval '\(days) days', updated_at = now() - interval '\(days) days',
        started_at = now() - interval '\(days) days',
        completed_at = CASE WHEN completed_at IS NOT NULL THEN now() - interval '\(days) days' END
      WHERE id LIKE '\(prefix)-%'
      """, database: Self.database(fixture))
  }

  private func ids(_ fixture: StoreFixture) throws -> Set<String> {
    let words = try PostgresServer.shared.get().sql("SELECT id FROM hero_jobs", database: Self.database(fixture))
    return Set(words.split(separator: "\n").map(String.init))
  }

  private func names(_ prefix: String, _ statuses: [JobStatus]) -> Set<String> {
    Set(statuses.map { "\(prefix)-\($0)" })
  }

  @Test("deletes what ended too long ago, however much there is, and nothing that has not ended")
  func age() async throws {
    try await StoreFixture.with { fixture in
      var options = fixture.options()
      options.retentionDays = 7
      options.retentionInterval = .seconds(3600)
      let store = try await fixture.open(options)
      try await makeOneOfEach(store, "old", days: 8, in: fixture)
      try await makeOneOfEach(store, "new", days: 6, in: fixture)
      // More than are deleted at once.
      try PostgresServer.shared.get().sql(
        """
        INSERT INTO hero_jobs SELECT (jsonb_populate_record(j, jsonb_build_object('id', 'old-' || g))).*
        FROM hero_jobs AS j, generate_series(1, 1200) AS g WHERE j.id = 'old-failed'
        """, database: Self.database(fixture))
      #expect(try ids(fixture).count == 1212)
      await store.retain()
      #expect(try ids(fixture) == names("old", Self.unfinished).union(names("new", JobStatus.allCases)))
      await expect(.notFound(JobID(trusted: "old-completed"))) {
        _ = try await store.record(JobID(trusted: "old-completed"))
      }
      // What waits is still there to run, whatever its age.
      #expect(try await store.transition(JobID(trusted: "old-queued"), .start(at: .now)).attempt == 1)
    }
  }

  @Test("keeps the newest of those that have ended, up to a number, and all that have not")
  func number() async throws {
    try await StoreFixture.with { fixture in
      var options = fixture.options()
      options.retentionDays = 0
      options.retentionMaximumJobs = 4
      options.retentionInterval = .seconds(3600)
      let store = try await fixture.open(options)
      for days in 1...4 { try await makeOneOfEach(store, "d\(days)", days: days, in: fixture) }
      // Each at an instant of its own.
      try PostgresServer.shared.get().sql(
        "UPDATE hero_jobs SET completed_at = completed_at - interval '1 hour' * (status - 3)",
        database: Self.database(fixture))
      await store.retain()
      let ended = names("d1", [.completed, .failed, .timeout]).union(names("d2", [.completed]))
      #expect(try ids(fixture) == ended.union((1...4).flatMap { names("d\($0)", Self.unfinished) }))
    }
  }

  @Test("keeps everything where neither bound is reached, and needs nobody to ask for it")
  func byItself() async throws {
    try await StoreFixture.with { fixture in
      var options = fixture.options()
      options.retentionDays = 0
      options.retentionInterval = .seconds(3600)
      let keeper = try await fixture.open(options)
      try await makeOneOfEach(keeper, "old", days: 3000, in: fixture)
      await keeper.retain()
      #expect(try ids(fixture).count == JobStatus.allCases.count)
      options = fixture.options(node: "another")
      options.retentionDays = 7
      options.retentionInterval = .seconds(1)
      _ = try await fixture.open(options)
      #expect(try await eventually { try ids(fixture) == names("old", Self.unfinished) })
    }
  }
}
