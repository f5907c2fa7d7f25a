import Supervisor
import Testing

// Reading a whole store page by page, and what another store needs to take jobs over as they are.

extension StoreCheck {
  static let exports = [
    StoreCheck("an export has every job once and whole: created ones, then the line in its order, then ended ones") {
      under in
      let store = under.store
      var records: [JobID: JobRecord] = [:]
      for round in 0..<3 {
        for status in JobStatus.allCases {
          let record = try await store.make(.sample("\(status)-\(round)", runner: "runner-\(round)"), status)
          records[record.job.id] = record
        }
      }
      // Created long ago, and last in line.
      _ = try await store.transition(JobID(trusted: "created-0"), .enqueue(at: .at(9)))
      let expected =
        ["created-1", "created-2"] + (0..<3).flatMap { ["queued-\($0)", "running-\($0)"] } + ["created-0"]
        + (0..<3).flatMap { ["completed-\($0)", "failed-\($0)", "timeout-\($0)"] }
      for limit in [1, 2, 3, 100] {
        let jobs = try await store.exportAll(limit: limit)
        #expect(jobs.map(\.record.job.id.rawValue) == expected, "\(limit) a page")
        for job in jobs where job.record.job.id.rawValue != "created-0" {
          #expect(job.record == records[job.record.job.id])
          #expect((job.output != nil) == job.record.status.isFinal)
        }
      }
      #expect(try await under.reopen().exportAll(limit: 4).map(\.record.job.id.rawValue) == expected)
    },
    StoreCheck("an export has the output byte for byte") { under in
      let store = under.store
      let outputs = [
        JobOutput(stdout: [0, 0xFF, 0], stderr: [0xC3, 0x28], stdoutDropped: 3, stderrDropped: 5),
        JobOutput(stdout: Array("the result".utf8)), JobOutput(stderr: [1]), JobOutput(),
      ]
      for (number, output) in outputs.enumerated() {
        try await store.make(.sample("job-\(number)"), .running)
        let result = JobResult.success(String(decoding: output.stdout, as: UTF8.self))
        _ = try await store.transition(
          JobID(trusted: "job-\(number)"), .finish(.completed, result, output, at: .at(5)))
      }
      #expect(try await store.exportAll(limit: 2).map(\.output) == outputs)
    },
    StoreCheck("an export of an empty store has no jobs") { (under) async throws in
      #expect(try await under.store.exportAll(limit: 1) == [])
    },
    StoreCheck("a page of an export ends when it is too big, and holds at least one job") { under in
      let payload = String(repeating: "x", count: 10_000)
      for number in 0..<5 { _ = try await under.store.create(.created(.sample("\(number)", payload: payload))) }
      var position: ExportPosition? = .start
      var sizes: [Int] = []
      while let from = position {
        let page = try await under.store.export(from: from, limit: 100, maximumBytes: 15_000)
        if !page.jobs.isEmpty { sizes.append(page.jobs.count) }
        position = page.next
      }
      #expect(sizes == [2, 2, 1])
    },
    StoreCheck("an export misses no job that moves on while it is under way") { under in
      let store = under.store
      let ids = (0..<60).map { "job-\($0)" }
      for (number, id) in ids.enumerated() { try await store.make(.sample(id), number % 3 == 0 ? .created : .queued) }
      // Between any two pages some job is queued, some job starts, and some job ends.
      var found: Set<String> = []
      var position: ExportPosition? = .start
      var moved = ids.shuffled().map { JobID(trusted: $0) }
      while let from = position {
        let page = try await store.export(from: from, limit: 3, maximumBytes: .max)
        found.formUnion(page.jobs.map(\.record.job.id.rawValue))
        position = page.next
        for id in moved.prefix(8) {
          switch try await store.record(id).status {
          case .created: _ = try await store.transition(id, .enqueue(at: .at(1)))
          case .queued: _ = try await store.transition(id, .start(at: .at(2)))
          default: _ = try await store.transition(id, .completed())
          }
        }
        moved = Array(moved.dropFirst(8)) + moved.prefix(8)
        for id in moved where try await store.record(id).status.isFinal { moved.removeAll { $0 == id } }
      }
      #expect(found == Set(ids))
    },
    StoreCheck("a position of another store is refused") { under in
      let position = ExportPosition(.created, place: [1, 2, 3])
      await expect(.invalidCursor("created:1:2:3")) {
        _ = try await under.store.export(from: position, limit: 1, maximumBytes: 1)
      }
      #expect(ExportPosition("in-line:-5") == ExportPosition(.inLine, place: [-5]))
      for text in ["", "nowhere", "created:", "created:x", "ended:1:"] { #expect(ExportPosition(text) == nil) }
    },
    StoreCheck("a job is created with its former times, attempts and state") { under in
      let store = under.store
      let records = [
        JobRecord(job: .sample("created"), attempt: 0, createdAt: .at(1), updatedAt: .at(2)),
        JobRecord(job: .sample("queued"), status: .queued, attempt: 2, createdAt: .at(3), updatedAt: .at(9)),
        JobRecord(
          job: .sample("failed"), status: .failed, attempt: 3, createdAt: .at(4), updatedAt: .at(8), startedAt: .at(5),
          completedAt: .at(7), result: .error("no")),
        JobRecord(
          job: .sample("stopped"), status: .failed, createdAt: .at(5), updatedAt: .at(8), completedAt: .at(8),
          result: .error("stopped")),
      ]
      for record in records {
        let output: JobOutput? = record.status.isFinal ? JobOutput(stderr: [1, 0], stderrDropped: 4) : nil
        #expect(try await store.create(record, output: output).isNew)
      }
      let reopened = try await under.reopen()
      for record in records { #expect(try await reopened.record(record.job.id).unplaced == record) }
      #expect(try await reopened.exportAll(limit: 10).map(\.record.unplaced) == records)
      #expect(try await reopened.unfinished().map(\.attempt) == [2])
    },
  ]
}

extension JobStore {
  fileprivate func exportAll(limit: Int) async throws -> [ExportedJob] {
    var jobs: [ExportedJob] = []
    var position: ExportPosition? = .start
    while let from = position {
      let page = try await export(from: from, limit: limit, maximumBytes: 1 << 20)
      #expect(page.jobs.count <= limit)
      jobs += page.jobs
      position = page.next
    }
    return jobs
  }
}
