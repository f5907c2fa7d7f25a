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

  @Test("of the first version are brought up to date with all that is in them: jobs, owners, epochs and leases")
  func first() async throws {
    let server = try PostgresServer.shared.get()
    let url = try server.makeDatabase()
    try server.sql(FirstSchema.sql, database: String(url.split(separator: "/").last!))
    try await StoreFixture.with(url: url) { fixture in
      let store = try await fixture.open()
      #expect(await store.schema.version == Schema.migrations.count)
      let ended = try await store.record(JobID(trusted: "ended"))
      #expect(ended.status == .completed && ended.result == .success("result") && ended.job.payload == "payload")
      #expect(String(decoding: try await store.output(ended.job.id).stderr, as: UTF8.self) == "err")
      let queued = try await store.record(JobID(trusted: "queued"))
      #expect(queued.job.environment == ["A": "b"] && queued.position == 3_145_728)
      #expect(try await store.query(JobQuery()).jobs.map(\.job.id.rawValue) == ["queued", "running", "ended"])

      // The lease of this node's former life is over; the other node's is in force until somebody has seen that it is not.
      #expect(try await store.peerLeases().map(\.session) == [202])
      let (mine, theirs) = (RunnerName(trusted: "mine"), RunnerName(trusted: "theirs"))
      let claims = [
        RegisteredRunner(name: mine, queue: QueueName(trusted: "q")),
        RegisteredRunner(name: theirs, queue: QueueName(trusted: "q2")),
      ]
      #expect(
        try await store.claim(claims, consented: false)
          == [RegisteredRunner(name: mine, queue: QueueName(trusted: "q"), epoch: 8)])
      let other = try #require(try await store.ownedRunners().first { $0.runner.name == theirs })
      #expect(other.isAlive && other.owner == NodeName(trusted: "n2"))
      #expect(other.runner.epoch == 4 && other.runner.isStopped)

      try await store.recoverRunning([RunnerSettings(name: mine, queue: QueueName(trusted: "q"))], abandoned: [])
      let recovered = try await store.record(JobID(trusted: "running"))
      #expect(recovered.status == .queued && recovered.attempt == 1 && recovered.process == nil)
      _ = try await store.create(.queued(.sample("new", runner: "mine")))
      let line = try await store.waiting([mine], after: .min, limit: 10)
      #expect(line.map(\.id.rawValue) == ["running", "queued", "new"])
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
