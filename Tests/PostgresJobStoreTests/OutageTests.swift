import EventLoop
import JobStoreConformance
import PostgresServer
import Supervisor
import Synchronization
import Testing

@testable import PostgresJobStore

// Connections that end in the middle, and servers that go away and come back.

@Suite("The database away", .timeLimit(.minutes(10)))
struct OutageTests {
  /// A store behind a proxy.
  private func withProxy(
    lease: Duration = .seconds(15),
    _ body: (StoreFixture, PostgresJobStore, CuttingProxy) async throws -> Void
  ) async throws {
    let server = try PostgresServer.shared.get()
    let url = try server.makeDatabase()
    try await StoreFixture.with(url: url) { fixture in
      let proxy = try await CuttingProxy.open(to: server.port, on: fixture.loop)
      var options = fixture.options()
      options.url = url.replacing(":\(server.port)/", with: ":\(await proxy.port())/")
      options.lease = lease
      let store = try await fixture.open(options)
      do { try await body(fixture, store, proxy) } catch {
        await fixture.close(store)
        await proxy.close()
        throw error
      }
      await fixture.close(store)
      await proxy.close()
    }
  }

  @Test("a commit whose answer was lost is settled: every step happened once, and its caller is told so")
  func inDoubt() async throws {
    try await withProxy { fixture, store, proxy in
      let job = Job.sample("job")
      let steps: [(String, () async throws -> Bool)] = [
        ("create", { try await store.create(.created(job)).isNew }),
        ("enqueue", { try await store.transition(job.id, .enqueue(at: .at(1))).status == .queued }),
        ("start", { try await store.transition(job.id, .start(at: .at(2))).attempt == 1 }),
        ("spawned", { try await store.transition(job.id, .spawned(.sample, at: .at(3))).process == .sample }),
        ("requeue", { try await store.transition(job.id, .requeue(at: .at(4))).status == .queued }),
        ("start again", { try await store.transition(job.id, .start(at: .at(5))).attempt == 2 }),
        ("finish", { try await store.transition(job.id, .completed()).status == .completed }),
      ]
      for (number, step) in steps.enumerated() {
        // The statement is prepared at its first use, and named after that: either way COMMIT closes the message.
        await proxy.swallow("commit\0")
        #expect(try await step.1(), "\(step.0)")
        #expect(await proxy.cutCount() == number + 1, "\(step.0)")
      }
      await proxy.swallow("commit\0")
      try await store.delete(job.id)
      await expect(.notFound(job.id)) { _ = try await store.record(job.id) }
      #expect(await proxy.cutCount() == steps.count + 1)
    }
  }

  @Test("while it is away, new jobs are refused with a hint when to try again, and ends are kept and written later")
  func away() async throws {
    try await withProxy { fixture, store, proxy in
      let events = Events()
      await store.observe { events.add($0) }
      try await store.make(.sample("running"), .running)
      try await store.make(.sample("waiting"), .queued)
      let wait = Task { try await store.finished(JobID(trusted: "running")) }
      #expect(await eventually { await store.finishWaiters.count == 1 })
      // It has looked, and waits.
      #expect(await eventually { await store.statistics.reads == 1 })
      await proxy.setDown(true)
      #expect(await eventually { await store.unavailability() != nil })
      let refusal = await attempt { () async throws(JobStoreError) in try await store.create(.created(.sample("new"))) }
      guard case .failure(.unavailable(let reason, 1000)) = refusal, reason.hasPrefix("the database is not available: ")
      else {
        Issue.record("\(refusal)")
        return
      }
      let end = Task { try await store.transition(JobID(trusted: "running"), .completed()) }
      let start = Task { try await store.transition(JobID(trusted: "waiting"), .start(at: .at(7))) }
      try await fixture.loop.sleep(for: .milliseconds(300))
      await proxy.setDown(false)
      #expect(try await end.value.status == .completed)
      #expect(try await start.value.attempt == 1)
      #expect(try await wait.value.status == .completed)
      #expect(await eventually { events.contains { if case .recovered = $0 { true } else { false } } })
      #expect(await store.unavailability() == nil)
      #expect(try await store.create(.created(.sample("new"))).isNew)
    }
  }

