import Supervisor
import Testing

// Lists: filters, pages, cursors.

extension StoreCheck {
  static let queries = [
    StoreCheck("each filter finds its jobs, newest first, and filters combine") { under in
      let store = under.store
      var all: [JobRecord] = []
      for number in 0..<48 {
        let job = Job.sample(
          "job-\(number)", caller: "caller-\(number % 2)", context: "context-\(number % 3)",
          runner: "runner-\(number % 4)")
        let record = JobRecord(
          job: job, status: number % 5 == 0 ? .queued : .created, createdAt: .at(Int64(number) * 10))
        _ = try await store.create(record)
        all.insert(record, at: 0)
      }
      func check(_ change: (inout JobQuery) -> Void, _ isIncluded: (JobRecord) -> Bool) async throws {
        var query = JobQuery()
        change(&query)
        let expected = all.filter(isIncluded)
        let page = try await store.query(query)
        #expect(page.jobs.map(\.unplaced) == expected && page.isLast)
      }
      try await check({ _ in }) { _ in true }
      try await check({ $0.runner = RunnerName(trusted: "runner-1") }) { $0.job.runner.rawValue == "runner-1" }
      for names in [["runner-2"], ["runner-1", "runner-3"], ["runner-0", "none"]] + [
        (0..<40).map { "runner-\(2 * $0)" }
      ] {
        let runners = Set(names.map { RunnerName(trusted: $0) })
        try await check({ $0.runners = runners }) { runners.contains($0.job.runner) }
        try await check({
          $0.runners = runners
          $0.status = .queued
          $0.callerID = "caller-0"
        }) { runners.contains($0.job.runner) && $0.status == .queued && $0.job.callerID == "caller-0" }
        try await check({
          $0.runners = runners
          $0.runner = RunnerName(trusted: "runner-1")
        }) { $0.job.runner.rawValue == "runner-1" }
      }
      try await check({ $0.status = .queued }) { $0.status == .queued }
      try await check({ $0.status = .timeout }) { _ in false }
      try await check({ $0.callerID = "caller-1" }) { $0.job.callerID == "caller-1" }
      try await check({ $0.callerID = "" }) { _ in false }
      try await check({ $0.contextID = "context-2" }) { $0.job.contextID == "context-2" }
      try await check({ $0.createdFrom = .at(100) }) { $0.createdAt >= .at(100) }
      try await check({ $0.createdBefore = .at(100) }) { $0.createdAt < .at(100) }
      try await check({
        $0.runner = RunnerName(trusted: "runner-1")
        $0.callerID = "caller-1"
        $0.contextID = "context-1"
        $0.status = .created
        $0.createdFrom = .at(10)
        $0.createdBefore = .at(370)
      }) {
        $0.job.runner.rawValue == "runner-1" && $0.job.callerID == "caller-1" && $0.job.contextID == "context-1"
          && $0.status == .created && $0.createdAt >= .at(10) && $0.createdAt < .at(370)
      }
    },
    StoreCheck("a list has what was answered just before, and the newest state") { under in
      let store = under.store
      for number in 0..<20 {
        let job = Job.sample("job-\(number)")
        _ = try await store.create(.queued(job))
        var query = JobQuery(limit: 1)
        #expect(try await store.query(query).jobs.map(\.unplaced) == [.queued(job)])
        let record = try await store.transition(job.id, .completed())
        query.status = .completed
        #expect(try await store.query(query).jobs == [record])
      }
    },
  ]

