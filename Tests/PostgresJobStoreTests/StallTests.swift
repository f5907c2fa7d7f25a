import EventLoop
import JobStoreConformance
import PostgresServer
import Supervisor
import Synchronization
import Testing

@testable import PostgresJobStore

// A database that answers, but not at once: locks of others, a standby that is lost, sessions that the server ends.

@Suite("A database that makes wait", .timeLimit(.minutes(10)))
struct StallTests {
  private static func database(_ url: String) -> String { String(url.split(separator: "/").last!) }

  /// What a node has at the server, by the server's count.
  private func sessions(_ server: PostgresServer, _ database: String) throws -> Int {
    let count = try server.sql(
      """
      SELECT count(*) FROM pg_stat_activity
      WHERE datname = '\(database)' AND application_name LIKE 'hero-supervisor%'
      """, database: database)
    return Int(count)!
  }

  /// Refused within five seconds, with a reason.
  private func isRefusedInTime<Value: Sendable>(
    _ what: String, _ body: () async throws(JobStoreError) -> Value
  ) async {
    let start = ContinuousClock.now
    let answer = await attempt(body)
    guard case .failure(.unavailable) = answer else {
      Issue.record("\(what): \(answer)")
      return
    }
    // The bound is the product's promise; a busy machine gets as much again.
    #expect(start.duration(to: .now) < .seconds(10), "\(what)")
  }

  @Test("a lock on the tables takes no more connections, ends no lease, and callers are refused within seconds")
  func lockedTables() async throws {
    let server = try PostgresServer.shared.get()
    try await StoreFixture.with { fixture in
      let database = Self.database(fixture.url)
      var options = fixture.options()
      options.lease = .seconds(4)
      let store = try await fixture.open(options)
      let losses = Losses()
      await store.observe { losses.note($0) }
      try await store.make(.sample("running"), .running)
      try await store.make(.sample("queued"), .queued)
      let wait = Task { try await store.finished(JobID(trusted: "running")) }
      #expect(await eventually { await store.finishWaiters.count == 1 })
      let lock = Task.detached {
        try await PostgresServer.aside {
          _ = try server.sql("BEGIN; LOCK TABLE hero_jobs; SELECT pg_sleep(8); COMMIT", database: database)
        }
      }
      let locked = """
        SELECT count(*) FROM pg_locks WHERE relation = 'hero_jobs'::regclass AND mode = 'AccessExclusiveLock' AND granted
        """
      #expect(try await eventually { try server.sql(locked, database: database) == "1" })

      let end = Task { try await store.transition(JobID(trusted: "running"), .completed()) }
      await withTaskGroup { group in
        for number in 0..<5 {
          group.addTask {
            await self.isRefusedInTime("create") { () async throws(JobStoreError) in
              try await store.create(.queued(.sample("new-\(number)")))
            }
          }
          group.addTask {
            await self.isRefusedInTime("read") { () async throws(JobStoreError) in
              try await store.record(JobID(trusted: "queued"))
            }
          }
          group.addTask {
            await self.isRefusedInTime("list") { () async throws(JobStoreError) in try await store.query(JobQuery()) }
          }
        }
      }
      #expect(await store.unavailability()?.contains("somebody else's lock") == true)
      // Longer than the lease, with its connections counted all the time.
      var most = 0
      while try server.sql(locked, database: database) == "1" { most = max(most, try sessions(server, database)) }
      #expect(most == 4)
      #expect(losses.count == 0)
      #expect(await store.leaseLoss() == nil)

      try await lock.value
      #expect(try await end.value.status == .completed)
      #expect(try await wait.value.status == .completed)
      #expect(await eventually { await store.unavailability() == nil })
      // What was refused was not done.
      for number in 0..<5 {
        let id = JobID(trusted: "new-\(number)")
        await expect(.notFound(id)) { _ = try await store.record(id) }
      }
      #expect(try await store.create(.queued(.sample("new-0"))).isNew)
      #expect(await store.statistics.connections == 4)
    }
  }

