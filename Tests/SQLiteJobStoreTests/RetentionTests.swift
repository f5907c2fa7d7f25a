import GRDB
import JobStoreConformance
import Supervisor
import Synchronization
import Testing

@testable import SQLiteJobStore

// Finished jobs go when they are too old or too many; unfinished ones never.

@Suite("Retention in a SQLite store", .timeLimit(.minutes(10)))
struct RetentionTests {
  private let clocks = TestClocks()

  @Test("by age: finished jobs that ended long ago go, all others stay")
  func byAge() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open(options(days: 0))
      for number in 0..<700 {
        let job = Job.sample("\(number)")
        // All were created long ago; what counts is when they ended.
        _ = try await store.create(JobRecord(job: job, status: .queued, createdAt: .at(0)))
        if number == 600 { clocks.pass(hours: 2) }
        if number % 3 == 1 { _ = try await store.transition(job.id, .completed()) }
        if number % 3 == 2 { _ = try await store.transition(job.id, .start(at: .at(1))) }
      }
      clocks.pass(hours: 23)
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
      clocks.pass(hours: 1)
      let again = try await fixture.open(options(days: 0.000_001, jobs: 1))
      try await again.make(.sample("300"), .completed)
      clocks.pass(hours: 1)
      await again.retain()
      #expect(await eventually { await !again.isRetaining })
      #expect(try await eventually { try await !ids(again).contains(300) })
      #expect(try await ids(again) == Array(0..<300))
    }
  }

  @Test("by count: a job that was created first and ended last is the last to go (J8)")
  func byEnd() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open(options(days: 0))
      for number in 0..<50 { _ = try await store.create(.queued(.sample("\(number)"))) }
      for number in (0..<50).reversed() {
        clocks.pass(milliseconds: 1)
        // What the records say of their end is no help: the date has leapt back meanwhile.
        let end = Timestamp.at(number < 25 ? -1_000_000 : 0)
        _ = try await store.transition(JobID(trusted: "\(number)"), .completed(at: end))
      }
      await fixture.close(store)
      let again = try await fixture.open(options(days: 0, jobs: 3))
      #expect(try await eventually { try await ids(again) == [0, 1, 2] })
    }
  }

  @Test("a date that leaps, while the store is open or between two openings, makes nothing older (C1)")
  func leaps() async throws {
    try await StoreFixture.with { fixture in
      var store = try await fixture.open(options(days: 7))
      func leap(hours: Int64, reopening: Bool, boot: Bool = false) async throws {
        if reopening { await fixture.close(store) }
        clocks.leap(hours: hours, boot: boot)
        if reopening { store = try await fixture.open(options(days: 7)) }
        await store.retain()
        #expect(await eventually { await !store.isRetaining })
      }
      var made = 0
      // Also what ends while the date is wrong, when it is right again.
      for (hours, reopening, boot) in [
        (240, false, false), (-240, false, false), (-240, true, false), (240, true, true), (240, true, true),
        (-480_000, true, true), (480_000, false, false), (1, true, true), (-1, false, false), (-240, true, true),
      ] {
        try await store.make(.sample("\(made)"), .completed)
        made += 1
        try await leap(hours: Int64(hours), reopening: reopening, boot: boot)
        #expect(try await ids(store) == Array(0..<made), "after \(hours) h")
      }
      // They go when the time has passed.
      clocks.pass(hours: 7 * 24 + 1)
      await store.retain()
      #expect(try await eventually { try await ids(store).isEmpty })
      #expect(await store.statistics.expiredJobs == made)
    }
  }

  @Test("a leap is known until the date is back, or for a day, over a restart")
  func unconfirmed() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open(options(days: 7))
      #expect(await store.unconfirmedLeap == nil)
      clocks.leap(hours: 240, boot: false)
      #expect(await store.unconfirmedLeap == 240 * 3_600_000)
      await fixture.close(store)
      let again = try await fixture.open(options(days: 7))
      #expect(await again.unconfirmedLeap == 240 * 3_600_000)
      clocks.pass(hours: 23)
      #expect(await again.unconfirmedLeap == 240 * 3_600_000)
      clocks.pass(hours: 2)
      #expect(await again.unconfirmedLeap == nil)
      clocks.leap(hours: -240, boot: false)
      #expect(await again.unconfirmedLeap == -240 * 3_600_000)
      clocks.leap(hours: 240, boot: false)
      #expect(await again.unconfirmedLeap == nil)
    }
  }

  @Test("jobs of a file that an older version wrote count from its first opening on, whatever the date is then")
  func oldFile() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open(options(days: 0))
      for number in 0..<10 { try await store.make(.sample("\(number)"), .completed) }
      try await store.pool.write { database in
        try database.execute(
          sql: """
            DROP INDEX jobs_by_end; ALTER TABLE jobs DROP COLUMN ended; DELETE FROM meta WHERE key = 'clock';
            PRAGMA user_version = \(Schema.migrations.count - 1)
            """)
      }
      try await fixture.crashed { path in
        clocks.leap(hours: 240, boot: true)
        let again = try await fixture.open(options(days: 1), path: path)
        #expect(await eventually { await !again.isRetaining })
        #expect(try await ids(again) == Array(0..<10))
        clocks.pass(hours: 25)
        await again.retain()
        #expect(try await eventually { try await ids(again).isEmpty })
        await fixture.close(again)
      }
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
      clocks.pass(hours: 25)
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
      clocks.pass(hours: 25)
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
    options.reading = { [clocks] _ in clocks.reading }
    return options
  }

  /// The numbers by which the jobs are named, oldest first.
  private func ids(_ store: SQLiteJobStore) async throws -> [Int] {
    try await store.query(JobQuery(limit: 10_000, maximumBytes: 1 << 30)).jobs.map { Int($0.job.id.rawValue)! }
      .reversed()
  }
}

/// The clocks of a machine that a test moves.
private final class TestClocks: Sendable {
  private let state = Mutex(
    (date: Int64(1_790_000_000_000), sinceBoot: Int64(60_000), boot: 0))

  var reading: StoreClock.Reading {
    state.withLock { StoreClock.Reading(date: $0.date, sinceBoot: $0.sinceBoot, bootID: "boot-\($0.boot)") }
  }

  func pass(milliseconds: Int64 = 0, hours: Int64 = 0) {
    state.withLock {
      $0.date += milliseconds + hours * 3_600_000
      $0.sinceBoot += milliseconds + hours * 3_600_000
    }
  }

  /// Sets the date, with or without a boot.
  func leap(hours: Int64, boot: Bool) {
    state.withLock {
      $0.date += hours * 3_600_000
      if boot { ($0.boot, $0.sinceBoot) = ($0.boot + 1, 1000) }
    }
  }
}
