import Foundation
import GRDB
import JobStoreConformance
import Supervisor
import Testing

@testable import SQLiteJobStore

// What a crash leaves, whole or damaged.

@Suite("A SQLite store after a crash", .timeLimit(.minutes(10)))
struct DamageTests {
  @Test("what was answered is there after a crash at that moment")
  func crash() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      let records = try await concurrently(60) { number in
        try await store.make(.sample("job-\(number)"), JobStatus.allCases[number % 6])
      }
      let unfinished = try await store.unfinished()
      try await fixture.crashed { path in
        let recovered = try await fixture.open(path: path)
        for record in records { #expect(try await recovered.record(record.job.id) == record) }
        #expect(try await recovered.unfinished() == unfinished)
        await fixture.close(recovered)
      }
    }
  }

  @Test(
    "a file whose middle was overwritten is refused after a crash, and says what to do", arguments: [0, 0x5A, 0xFF])
  func overwritten(_ byte: UInt8) async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      try await fill(store)
      try await store.pool.writeWithoutTransaction { _ = try $0.checkpoint(.truncate) }
      try await fixture.crashed { path in
        try overwrite(path, with: byte)
        let refusal = await fixture.refusal(path: path)
        guard case .corrupt(let finding)? = refusal else {
          Issue.record("not refused as damaged: \(String(describing: refusal))")
          return
        }
        #expect(!finding.isEmpty)
        #expect(refusal!.description.contains("the file is damaged"))
        #expect(refusal!.description.contains("`sqlite3 FILE .dump`"))
        // The refusal is not a matter of the first attempt.
        #expect(await fixture.refusal(path: path) == refusal)
      }
    }
  }

  @Test("a file that ends too early is refused")
  func cutOff() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      try await fill(store)
      try await store.pool.writeWithoutTransaction { _ = try $0.checkpoint(.truncate) }
      try await fixture.crashed { path in
        let size = try Data(contentsOf: URL(fileURLWithPath: path)).count
        #expect(truncate(path, size / 2 / 4096 * 4096) == 0)
        guard case .corrupt? = await fixture.refusal(path: path) else {
          Issue.record("not refused as damaged")
          return
        }
      }
    }
  }

  @Test("a log that was cut off in the middle of a transaction loses that transaction and nothing before it")
  func tornLog() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      for number in 0..<10 { _ = try await store.create(.queued(.sample("job-\(number)"))) }
      let size = try Data(contentsOf: URL(fileURLWithPath: fixture.path + "-wal")).count
      let payload = String(repeating: "x", count: 50_000)
      _ = try await store.create(.queued(.sample("last", payload: payload)))
      try await fixture.crashed { path in
        #expect(truncate(path + "-wal", size + 20_000) == 0)
        let recovered = try await fixture.open(path: path)
        #expect(try await recovered.unfinished().map(\.id.rawValue) == (0..<10).map { "job-\($0)" })
        await expect(.notFound(JobID(trusted: "last"))) { _ = try await recovered.record(JobID(trusted: "last")) }
        await fixture.close(recovered)
      }
    }
  }

  private func fill(_ store: SQLiteJobStore) async throws {
    let payload = String(repeating: "payload ", count: 100)
    _ = try await concurrently(500) {
      try await store.create(.queued(.sample("job-\($0)", payload: payload)))
    }
  }

  /// Overwrites the eighth of the file around its middle.
  private func overwrite(_ path: String, with byte: UInt8) throws {
    let file = try FileHandle(forUpdating: URL(fileURLWithPath: path))
    let size = try file.seekToEnd()
    try file.seek(toOffset: size / 16 * 7)
    try file.write(contentsOf: Data(repeating: byte, count: Int(size / 8)))
    try file.close()
  }
}
