import Foundation
import Glibc
import JobStoreConformance
import Supervisor
import Testing

@testable import SQLiteJobStore

// A directory that cannot be written.

@Suite("A SQLite store in a read-only directory", .timeLimit(.minutes(10)))
struct ReadOnlyTests {
  @Test(
    "is refused at opening with the reason, and opens again when the directory may be written",
    .enabled(if: geteuid() != 0 || SmallDisk.obstacle == nil, "root ignores permissions, and needs a mount here"))
  func opening() async throws {
    if geteuid() == 0 {
      try await SmallDisk.with { disk in
        try await StoreFixture.with(directory: disk.path) { fixture in
          try await check(fixture, forbid: disk.makeReadOnly, "Read-only file system")
        }
      }
    } else {
      try await StoreFixture.with { fixture in
        try await check(fixture, forbid: { chmod(fixture.directory, 0o500) }, "Permission denied")
        chmod(fixture.directory, 0o700)
        #expect(try await fixture.open().unfinished().count == 1)
      }
    }
  }

  private func check(_ fixture: StoreFixture, forbid: () throws -> Void, _ reason: String) async throws {
    let store = try await fixture.open()
    _ = try await store.create(.queued(.sample("job")))
    await fixture.close(store)
    // Where there was no store before, the lock cannot even be made.
    unlink(fixture.path + ".lock")
    try forbid()
    let refusal = await fixture.refusal()
    #expect(refusal?.description.contains(reason) == true, "\(String(describing: refusal))")
    #expect(refusal?.description.contains(fixture.path) == true)
  }
}
