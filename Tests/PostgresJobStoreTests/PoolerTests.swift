import EventLoop
import JobStoreConformance
import PostgresServer
import Supervisor
import Testing

@testable import PostgresJobStore

@Suite(
  "A pooler before the database", .timeLimit(.minutes(10)),
  .enabled(if: PgBouncer.isInstalled, "there is no PgBouncer; scripts/pgbouncer install unpacks it"))
struct PoolerTests {
  private func through(_ bouncer: PgBouncer, _ url: String, _ server: PostgresServer) -> String {
    url.replacing(":\(server.port)/", with: ":\(bouncer.port)/")
  }

  @Test("works in session mode: steps, waits across nodes, and sessions that are cut")
  func session() async throws {
    let server = try PostgresServer.shared.get()
    let bouncer = try PgBouncer(before: server, mode: "session")
    defer { bouncer.remove() }
    let url = try server.makeDatabase()
    try await StoreFixture.with(url: through(bouncer, url, server)) { fixture in
      var options = fixture.options(node: "a")
      options.pollInterval = .seconds(3600)
      let a = try await fixture.open(options)
      options.node = NodeName(trusted: "b")
      options.instance = "b"
      let b = try await fixture.open(options)
      for round in 0..<3 {
        let job = Job.sample("job-\(round)")
        try await b.make(job, .running)
        let wait = Task { try await a.finished(job.id) }
        #expect(await eventually { await a.finishWaiters.count == 1 })
        _ = try await b.transition(job.id, .completed("\(round)"))
        #expect(try await wait.value.result == .success("\(round)"))
        try server.sql(
          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'hero-supervisor%'",
          database: String(url.split(separator: "/").last!))
        #expect(await eventually { await a.statistics.connections >= 4 * (round + 2) })
        #expect(await eventually { await b.statistics.connections >= 4 * (round + 2) })
      }
      #expect(await a.leaseLoss() == nil)
    }
  }

  @Test("is refused where it does not keep sessions together, in one sentence that says what to do")
  func others() async throws {
    let server = try PostgresServer.shared.get()
    for mode in ["transaction", "statement"] {
      let bouncer = try PgBouncer(before: server, mode: mode)
      defer { bouncer.remove() }
      try await StoreFixture.with(url: through(bouncer, try server.makeDatabase(), server)) { fixture in
        // The second time sessions are there that others have used.
        for _ in 0..<2 {
          do {
            _ = try await fixture.openWithoutLease()
            Issue.record("\(mode) was accepted")
          } catch let error as PostgresJobStoreError {
            #expect(error.description.contains("pool_mode = session") || mode == "statement", "\(error)")
            #expect(!error.description.contains("\n"))
          }
        }
      }
    }
  }
}
