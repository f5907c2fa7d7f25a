import JobStoreConformance
import Supervisor
import Testing

@testable import SQLiteJobStore

@Suite("Jobs between SQLite stores", .timeLimit(.minutes(5)))
struct TransferTests {
  private let giver = NodeName(trusted: "giver")
  private let receiver = NodeName(trusted: "receiver")

  private func id(_ number: Int) -> TransferID { TransferID(trusted: "t\(number)") }
  private func moved(_ job: Job, _ number: Int) -> MovedJob {
    MovedJob(transfer: id(number), job: job.id, runner: job.runner, receiver: receiver)
  }

  @Test("what is kept is no job of the node, outlives a restart, and becomes one as it was offered")
  func incoming() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      var record = JobRecord(job: .sample("a"), status: .queued, attempt: 2, createdAt: .at(0))
      record.position = QueuePosition.first(of: 3) + 17
      let (a, b) = (record, JobRecord.created(.sample("b")))
      let jobs = [a, b].enumerated().map { IncomingJob(transfer: id($0), record: $1, giver: giver) }
      try await store.keep(jobs)
      #expect(try await store.query(JobQuery()).jobs.isEmpty)
      #expect(try await store.unfinished().isEmpty)
      await fixture.close(store)

      let again = try await fixture.open()
      let kept = try await again.transfers()
      #expect(kept.incoming == jobs && kept.moved.isEmpty)
      #expect(try await again.admit(jobs[0]) == .created(a))
      #expect(try await again.record(a.job.id) == a)
      // Once more is no second job.
      #expect(try await again.admit(jobs[0]) == .existed(a))
      try await again.drop([id(1)])
      #expect(try await again.transfers().incoming.isEmpty)
      await fixture.close(again)

      // An arrival does not take the order of what is queued here later.
      let last = try await fixture.open()
      let unfinished = try await last.unfinished()
      #expect(unfinished.map(\.position) == [QueuePosition.first(of: 3) + 17])
      var next = JobRecord.queued(.sample("c"))
      next.position = QueuePosition.first(of: 4)
      guard case .created(let created) = try await last.create(next, output: nil) else {
        Issue.record("c is not new")
        return
      }
      #expect(created.position! > unfinished[0].position)
      await fixture.close(last)
    }
  }

  @Test("a job goes only as it was offered, and leaves a trace until that is forgotten")
  func outgoing() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      let job = Job.sample("a")
      _ = try await store.create(.queued(job), output: nil)
      for (status, attempt) in [(JobStatus.created, 0), (.queued, 1), (.running, 0)] {
        await #expect(throws: JobStoreError.wrongState(job.id, .queued)) {
          try await store.move(moved(job, 1), from: status, attempt: attempt)
        }
      }
      _ = try await store.transition(job.id, .start(at: .at(1)))
      await #expect(throws: JobStoreError.wrongState(job.id, .running)) {
        try await store.move(moved(job, 1), from: .queued, attempt: 0)
      }
      _ = try await store.transition(job.id, .requeue(at: .at(2)))
      #expect(try await store.transfers().moved.isEmpty)
      // Who waits for its end is told that it is not here any more.
      let end = Task { try await store.finished(job.id) }
      try await store.move(moved(job, 1), from: .queued, attempt: 1)
      await #expect(throws: JobStoreError.notFound(job.id)) { try await end.value }
      await #expect(throws: JobStoreError.notFound(job.id)) {
        try await store.move(moved(job, 2), from: .queued, attempt: 1)
      }
      await fixture.close(store)

      let again = try await fixture.open()
      await #expect(throws: JobStoreError.notFound(job.id)) { try await again.record(job.id) }
      #expect(try await again.transfers().moved == [moved(job, 1)])
      // It may come back while the trace is there.
      let incoming = IncomingJob(transfer: id(3), record: JobRecord.created(job), giver: receiver)
      try await again.keep([incoming])
      #expect(try await again.admit(incoming).isNew)
      try await again.forgetMoved([id(1)])
      #expect(try await again.transfers().moved.isEmpty)
      #expect(try await again.record(job.id).status == .created)
      await fixture.close(again)
    }
  }

  @Test("a job that is moved and one that starts at the same time do not both succeed")
  func race() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      for number in 0..<200 {
        let job = Job.sample("\(number)")
        _ = try await store.create(.queued(job), output: nil)
        async let start = try? store.transition(job.id, .start(at: .at(1)))
        async let move: Bool = {
          do {
            try await store.move(moved(job, number), from: .queued, attempt: 0)
            return true
          } catch { return false }
        }()
        let (isStarted, isMoved) = (await start != nil, await move)
        #expect(isStarted != isMoved)
      }
      await fixture.close(store)
    }
  }

  @Test("a job of the same id and other fields keeps its place")
  func conflict() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      let present = JobRecord.created(.sample("a", payload: "mine"))
      _ = try await store.create(present, output: nil)
      let incoming = IncomingJob(transfer: id(1), record: .created(.sample("a", payload: "theirs")), giver: giver)
      try await store.keep([incoming])
      await #expect(throws: JobStoreError.conflict(present.job.id)) { _ = try await store.admit(incoming) }
      #expect(try await store.record(present.job.id) == present)
      #expect(try await store.transfers().incoming == [incoming])
      await fixture.close(store)
    }
  }
}
