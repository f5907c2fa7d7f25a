import EventLoop
import JobStoreConformance
import PostgresServer
import Supervisor
import Testing

@testable import PostgresJobStore

@Suite("The tables in the database", .timeLimit(.minutes(10)))
struct MigrationTests {
  @Test("are made once by ten nodes that start together")
  func together() async throws {
    try await StoreFixture.with { fixture in
      let stores = try await concurrently(10) { try await fixture.open(fixture.options(node: "n\($0)")) }
      for store in stores { #expect(await store.schema.version == Schema.migrations.count) }
      _ = try await concurrently(10) { try await stores[$0].create(.created(.sample("job-\($0)"))) }
      #expect(try await stores[0].query(JobQuery()).jobs.count == 10)
    }
  }

  @Test("of a newer version are read, and written where that version allows it; the reason is said")
  func newer() async throws {
    let server = try PostgresServer.shared.get()
    let url = try server.makeDatabase()
    let database = String(url.split(separator: "/").last!)
    try await StoreFixture.with(url: url) { fixture in
      let store = try await fixture.open()
      _ = try await store.create(.created(.sample("job")))
      await fixture.close(store)
      try server.sql("UPDATE hero_schema SET version = 99", database: database)
      let known = Schema.migrations.count
      let allowed = try await fixture.open()
      #expect(await allowed.unavailability() == nil)
      _ = try await allowed.create(.created(.sample("another")))
      await fixture.close(allowed)

      try server.sql("UPDATE hero_schema SET oldest_writer = 99", database: database)
      let reader = try await fixture.open()
      let reason = "the database's schema is version 99, and this node knows \(known): it only reads"
      #expect(await reader.unavailability() == reason)
      #expect(try await reader.record(JobID(trusted: "job")).job == .sample("job"))
      await expect(.unavailable(reason, retryAfterMilliseconds: 60_000)) {
        _ = try await reader.create(.created(.sample("third")))
      }
      await expect(.unavailable(reason, retryAfterMilliseconds: 60_000)) {
        _ = try await reader.claim(
          [RegisteredRunner(name: RunnerName(trusted: "r"), queue: QueueName(trusted: "q"))], consented: false)
      }
    }
  }

  @Test("are not made in a database of another encoding, nor where nobody answers; the reason is said")
  func refusals() async throws {
    let server = try PostgresServer.shared.get()
    try server.sql("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    for (url, words) in [
      (server.url("latin"), "its encoding is LATIN1, and must be UTF8"),
      (server.url("nowhere"), "database \"nowhere\" does not exist"),
      ("postgresql://hero@127.0.0.1:1/hero", "Connection refused"), ("not a url", "a word in it has no \"=\""),
    ] {
      try await StoreFixture.with(url: url) { fixture in
        do {
          _ = try await fixture.open()
          Issue.record("\(url) was accepted")
        } catch let error as PostgresJobStoreError {
          #expect(error.description.contains(words), "\(error)")
        }
      }
    }
  }
}