  @Test("a synchronous standby that is lost ends no lease and takes no connections; what it held up is done afterwards")
  func lostStandby() async throws {
    let server = try PostgresServer(settings: ["fsync = off"])
    defer { server.remove() }
    try await StoreFixture.with(url: server.url()) { fixture in
      var options = fixture.options()
      options.lease = .seconds(4)
      let store = try await fixture.open(options)
      let losses = Losses()
      await store.observe { losses.note($0) }
      try await store.make(.sample("running"), .running)
      try await PostgresServer.aside {
        try server.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        try server.sql("SELECT pg_reload_conf()")
      }
      // Until the server has read it.
      var number = 0
      var start = ContinuousClock.now
      while case .success = await attempt({ () async throws(JobStoreError) in
        start = .now
        number += 1
        return try await store.create(.queued(.sample("new-\(number)")))
      }) {}
      #expect(start.duration(to: .now) < .seconds(10))
      let end = Task { try await store.transition(JobID(trusted: "running"), .completed()) }
      await isRefusedInTime("create") { () async throws(JobStoreError) in
        try await store.create(.queued(.sample("another")))
      }
      #expect(await store.unavailability()?.contains("has not answered") == true)
      // Somebody loses patience: what he lets through is not on a standby, and not acknowledged.
      let pending = """
        SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name LIKE 'hero-%'
        """
      #expect(try await eventually { try server.sql(pending) == "1" })
      try server.sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
      #expect(await eventually { await store.statistics.failedCommits > 0 })
      #expect(try await eventually { try server.sql(pending) == "1" })
      #expect(await store.statistics.steps == 3 + number - 1)
      // Longer than a lease.
      let renewed = "SELECT beat FROM hero_nodes"
      for _ in 0..<3 {
        let before = try server.sql(renewed)
        #expect(try await eventually { try server.sql(renewed) != before })
        #expect(try sessions(server, "hero") == 4)
      }
      #expect(losses.count == 0)
      try await PostgresServer.aside {
        try server.sql("ALTER SYSTEM SET synchronous_standby_names = ''")
        try server.sql("SELECT pg_reload_conf()")
      }
      #expect(try await end.value.status == .completed)
      #expect(await eventually { await store.unavailability() == nil })
      // What was not acknowledged may have been done; the same call again settles it.
      _ = try await store.create(.queued(.sample("new-\(number)")))
      #expect(try await store.record(JobID(trusted: "new-\(number)")).status == .queued)
      #expect(await store.statistics.connections == 4)
      #expect(await store.leaseLoss() == nil)
    }
  }

  @Test("rows of leases are written without a synchronous standby, and begin waits for nobody else's")
  func leasesWithoutStandby() async throws {
    // Commits wait for it where that is asked for.
    let server = try PostgresServer(
      settings: ["fsync = off", "synchronous_commit = local", "synchronous_standby_names = 'nobody'"])
    defer { server.remove() }
    try await StoreFixture.with(url: server.url()) { fixture in
      await fixture.close(try await fixture.open())
      for (session, isOver) in [(77, false), (78, true), (79, true)] {
        try server.sql(
          """
          INSERT INTO hero_nodes (session, name, instance, writer, length, beat, is_over)
          VALUES (\(session), 'other', 'other', 0, 15, 1, \(isOver))
          """)
      }
      try server.sql("ALTER DATABASE hero SET synchronous_commit = 'on'")
      let other = try await PostgresConnection.open({ fixture.url }, defaults: [], on: fixture.loop)
      _ = try await Task(executorPreference: fixture.loop) {
        await other.run([.begin, Statement(sql: "SELECT 1 FROM hero_nodes WHERE session = 78 FOR UPDATE")])
      }.value.get()
      do {
        let store = try await fixture.open()
        try await store.noteJoined(at: "127.0.0.1:1")
        #expect(try await store.end([NodeLease(session: 77)]).map(\.session) == [77])
        let rows = """
          SELECT string_agg(session || ' ' || is_over, ', ' ORDER BY session) FROM hero_nodes WHERE name = 'other'
          """
        #expect(try server.sql(rows) == "77 true, 78 true")
      } catch { Issue.record(error) }
      await Task(executorPreference: fixture.loop) { other.close() }.value
    }
  }

