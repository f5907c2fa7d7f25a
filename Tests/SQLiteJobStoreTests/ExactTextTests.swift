import GRDB
import JobStoreConformance
import Supervisor
import Testing

@testable import SQLiteJobStore

// GRDB hands text to SQLite as a C string. What a client wrote must not end at a NUL, nor be found by its beginning.

@Suite("Text in a SQLite store", .timeLimit(.minutes(10)))
struct ExactTextTests {
  @Test(
    "caller, context, payload, environment and result are kept whole, NUL included", arguments: ["a\u{0}b", "\u{0}"])
  func whole(_ text: String) async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      let job = Job.sample(
        "job", caller: text, context: text, payload: text, environment: ["NAME": text])
      _ = try await store.create(.queued(job))
      _ = try await store.transition(job.id, .finish(.failed, .error(text), nil, at: .at(1)))
      await fixture.close(store)
      let again = try await fixture.open()
      let record = try await again.record(job.id)
      #expect(record.job == job)
      #expect(record.result == .error(text))
      #expect(try await again.create(.queued(job)) == .existed(record))
    }
  }

  @Test("a filter finds the whole text only")
  func filters() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      for (number, text) in ["a", "a\u{0}", "a\u{0}b", ""].enumerated() {
        let job = Job.sample("job-\(number)", caller: text, context: text)
        _ = try await store.create(.queued(job))
      }
      for (number, text) in ["a", "a\u{0}", "a\u{0}b", ""].enumerated() {
        var byCaller = JobQuery()
        byCaller.callerID = text
        var byContext = JobQuery()
        byContext.contextID = text
        for query in [byCaller, byContext] {
          #expect(try await store.query(query).jobs.map(\.job.id.rawValue) == ["job-\(number)"])
        }
      }
    }
  }

  @Test("a filter uses the index of its column, with a status and without, and nothing is sorted")
  func index() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      for index in ["runner", "caller", "context", "status", "time"] {
        for status in [JobStatus.queued, nil] where index != "time" || status == nil {
          var query = JobQuery()
          if index == "runner" { query.runner = RunnerName(trusted: "a") }
          if index == "caller" { query.callerID = "a" }
          if index == "context" { query.contextID = "a" }
          query.status = index == "status" ? .failed : status
          query.createdBefore = .at(1)
          query.cursor = "1-1"
          let (sql, arguments) = try SQLiteJobStore.statement(query)
          let plan = try await store.pool.read {
            try Row.fetchAll($0, sql: "EXPLAIN QUERY PLAN \(sql)", arguments: arguments).map { $0["detail"] as String }
          }
          let reads = plan.filter { $0.contains("SCAN") || $0.contains("SEARCH") }
          #expect(!reads.isEmpty && reads.allSatisfy { $0.contains("SEARCH jobs USING INDEX jobs_by_\(index)") })
          #expect(!plan.contains { $0.contains("TEMP B-TREE") })
        }
      }
    }
  }
}
