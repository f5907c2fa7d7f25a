import Foundation
import GRDB
import JobStoreConformance
import Supervisor
import Testing

@testable import SQLiteJobStore

// Opening and closing: which files are refused, with what words, and what a closed store leaves.

@Suite("Opening a SQLite store", .timeLimit(.minutes(10)))
struct OpeningTests {
  @Test("a file of a newer version is refused, says which, and is left as it is")
  func newerVersion() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      _ = try await store.create(.queued(.sample("job")))
      await fixture.close(store)
      let known = Schema.migrations.count
      try await edit(fixture.path, "PRAGMA user_version = \(known + 1)")
      let refusal = await fixture.refusal()
      #expect(refusal == .newerVersion(found: known + 1, known: known))
      #expect(refusal!.description.contains("schema version \(known + 1)"))
      #expect(refusal!.description.contains("start the newer program"))
      // A refusal lets go of the file: the newer program may open it at once.
      try await edit(fixture.path, "PRAGMA user_version = \(known)")
      let again = try await fixture.open()
      #expect(try await again.record(JobID(trusted: "job")).unplaced == .queued(.sample("job")))
    }
  }

  @Test("a file of an earlier version keeps its jobs, in their order")
  func earlierVersion() async throws {
    for version in 1..<Schema.migrations.count {
      try await StoreFixture.with { fixture in
        try await edit(
          fixture.path,
          Schema.migrations.prefix(version).joined() + """
            ;
            PRAGMA application_id = \(Schema.applicationID); PRAGMA user_version = \(version);
            WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i < 49)
            INSERT INTO jobs (id, runner, executor, caller_id, context_id, payload, timeout, status, attempt, created_at,
              updated_at)
            SELECT i, 'runner', 'echo', '', '', x'', 60, 0, 0, i / 10, i / 10 FROM numbers
            """)
        let store = try await fixture.open()
        var query = JobQuery()
        query.runner = RunnerName(trusted: "runner")
        #expect(try await store.query(query).jobs.map(\.job.id.rawValue) == (0..<50).reversed().map { "\($0)" })
      }
    }
  }

  @Test("a database of something else is refused and not touched")
  func foreignDatabase() async throws {
    try await StoreFixture.with { fixture in
      try await edit(fixture.path, "CREATE TABLE mine (text TEXT); INSERT INTO mine VALUES ('precious')")
      #expect(await fixture.refusal() == .foreignFile)
      try await edit(fixture.path, "PRAGMA application_id = 42; DROP TABLE mine")
      #expect(await fixture.refusal() == .foreignFile)
    }
  }

  @Test("a file that is no database is refused and not touched")
  func noDatabase() async throws {
    try await StoreFixture.with { fixture in
      let text = Data(String(repeating: "These are my notes. ", count: 500).utf8)
      try text.write(to: URL(fileURLWithPath: fixture.path))
      #expect(await fixture.refusal() == .foreignFile)
      #expect(try Data(contentsOf: URL(fileURLWithPath: fixture.path)) == text)
    }
  }

  @Test("a path that cannot be is refused with the system's reason")
  func impossiblePath() async throws {
    try await StoreFixture.with { fixture in
      let refusal = await fixture.refusal(path: "\(fixture.directory)/nowhere/jobs.db")
      #expect(refusal?.description.contains("No such file or directory") == true)
      #expect(refusal?.description.contains("nowhere") == true)
    }
  }

  @Test("a store that another one has open is refused, names the process, and opens after the other closed")
  func secondOpener() async throws {
    try await StoreFixture.with { fixture in
      let first = try await fixture.open()
      _ = try await first.create(.queued(.sample("job")))
      let refusal = await fixture.refusal()
      #expect(refusal == .inUse(by: "pid \(ProcessInfo.processInfo.processIdentifier)"))
      #expect(refusal!.description.contains("in use by another node"))
      // The refusal does the first no harm.
      _ = try await first.transition(JobID(trusted: "job"), .start(at: .at(1)))
      await fixture.close(first)
      let second = try await fixture.open()
      #expect(try await second.record(JobID(trusted: "job")).status == .running)
    }
  }

  @Test("a closed store leaves its file and its lock, the log is in the file")
  func filesAfterClose() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      for number in 0..<50 { _ = try await store.create(.queued(.sample("job-\(number)"))) }
      #expect(fixture.files.contains("jobs.db-wal"))
      await fixture.close(store)
      #expect(fixture.files == ["jobs.db", "jobs.db.lock"])
      // The file alone is the whole store.
      try FileManager.default.copyItem(atPath: fixture.path, toPath: "\(fixture.directory)/copy.db")
      let copy = try await fixture.open(path: "\(fixture.directory)/copy.db")
      #expect(try await copy.unfinished().count == 50)
    }
  }

  @Test("closing writes what is under way, and answers it")
  func closeWithStepsUnderWay() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      let creations = (0..<200).map { number in
        Task {
          await attempt { () async throws(JobStoreError) in try await store.create(.queued(.sample("\(number)"))) }
        }
      }
      _ = try await store.create(.queued(.sample("first")))
      await fixture.close(store)
      var created = ["first"]
      for (number, creation) in creations.enumerated() {
        switch await creation.value {
        case .success: created.append("\(number)")
        case .failure(let error): #expect(error == SQLiteJobStore.closed)
        }
      }
      let again = try await fixture.open()
      #expect(Set(try await again.unfinished().map(\.id.rawValue)) == Set(created))
    }
  }

  @Test("closing waits for reads that are under way or in line, and refuses all that come later")
  func closeWithReadsUnderWay() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      _ = try await store.create(.queued(.sample("job")))
      // Both reader connections are busy until the gate opens, so that the next reads are in line.
      let gate = DispatchSemaphore(value: 0)
      let busy = (0..<2).map { number in
        Task {
          await attempt { () async throws(JobStoreError) in
            try await store.reading { _ in
              gate.wait()
              return number
            }
          }
        }
      }
      #expect(await eventually { await store.uses == 2 })
      let inLine = Task { await attempt { () async throws(JobStoreError) in try await store.unfinished().count } }
      let unknown = Task {
        await attempt { () async throws(JobStoreError) in try await store.record(JobID(trusted: "unknown")) }
      }
      let creation = Task {
        await attempt { () async throws(JobStoreError) in try await store.create(.queued(.sample("new"))) }
      }
      #expect(await eventually { await store.uses == 5 })
      let closing = Task { await fixture.close(store) }
      #expect(await eventually { await store.isClosed })
      await expect(SQLiteJobStore.closed) { _ = try await store.record(JobID(trusted: "job")) }
      await expect(SQLiteJobStore.closed) { _ = try await store.finished(JobID(trusted: "job")) }
      await expect(SQLiteJobStore.closed) { _ = try await store.output(JobID(trusted: "job")) }
      await expect(SQLiteJobStore.closed) { _ = try await store.query(JobQuery()) }
      await expect(SQLiteJobStore.closed) { _ = try await store.create(.queued(.sample("other"))) }
      // The first thing that closing does to the file is to take its mark away; by then no read is under way.
      let beside = try DatabaseQueue(path: fixture.path)
      var marks = 0
      for _ in 0..<100 {
        marks += try await beside.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM meta WHERE key = 'is_open'")! }
      }
      #expect(marks == 100)
      try beside.close()
      for _ in busy { gate.signal() }
      await closing.value
      for (number, read) in busy.enumerated() { #expect(await read.value == .success(number)) }
      #expect(await inLine.value == .success(1))
      #expect(await unknown.value == .failure(.notFound(JobID(trusted: "unknown"))))
      #expect(await creation.value == .failure(SQLiteJobStore.closed))
    }
  }

  @Test("a closed store refuses all calls, and whoever waits is told")
  func callsAfterClose() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      let id = JobID(trusted: "job")
      _ = try await store.create(.queued(.sample("job")))
      let wait = Task { try await store.finished(id) }
      #expect(await eventually { await store.finishWaiters.count == 1 })
      await fixture.close(store)
      await expect(SQLiteJobStore.closed) { _ = try await wait.value }
      await expect(SQLiteJobStore.closed) { _ = try await store.create(.queued(.sample("other"))) }
      await expect(SQLiteJobStore.closed) { _ = try await store.transition(id, .start(at: .at(1))) }
      await expect(SQLiteJobStore.closed) { try await store.delete(id) }
      await expect(SQLiteJobStore.closed) { _ = try await store.finished(id) }
      await expect(SQLiteJobStore.closed) { _ = try await store.record(id) }
      await expect(SQLiteJobStore.closed) { _ = try await store.unfinished() }
      await expect(SQLiteJobStore.closed) { _ = try await store.query(JobQuery()) }
      await expect(SQLiteJobStore.closed) { try await store.forget(RunnerName(trusted: "runner")) }
    }
  }

  @Test("each store has an identity of its own, which a restart keeps")
  func instance() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      let other = try await fixture.open(path: "\(fixture.directory)/other.db")
      #expect(store.instance.count == 32)
      #expect(store.instance != other.instance)
      let instance = store.instance
      await fixture.close(store)
      #expect(try await fixture.open().instance == instance)
    }
  }

  @Test("every table, column and pragma that the guarantees rest on is there")
  func durability() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      let found = try await store.pool.write { database in
        try [
          String.fetchOne(database, sql: "PRAGMA journal_mode"), String.fetchOne(database, sql: "PRAGMA synchronous"),
          String.fetchOne(database, sql: "PRAGMA foreign_keys"),
          String.fetchOne(database, sql: "PRAGMA integrity_check"),
        ]
      }
      #expect(found == ["wal", "2", "1", "ok"])
    }
  }
}

/// Runs SQL on a file that no store has open.
func edit(_ path: String, _ sql: String) async throws {
  let queue = try DatabaseQueue(path: path)
  try await queue.writeWithoutTransaction { try $0.execute(sql: sql) }
  try queue.close()
}