  static let paging = [
    StoreCheck("pages of any size hold each job once") { under in
      let store = under.store
      for number in 0..<23 { _ = try await store.create(.created(.sample("job-\(number)"))) }
      let expected = (0..<23).reversed().map { "job-\($0)" }
      var ofRunners = JobQuery(limit: 5)
      ofRunners.runners = [RunnerName(trusted: "runner"), RunnerName(trusted: "other")]
      #expect(try await pages(of: store, ofRunners).flatMap { $0 } == expected)
      for limit in [1, 2, 7, 22, 23, 24, 1000] {
        let pages = try await pages(of: store, JobQuery(limit: limit))
        #expect(pages.flatMap { $0 } == expected, "limit \(limit)")
        #expect(pages.dropLast().allSatisfy { $0.count == limit })
        #expect(pages.count == (23 + limit - 1) / limit)
      }
    },
    StoreCheck("an empty store has one empty page") { (under) async throws in
      #expect(try await under.store.query(JobQuery()) == JobPage(jobs: [], positions: [], isLast: true))
    },
    StoreCheck("a page ends early when it grows too big, and holds at least one job") { under in
      let store = under.store
      let payload = String(repeating: "x", count: 100_000)
      for number in 0..<10 { _ = try await store.create(.created(.sample("job-\(number)", payload: payload))) }
      let expected = (0..<10).reversed().map { "job-\($0)" }
      let some = try await pages(of: store, JobQuery(limit: 100, maximumBytes: 250_000))
      #expect(some.flatMap { $0 } == expected)
      #expect(some.map(\.count).max()! <= 4)
      let single = try await pages(of: store, JobQuery(limit: 100, maximumBytes: 1))
      #expect(single == expected.map { [$0] })
    },
    StoreCheck("a list has what it asks for of each job, and only that counts for the size of a page") { under in
      let store = under.store
      let large = String(repeating: "x", count: 100_000)
      let variables: [VariableName: String] = [VariableName(trusted: "V"): large]
      for number in 0..<6 {
        let job = Job.sample("job-\(number)", payload: large, environment: variables)
        _ = try await store.create(.queued(job))
        _ = try await store.transition(job.id, .completed())
      }
      let whole = try await store.query(JobQuery())
      #expect(whole.jobs.allSatisfy { $0.job.payload == large && $0.job.environment == variables && $0.result != nil })
      for parts in [[], .payload, .environment, .result, [.payload, .result]] as [JobParts] {
        let size = (parts.contains(.payload) ? 100_000 : 0) + (parts.contains(.environment) ? 100_000 : 0)
        let page = try await store.query(
          JobQuery(limit: 100, maximumBytes: size == 0 ? 10_000 : 3 * size, parts: parts))
        // A page ends behind the job with which it is too big.
        #expect(page.jobs.count == (size == 0 ? 6 : 3), "\(parts)")
        for (record, original) in zip(page.jobs, whole.jobs) {
          #expect(record.job.id == original.job.id && record.status == .completed)
          #expect(record.job.payload == (parts.contains(.payload) ? large : ""))
          #expect(record.job.environment == (parts.contains(.environment) ? variables : [:]))
          #expect(record.result == (parts.contains(.result) ? original.result : nil))
        }
      }
    },
    StoreCheck("no job is lost or repeated while jobs are added and finished between the pages") { under in
      let store = under.store
      for number in 0..<100 { _ = try await store.create(.queued(.sample("job-\(number)"))) }
      var query = JobQuery(limit: 7)
      var seen: [String] = []
      var round = 0
      repeat {
        let page = try await store.query(query)
        seen += page.jobs.map(\.job.id.rawValue)
        query.cursor = page.next
        _ = try await concurrently(5) { [round] number in
          try await store.create(.queued(.sample("new-\(round)-\(number)")))
        }
        _ = try await store.transition(JobID(trusted: "job-\(round)"), .completed())
        round += 1
      } while query.cursor != nil
      #expect(seen == (0..<100).reversed().map { "job-\($0)" })
    },
    StoreCheck("no job is lost or repeated while jobs are deleted between the pages") { under in
      let store = under.store
      for number in 0..<60 { _ = try await store.create(.queued(.sample("job-\(number)"))) }
      var query = JobQuery(limit: 10)
      var seen: [String] = []
      repeat {
        let page = try await store.query(query)
        seen += page.jobs.map(\.job.id.rawValue)
        query.cursor = page.next
        // The last of the page, to which the cursor may point.
        try await store.delete(page.jobs.last!.job.id)
      } while query.cursor != nil
      #expect(seen == (0..<60).reversed().map { "job-\($0)" })
    },
    StoreCheck("a cursor is valid with a filter and after a restart") { under in
      for number in 0..<20 {
        _ = try await under.store.create(.created(.sample("job-\(number)", caller: "caller-\(number % 2)")))
      }
      var query = JobQuery(limit: 4)
      query.callerID = "caller-1"
      let first = try await under.store.query(query)
      let next: String = try #require(first.next)
      query.cursor = next
      let store = try await under.reopen()
      let rest = try await pages(of: store, query).flatMap { $0 }
      #expect(rest == [11, 9, 7, 5, 3, 1].map { "job-\($0)" })
    },
    StoreCheck("pages of one runner hold each job once, whatever their status and however many came at once") { under in
      let store = under.store
      let runners = ["one", "other"]
      for number in 0..<60 {
        let job = Job.sample("job-\(number)", runner: runners[number % 2])
        let status: JobStatus = [.created, .queued, .queued, .created, .queued][number % 5]
        _ = try await store.create(JobRecord(job: job, status: status, createdAt: .at(Int64(number / 20))))
        if number % 15 == 2 { _ = try await store.transition(job.id, .completed()) }
      }
      let expected = (0..<60).reversed().filter { $0 % 2 == 0 }.map { "job-\($0)" }
      for limit in [1, 4, 29, 30, 31] {
        var query = JobQuery(limit: limit)
        query.runner = RunnerName(trusted: "one")
        #expect(try await pages(of: store, query).flatMap { $0 } == expected, "limit \(limit)")
      }
    },
    StoreCheck("a cursor that no page answered is refused") { under in
      _ = try await under.store.create(.created(.sample("job")))
      for cursor in [
        "", "0", "-1", "x", "1x", " 1", "+1", "1.5", "99999999999999999999", "1;", "\u{0}", "1\u{0}", "1", "1-", "-1-1",
        "1--1", "1-01", "1-1-1", "1-1\u{0}",
      ] {
        var query = JobQuery()
        query.cursor = cursor
        await expect(.invalidCursor(cursor)) { _ = try await under.store.query(query) }
      }
    },
  ]

  /// The ids of all pages.
  private static func pages(of store: any JobStore, _ query: JobQuery) async throws -> [[String]] {
    var query = query
    var pages: [[String]] = []
    repeat {
      let page = try await store.query(query)
      pages.append(page.jobs.map(\.job.id.rawValue))
      query.cursor = page.next
    } while query.cursor != nil && pages.count < 1000
    return pages
  }
}
