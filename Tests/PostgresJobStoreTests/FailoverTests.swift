import EventLoop
import Foundation
import JobStoreConformance
import PostgresServer
import Supervisor
import Testing

@testable import PostgresJobStore

// A primary and its standby, and what the old primary may still say after the standby was promoted.

@Suite("Another server", .timeLimit(.minutes(10)))
struct FailoverTests {
  @Test("an old primary that is left up, read-only or as a standby, is not read: what the new one took is there")
  func oldPrimaryLeftUp() async throws {
    let (primary, standby) = try Self.pair()
    defer { for server in [primary, standby] { server.remove() } }
    let url = "postgresql://hero@127.0.0.1:\(primary.port),127.0.0.1:\(standby.port)/hero"
    try await StoreFixture.with(url: url) { fixture in
      let store = try await fixture.open()
      try await store.make(.sample("before"), .queued)
      let wait = Task { try await store.finished(JobID(trusted: "before")) }
      #expect(await eventually { await store.finishWaiters.count == 1 })

      try await PostgresServer.aside {
        try primary.sql("ALTER SYSTEM SET synchronous_standby_names = ''")
        try primary.sql("ALTER SYSTEM SET default_transaction_read_only = on")
        try primary.sql("SELECT pg_reload_conf()")
        try standby.promote()
      }
      try await takesWrites(store, "first")
      try await isConsistent(store, "left up")
      #expect(await store.statistics.serverChanges == 1)
      _ = try await store.transition(JobID(trusted: "before"), .start(at: .at(5)))
      _ = try await store.transition(JobID(trusted: "before"), .completed())
      #expect(try await wait.value.status == .completed)

      // It is back, and takes no writes since it is a standby; and the node has to connect anew.
      try await PostgresServer.aside {
        try primary.stop()
        _ = FileManager.default.createFile(atPath: "\(primary.directory)/data/standby.signal", contents: nil)
        try primary.start()
        try standby.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'hero-%'")
      }
      try await takesWrites(store, "second")
      try await isConsistent(store, "standby")
      #expect(await store.statistics.serverChanges == 1)
    }
  }

  @Test("an old primary that falls silent is left for the new one, by reads and writes alike")
  func oldPrimarySilent() async throws {
    let (primary, standby) = try Self.pair()
    defer { for server in [primary, standby] { server.remove() } }
    try await StoreFixture.with(url: primary.url()) { fixture in
      let proxy = try await CuttingProxy.open(to: primary.port, on: fixture.loop)
      var options = fixture.options()
      options.url =
        "postgresql://hero@127.0.0.1:\(await proxy.port()),127.0.0.1:\(standby.port)/hero?connect_timeout=2"
      options.lease = .seconds(4)
      let store = try await fixture.open(options)
      do {
        try await store.make(.sample("before"), .running)
        let wait = Task { try await store.finished(JobID(trusted: "before")) }
        #expect(await eventually { await store.finishWaiters.count == 1 })
        await proxy.freeze()
        try await PostgresServer.aside { try standby.promote() }
        // Nobody hangs meanwhile, and nobody is told that the job is not there.
        let read = await attempt { () async throws(JobStoreError) in try await store.record(JobID(trusted: "before")) }
        if case .failure(let error) = read, case .unavailable = error {
        } else {
          #expect(throws: Never.self) { try read.get() }
        }
        try await takesWrites(store, "first")
        try await isConsistent(store, "new")
        _ = try await store.transition(JobID(trusted: "before"), .completed())
        #expect(try await wait.value.status == .completed)
        #expect(await eventually { await store.leaseLoss() == nil })
        #expect(await store.statistics.serverChanges == 1)
      } catch {
        await fixture.close(store)
        await proxy.close()
        throw error
      }
      await fixture.close(store)
      await proxy.close()
    }
  }

  /// A primary, and a standby that has what was acknowledged.
  private static func pair() throws -> (PostgresServer, PostgresServer) {
    let primary = try PostgresServer(settings: ["fsync = off"])
    do {
      let standby = try PostgresServer(following: primary)
      try primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
      try primary.sql("SELECT pg_reload_conf()")
      return (primary, standby)
    } catch {
      primary.remove()
      throw error
    }
  }

  private func takesWrites(_ store: PostgresJobStore, _ id: String) async throws {
    #expect(
      await eventually {
        let answer = await attempt { () async throws(JobStoreError) in try await store.create(.created(.sample(id))) }
        if case .success = answer { return true }
        return false
      })
  }

  /// Whatever is acknowledged is read at once, by every connection.
  private func isConsistent(_ store: PostgresJobStore, _ prefix: String) async throws {
    for number in 0..<20 {
      let id = JobID(trusted: "\(prefix)-\(number)")
      try await store.make(.sample(id.rawValue), .queued)
      let records = try await concurrently(4) { _ in try await store.record(id) }
      #expect(records.allSatisfy { $0.status == .queued })
      #expect(try await store.place(id).status == .queued)
      #expect(try await store.waiting([RunnerName(trusted: "runner")], after: 0, limit: 1000).contains { $0.id == id })
    }
  }
}