  @Test("sessions outlive the server's time limits, and those that are cut while idle are replaced without a refusal")
  func idleSessions() async throws {
    let server = try PostgresServer.shared.get()
    let url = try server.makeDatabase()
    let database = Self.database(url)
    for setting in ["idle_session_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout"]
    {
      try server.sql("ALTER DATABASE \(database) SET \(setting) = '200ms'")
    }
    try await StoreFixture.with(url: url) { fixture in
      let store = try await fixture.open()
      let processes = "SELECT string_agg(pid::text, ',' ORDER BY pid) FROM pg_stat_activity "
      let ours = "WHERE datname = '\(database)' AND application_name LIKE 'hero-supervisor%'"
      let before = try server.sql(processes + ours)
      #expect(before.split(separator: ",").count == 4)
      // Five times the limit, idle.
      try await fixture.loop.sleep(for: .seconds(1))
      #expect(try server.sql(processes + ours) == before)
      for round in 0..<5 {
        try await fixture.loop.sleep(for: .milliseconds(550))
        try server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity " + ours)
        let job = Job.sample("job-\(round)")
        try await store.make(job, .completed)
        #expect(try await store.record(job.id).status == .completed)
        #expect(try await store.query(JobQuery()).jobs.count == round + 1)
        #expect(
          try await store.claim(
            [RegisteredRunner(name: RunnerName(trusted: "r"), queue: QueueName(trusted: "q"))], consented: false
          ).count == 1)
      }
      #expect(await store.leaseLoss() == nil)
    }
  }

  @Test("a reader's connection that is slow makes only those reads fail that were asked on it")
  func slowReader() async throws {
    let server = try PostgresServer.shared.get()
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      for number in 0..<6 { _ = try await store.create(.created(.sample("job-\(number)"))) }
      let (slow, other) = (await store.readers[0], await store.readers[1])
      func onLoop<Value: Sendable>(_ body: @escaping @Sendable () async -> Value) async -> Value {
        await Task(executorPreference: fixture.loop) { await body() }.value
      }
      let hold = Task {
        await onLoop { _ = await slow.connection!.run([Statement(sql: "SELECT 'held', pg_sleep(120)")], within: nil) }
      }
      #expect(await eventually { await onLoop { slow.load > 0 } })
      // One read is asked there.
      await onLoop { other.use += 1000 }
      let unlucky = Task {
        await attempt { () async throws(JobStoreError) in try await store.record(JobID(trusted: "job-0")) }
      }
      #expect(await eventually { await onLoop { slow.use == 1 } })
      await onLoop { other.use -= 1000 }
      #expect(await eventually { await onLoop { slow.load > 10 } })
      // The other one takes its time as well, so that reads gather until the unlucky one has failed.
      let isOver = Flag()
      await withDiscardingTaskGroup { group in
        group.addTask {
          while !isOver.isSet {
            await onLoop { _ = await other.connection!.run([Statement(sql: "SELECT pg_sleep(0.2)")]) }
          }
        }
        for number in 1..<6 {
          group.addTask {
            while !isOver.isSet {
              let answer = await attempt { () async throws(JobStoreError) in
                try await store.record(JobID(trusted: "job-\(number)"))
              }
              if case .failure(let error) = answer { Issue.record("job-\(number): \(error)") }
            }
          }
        }
        if case .success = await unlucky.value { Issue.record("the read did not wait on the slow connection") }
        // What had gathered by then was told, or asked again.
        _ = await attempt { () async throws(JobStoreError) in try await store.record(JobID(trusted: "job-0")) }
        isOver.set()
      }
      try server.sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT ''held''%'")
      await hold.value
    }
  }

  @Test("a step that the server refuses takes no others with it, not even one that comes into another's way just then")
  func refusedAmongOthers() async throws {
    let server = try PostgresServer.shared.get()
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      // A sequence is not set back with its transaction.
      try server.sql(
        """
        CREATE SEQUENCE tries;
        CREATE FUNCTION check_job() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF NEW.id = 'bad' THEN RAISE EXCEPTION 'no bad jobs' USING ERRCODE = '22000'; END IF;
          IF NEW.id = 'late' AND nextval('tries') = 1 THEN RAISE EXCEPTION 'retry' USING ERRCODE = '40001'; END IF;
          RETURN NEW;
        END $$;
        CREATE TRIGGER check_job BEFORE INSERT ON hero_jobs FOR EACH ROW EXECUTE FUNCTION check_job();
        """, database: Self.database(fixture.url))
      let writer = try #require(await store.writerLine.connection)
      let hold = Task(executorPreference: fixture.loop) {
        await writer.run([Statement(sql: "SELECT pg_sleep(0.5)")])
      }
      #expect(await eventually { await Task(executorPreference: fixture.loop) { writer.busySince != nil }.value })
      var creations: [Task<Result<JobCreation, JobStoreError>, Never>] = []
      func create(_ id: String) {
        creations.append(
          Task { await attempt { () async throws(JobStoreError) in try await store.create(.created(.sample(id))) } })
      }
      // The first one has a transaction of its own; the others gather behind it.
      create("first")
      #expect(await eventually { await store.inFlight.count == 1 })
      create("bad")
      #expect(await eventually { await store.pending.count == 1 })
      create("late")
      #expect(await eventually { await store.pending.count == 2 })
      _ = await hold.value
      guard case .success = await creations[0].value, case .success = await creations[2].value else {
        Issue.record("\(await creations[0].value), \(await creations[2].value)")
        return
      }
      guard case .failure(.unavailable(let reason, _)) = await creations[1].value else {
        Issue.record("\(await creations[1].value)")
        return
      }
      #expect(reason == "the database refused it: no bad jobs (SQLSTATE 22000)")
      #expect(try server.sql("SELECT last_value FROM tries", database: Self.database(fixture.url)) == "2")
    }
  }

  @Test("transactions see what was committed before each statement, whatever the database has as its default")
  func isolation() async throws {
    let server = try PostgresServer.shared.get()
    let url = try server.makeDatabase()
    try server.sql("ALTER DATABASE \(Self.database(url)) SET default_transaction_isolation = 'serializable'")
    try await StoreFixture.with(url: url) { fixture in
      let store = try await fixture.open()
      for line in [await store.writerLine!, await store.controlLine!] + (await store.readers) {
        let answer = await Task(executorPreference: fixture.loop) {
          await line.connection!.run([.begin, Statement(sql: "SHOW transaction_isolation"), .commit])
        }.value
        #expect(try answer.get()[1].first?.text(0) == "read committed")
      }
    }
  }

  @Test("the number of connections is the one that was asked for")
  func connections() async throws {
    let server = try PostgresServer.shared.get()
    try await StoreFixture.with { fixture in
      for connections in [3, 7] {
        var options = fixture.options()
        options.connections = connections
        let store = try await fixture.open(options)
        _ = try await concurrently(20) { try await store.create(.created(.sample("\(connections)-\($0)"))) }
        _ = try await concurrently(20) { try await store.record(JobID(trusted: "\(connections)-\($0)")) }
        let database = Self.database(fixture.url)
        #expect(try await eventually { try sessions(server, database) == connections })
        await fixture.close(store)
        #expect(try await eventually { try sessions(server, database) == 0 })
      }
    }
  }

  @Test("a fence that refuses says its name, to the node and in the database's log")
  func fence() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      let connection = try await PostgresConnection.open(
        { fixture.url }, defaults: PostgresJobStore.defaults(node: NodeName(trusted: "x")), on: fixture.loop)
      let number = await store.writer.number
      let batch = Batch(
        [],
        by: Writer(
          session: store.session, node: "n1", number: number - 1, createsForOwners: false, keepsTimes: false))
      await Task(executorPreference: fixture.loop) {
        let answer = await connection.run(batch.statements)
        connection.close()
        guard case .failure(let error) = answer else {
          Issue.record("\(answer)")
          return
        }
        #expect(error.isFenced)
        #expect("\(error)" == "a newer connection of this process writes")
        guard case .refused("22P02", let message) = error else {
          Issue.record("\(error)")
          return
        }
        #expect(message.contains("hero-supervisor fence: a newer connection of this node writes"))
      }.value
    }
  }
}

/// How often a lease was lost.
final class Losses: Sendable {
  private let losses = Mutex(0)
  var count: Int { losses.withLock { $0 } }
  func note(_ event: SharedStoreEvent) {
    if case .leaseLost = event { losses.withLock { $0 += 1 } }
  }
}

private final class Flag: Sendable {
  private let state = Mutex(false)
  var isSet: Bool { state.withLock { $0 } }
  func set() { state.withLock { $0 = true } }
}
