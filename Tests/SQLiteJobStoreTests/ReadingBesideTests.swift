import Foundation
import GRDB
import JobStoreConformance
import Logging
import Supervisor
import Testing

@testable import SQLiteJobStore

// The second way to open a file: for an export, beside the node that uses it.

@Suite("Reading a SQLite store beside its node", .timeLimit(.minutes(10)))
struct ReadingBesideTests {
  private func openReadOnly(_ fixture: StoreFixture) async throws -> SQLiteJobStore {
    try await SQLiteJobStore.openReadOnly(
      path: fixture.path, loop: fixture.loop, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
  }

  @Test("sees each commit, writes nothing, and takes nothing from the node when it closes")
  func beside() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      _ = try await store.create(.queued(.sample("first")))
      let reader = try await openReadOnly(fixture)
      #expect(reader.instance == store.instance)
      _ = try await store.create(.created(.sample("second")))
      let page = try await reader.export(from: ExportPosition(.created), limit: 10, maximumBytes: .max)
      #expect(page.jobs.map(\.record) == [.created(.sample("second"))])
      await #expect(throws: JobStoreError.self) { _ = try await reader.create(.queued(.sample("third"))) }
      await reader.close()
      _ = try await store.create(.queued(.sample("third")))
      let marks = try await store.pool.read {
        try Int.fetchOne($0, sql: "SELECT count(*) FROM meta WHERE key = 'is_open'")
      }
      #expect(marks == 1, "a crash of the node is still known as one")
      await fixture.close(store)
      let closed = try await openReadOnly(fixture)
      #expect(try await closed.unfinished().map(\.id.rawValue) == ["first", "third"])
      await closed.close()
    }
  }

  @Test("is refused with the reason where there is no file, or one of another version")
  func refused() async throws {
    try await StoreFixture.with { fixture in
      await #expect(throws: SQLiteJobStoreError.cannotOpen("No such file or directory")) {
        _ = try await openReadOnly(fixture)
      }
      await fixture.close(try await fixture.open())
      let known = Schema.migrations.count
      for (version, refusal) in [
        (known - 1, SQLiteJobStoreError.olderVersion(found: known - 1, known: known)),
        (known + 1, .newerVersion(found: known + 1, known: known)),
      ] {
        try await edit(fixture.path, "PRAGMA user_version = \(version)")
        await #expect(throws: refusal) { _ = try await openReadOnly(fixture) }
      }
    }
  }
}