  @Test(
    "a wait that begins while the database is away waits on, until it is back and the job has ended, or is not there")
  func lateWaits() async throws {
    try await withProxy { fixture, store, proxy in
      try await store.make(.sample("running"), .running)
      try await store.make(.sample("done"), .completed)
      await proxy.setDown(true)
      #expect(await eventually { await store.unavailability() != nil })
      let waits = ["running", "done", "none"].map { id in Task { try await store.finished(JobID(trusted: id)) } }
      #expect(await eventually { await store.finishWaiters.count == 3 })
      #expect(await eventually { await store.hasUnseenWaits })
      await proxy.setDown(false)
      #expect(try await waits[1].value.status == .completed)
      await expect(.notFound(JobID(trusted: "none"))) { _ = try await waits[2].value }
      #expect(await eventually { await store.unavailability() == nil })
      _ = try await store.transition(JobID(trusted: "running"), .completed())
      #expect(try await waits[0].value.status == .completed)
    }
  }

  @Test("a lease that cannot be renewed is lost in time, and found again; what nobody took is still there")
  func lease() async throws {
    try await withProxy(lease: .seconds(5)) { fixture, store, proxy in
      let events = Events()
      await store.observe { events.add($0) }
      _ = try await store.claim(
        [RegisteredRunner(name: RunnerName(trusted: "r"), queue: QueueName(trusted: "q"))], consented: false)
      try await store.make(.sample("job", runner: "r"), .running)
      #expect(await store.leaseLoss() == nil)
      await proxy.setDown(true)
      #expect(await eventually { await store.leaseLoss() != nil })
      // Before others may take what it owns.
      let database = String(fixture.url.split(separator: "/").last!)
      #expect(
        try PostgresServer.shared.get().sql("SELECT is_over FROM hero_nodes", database: database) == "f")
      #expect(events.contains { if case .leaseLost = $0 { true } else { false } })
      await proxy.setDown(false)
      #expect(await eventually { await store.leaseLoss() == nil })
      #expect(await eventually { events.contains { if case .leaseRegained = $0 { true } else { false } } })
      #expect(try await store.transition(JobID(trusted: "job"), .requeue(at: .at(9))).status == .queued)
    }
  }

  @Test("the lease goes on when its connection is silent and no other can be made, since the readers renew it")
  func silentControl() async throws {
    try await withProxy(lease: .seconds(4)) { fixture, store, proxy in
      let events = Events()
      await store.observe { events.add($0) }
      // Only renewals write this.
      await proxy.silence("renew\0")
      #expect(await eventually { await proxy.hasSilenced() })
      #expect(await eventually { await store.controlLine.connection == nil })
      // Renewed for longer than a lease.
      let database = String(fixture.url.split(separator: "/").last!)
      let server = try PostgresServer.shared.get()
      for _ in 0..<3 {
        let before = try server.sql("SELECT beat FROM hero_nodes", database: database)
        #expect(try await eventually { try server.sql("SELECT beat FROM hero_nodes", database: database) != before })
      }
      #expect(!events.contains { if case .leaseLost = $0 { true } else { false } })
      #expect(await store.leaseLoss() == nil)
      #expect(await store.controlLine.connection == nil)
    }
  }

  @Test("a wait at one node ends when the job ends at another: by notification, not by polling")
  func notification() async throws {
    try await StoreFixture.with { fixture in
      var options = fixture.options(node: "a")
      options.pollInterval = .seconds(3600)
      let a = try await fixture.open(options)
      options.node = NodeName(trusted: "b")
      options.instance = "b"
      let b = try await fixture.open(options)
      let events = Events()
      await a.observe { events.add($0) }
      for number in 0..<50 { try await b.make(.sample("job-\(number)"), .running) }
      let waits = (0..<50).map { number in Task { try await a.finished(JobID(trusted: "job-\(number)")) } }
      #expect(await eventually { await a.finishWaiters.count == 50 })
      _ = try await concurrently(49) { try await b.transition(JobID(trusted: "job-\($0)"), .completed("\($0)")) }
      for (number, wait) in waits.dropLast().enumerated() {
        #expect(try await wait.value.result == .success("\(number)"))
      }
      _ = try await b.transition(JobID(trusted: "job-49"), .requeue(at: .at(9)))
      #expect(
        await eventually {
          events.contains { if case .queued([RunnerName(trusted: "runner")]) = $0 { true } else { false } }
        })
      try await b.delete(JobID(trusted: "job-49"))
      await expect(.notFound(JobID(trusted: "job-49"))) { _ = try await waits[49].value }
    }
  }

  @Test("a wait ends without notifications as well, by a look now and then")
  func polling() async throws {
    let server = try PostgresServer.shared.get()
    let url = try server.makeDatabase()
    try await StoreFixture.with(url: url) { fixture in
      var options = fixture.options()
      options.pollInterval = .milliseconds(50)
      let store = try await fixture.open(options)
      try await store.make(.sample("job"), .queued)
      let wait = Task { try await store.finished(JobID(trusted: "job")) }
      #expect(await eventually { await store.finishWaiters.count == 1 })
      // As by a node of a database that has no NOTIFY.
      try server.sql(
        "UPDATE hero_jobs SET status = 3, result = 'x', completed_at = now()",
        database: String(url.split(separator: "/").last!))
      #expect(try await wait.value.result == .success("x"))
    }
  }

  @Test("killed and started again, or replaced by its standby, it has every job that was acknowledged")
  func failover() async throws {
    let primary = try PostgresServer(settings: ["synchronous_commit = on"])
    defer { primary.remove() }
    let standby = try PostgresServer(following: primary)
    defer { standby.remove() }
    try primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
    try primary.sql("SELECT pg_reload_conf()")
    let url =
      "postgresql://hero@127.0.0.1:\(primary.port),127.0.0.1:\(standby.port)/hero?target_session_attrs=read-write"
    try await StoreFixture.with(url: url) { fixture in
      let store = try await fixture.open()
      let ledger = Acknowledged()
      try await withThrowingDiscardingTaskGroup { group in
        for client in 0..<4 {
          group.addTask {
            var number = 0
            while !ledger.isDone {
              number += 1
              let id = "job-\(client)-\(number)"
              let answer = await attempt { () async throws(JobStoreError) in
                try await store.create(.queued(.sample(id)))
              }
              switch answer {
              case .success: ledger.add(id)
              case .failure: try await fixture.loop.sleep(for: .milliseconds(10))
              }
            }
          }
        }
        group.addTask {
          try await fixture.loop.sleep(for: .milliseconds(500))
          try primary.kill()
          try primary.start()
          try await fixture.loop.sleep(for: .milliseconds(1000))
          try primary.kill()
          try standby.promote()
          let before = ledger.ids.count
          #expect(await eventually { ledger.ids.count > before + 20 })
          ledger.end()
        }
      }
      let ids = Set(try await store.unfinished().map(\.id.rawValue))
      let lost = ledger.ids.subtracting(ids)
      #expect(lost.isEmpty, "\(lost.sorted())")
      #expect(ids.count > 20)
    }
  }
}

/// What a store told.
private final class Events: Sendable {
  private let events = Mutex<[SharedStoreEvent]>([])
  func add(_ event: SharedStoreEvent) { events.withLock { $0.append(event) } }
  func contains(_ isIt: (SharedStoreEvent) -> Bool) -> Bool { events.withLock { $0.contains(where: isIt) } }
}

/// What a store has said yes to.
private final class Acknowledged: Sendable {
  private let state = Mutex<(ids: Set<String>, isDone: Bool)>(([], false))
  var ids: Set<String> { state.withLock { $0.ids } }
  var isDone: Bool { state.withLock { $0.isDone } }
  func add(_ id: String) { state.withLock { _ = $0.ids.insert(id) } }
  func end() { state.withLock { $0.isDone = true } }
}
