import Foundation
import GRDB
import JobStoreConformance
import Supervisor
import Testing

@testable import SQLiteJobStore

// A disk that is full or cannot be written: what can be refused is refused with the reason, the end of a job waits, and
// service resumes by itself.

@Suite(
  "A SQLite store on a full disk", .enabled(if: SmallDisk.obstacle == nil, "needs a small disk: root, mount(2)"),
  .timeLimit(.minutes(10)))
struct FullDiskTests {
  private static let full = "the disk is full"

  @Test("new steps are refused and have no effect, and are accepted again once there is space")
  func refused() async throws {
    try await onSmallDisk { disk, fixture in
      let store = try await fixture.open()
      try await store.make(.sample("created"), .created)
      try await store.make(.sample("queued"), .queued)
      #expect(await store.unavailability() == nil)
      let other = RegisteredRunner(name: RunnerName(trusted: "other"), queue: QueueName(trusted: "queue"))
      try disk.fill()
      await expectFull { _ = try await store.create(.queued(Self.big("new"))) }
      #expect(await store.unavailability() == Self.full)
      await expectFull { _ = try await store.transition(JobID(trusted: "created"), .enqueue(at: .at(9))) }
      await expectFull { _ = try await store.transition(JobID(trusted: "queued"), .start(at: .at(9))) }
      await expectFull { try await store.delete(JobID(trusted: "queued")) }
      await expectFull { try await store.save(other) }
      // What can be read is read, and nothing has changed.
      #expect(try await store.record(JobID(trusted: "created")).status == .created)
      #expect(try await store.unfinished().map(\.id.rawValue) == ["queued"])
      #expect(try await store.query(JobQuery()).jobs.count == 2)
      await expect(.notFound(JobID(trusted: "new"))) { _ = try await store.record(JobID(trusted: "new")) }
      #expect(await store.unavailability() == Self.full)
      #expect(await store.statistics.failedCommits >= 5)
      disk.free()
      #expect(await eventually { await store.unavailability() == nil })
      #expect(try await store.create(.queued(Self.big("new"))).isNew)
      _ = try await store.transition(JobID(trusted: "queued"), .start(at: .at(9)))
      try await store.save(other)
      #expect(try await store.registeredRunners() == [other])
      try await expectWhole(store)
    }
  }

  @Test("the end of a job waits for space, lands by itself, and wakes who waits for it")
  func finishWaits() async throws {
    try await onSmallDisk { disk, fixture in
      let store = try await fixture.open()
      let ids = (0..<6).map { JobID(trusted: "job-\($0)") }
      for id in ids { try await store.make(.sample(id.rawValue), .running) }
      try disk.fill()
      await expectFull { _ = try await store.create(.queued(Self.big("new"))) }
      let answered = Answered()
      let finishes = ids.prefix(4).map { id in
        Task {
          let record = try await store.transition(id, .completed(id.rawValue))
          await answered.add(id)
          return record
        }
      }
      let requeue = Task {
        let record = try await store.transition(ids[4], .requeue(at: .at(9)))
        await answered.add(ids[4])
        return record
      }
      let wait = Task { try await store.finished(ids[0]) }
      let failures = await store.statistics.failedCommits
      // Several more attempts fail, also with other steps that are refused meanwhile.
      for _ in 0..<3 { await expectFull { _ = try await store.create(.queued(Self.big("new"))) } }
      #expect(await eventually { await store.statistics.failedCommits >= failures + 5 })
      #expect(await answered.ids == [])
      #expect(try await store.record(ids[0]).status == .running)
      #expect(try await store.unfinished().count == 6)
      // A second end of a job whose first waits is no more legal than later.
      await expect(.wrongState(ids[0], .completed)) { _ = try await store.transition(ids[0], .failed()) }
      disk.free()
      for (id, finish) in zip(ids, finishes) {
        let record = try await finish.value
        #expect(record.result == .success(id.rawValue))
        #expect(try await store.record(id) == record)
      }
      #expect(try await requeue.value.status == .queued)
      #expect(try await wait.value.status == .completed)
      #expect(await store.unavailability() == nil)
      #expect(try await store.unfinished().map(\.status) == [.queued, .running])
      try await expectWhole(store)
      await fixture.close(store)
      let again = try await fixture.open()
      #expect(
        try await again.query(JobQuery()).jobs.map(\.status)
          == [.running, .queued, .completed, .completed, .completed, .completed])
    }
  }

  @Test("many refused steps do not multiply the attempts of the waiting ones")
  func oneRetry() async throws {
    try await onSmallDisk { disk, fixture in
      let store = try await fixture.open()
      try await store.make(.sample("job"), .running)
      try disk.fill()
      let finish = Task { try await store.transition(JobID(trusted: "job"), .completed("\(Self.big("x").payload)")) }
      #expect(await eventually { await store.statistics.failedCommits > 0 })
      for _ in 0..<50 { await expectFull { _ = try await store.create(.queued(Self.big("new"))) } }
      let before = await store.statistics.failedCommits
      let start = ContinuousClock.now
      #expect(await eventually { await store.statistics.failedCommits >= before + 3 })
      // Three attempts, 200 ms apart.
      #expect(ContinuousClock.now - start >= .milliseconds(390))
      disk.free()
      #expect(try await finish.value.status == .completed)
    }
  }

  @Test("a store that is closed while its disk is full refuses what waits, and is whole at the next start")
  func closeWhileFull() async throws {
    try await onSmallDisk { disk, fixture in
      let store = try await fixture.open()
      try await store.make(.sample("job"), .running)
      try disk.fill()
      let finish = Task { try await store.transition(JobID(trusted: "job"), .completed("\(Self.big("x").payload)")) }
      #expect(await eventually { await store.statistics.failedCommits > 0 })
      await fixture.close(store)
      guard case .failure(JobStoreError.unavailable) = await finish.result else {
        Issue.record("the finish of a closed store was answered")
        return
      }
      disk.free()
      let again = try await fixture.open()
      #expect(try await again.record(JobID(trusted: "job")).status == .running)
      try await expectWhole(again)
    }
  }

  @Test("a store cannot be made on a full disk, says why, and can be made once there is space")
  func openOnFullDisk() async throws {
    try await onSmallDisk { disk, fixture in
      try disk.fill()
      let refusal = await fixture.refusal()
      #expect(refusal?.description.contains("No space left on device") == true || refusal == .cannotOpen(Self.full))
      disk.free()
      let store = try await fixture.open()
      #expect(try await store.create(.queued(.sample("job"))).isNew)
    }
  }

  @Test("under load a disk that fills and empties many times loses nothing that was answered")
  func manyOutages() async throws {
    try await SmallDisk.with(bytes: 48 << 20) { disk in
      try await StoreFixture.with(directory: disk.path) { fixture in
        let store = try await fixture.open()
        let clients = (0..<8).map { client in
          Task {
            var created: [JobID: Bool] = [:]
            while !Task.isCancelled {
              let id = JobID(trusted: "job-\(client)-\(created.count)")
              guard (try? await store.create(.queued(.sample(id.rawValue, payload: Self.text(2000))))) != nil else {
                // As a client would, it tries again a little later.
                try? await fixture.loop.sleep(for: .milliseconds(5))
                continue
              }
              created[id] = false
              guard (try? await store.transition(id, .start(at: .at(1)))) != nil else { continue }
              _ = try await store.transition(id, .completed(id.rawValue))
              created[id] = true
            }
            return created
          }
        }
        for _ in 0..<6 {
          try disk.fill()
          #expect(await eventually { await store.unavailability() == Self.full })
          disk.free()
          #expect(await eventually { await store.unavailability() == nil })
        }
        for client in clients { client.cancel() }
        var isCompleted: [JobID: Bool] = [:]
        for client in clients { isCompleted.merge(try await client.value) { $1 } }
        #expect(isCompleted.values.contains(true))
        await fixture.close(store)
        let again = try await fixture.open()
        let page = try await again.query(JobQuery(limit: 1_000_000, maximumBytes: 1 << 30))
        #expect(page.jobs.count == isCompleted.count)
        for record in page.jobs {
          let id = record.job.id
          #expect(record.status == (isCompleted[id] == true ? .completed : .queued), "\(id)")
          if record.status == .completed { #expect(record.result == .success(id.rawValue)) }
        }
        try await expectWhole(again)
      }
    }
  }

  // MARK: What the tests share

  private func onSmallDisk(_ body: (SmallDisk, StoreFixture) async throws -> Void) async throws {
    try await SmallDisk.with { disk in
      try await StoreFixture.with(directory: disk.path) { fixture in try await body(disk, fixture) }
    }
  }

  private static func text(_ count: Int) -> String { String(repeating: "x", count: count) }

  /// A job that does not fit into what SQLite has already reserved.
  private static func big(_ id: String) -> Job { .sample(id, payload: text(100_000)) }

  private func expectFull(
    _ location: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
  ) async {
    await expect(.unavailable(Self.full, retryAfterMilliseconds: 1000), location, body)
  }

  private func expectWhole(_ store: SQLiteJobStore) async throws {
    let finding = try await store.pool.read { try String.fetchOne($0, sql: "PRAGMA integrity_check") }
    #expect(finding == "ok")
  }
}

private actor Answered {
  private(set) var ids: [JobID] = []
  func add(_ id: JobID) { ids.append(id) }
}
