import EventLoop
import JobStoreConformance
import PostgresServer
import Supervisor
import Testing

@testable import PostgresJobStore

// Two processes and one database: who owns a runner, and what the other one may not do.

@Suite("Ownership in the database", .timeLimit(.minutes(10)))
struct OwnershipTests {
  private func runner(_ name: String, queue: String? = nil, epoch: UInt64 = 1) -> RegisteredRunner {
    RegisteredRunner(name: RunnerName(trusted: name), queue: QueueName(trusted: queue ?? name), epoch: epoch)
  }

  @Test("a runner has one owner; another process gets it by consent, or when the lease is over, with a higher epoch")
  func claims() async throws {
    try await StoreFixture.with { fixture in
      let a = try await fixture.open(fixture.options(node: "a"))
      let b = try await fixture.open(fixture.options(node: "b"))
      #expect(try await a.claim([runner("r")], consented: false) == [runner("r")])
      // Again is harmless, and changes nothing.
      #expect(try await a.claim([runner("r", epoch: 7)], consented: false) == [runner("r")])
      #expect(try await b.claim([runner("r", epoch: 2)], consented: false) == [])
      #expect(try await b.claim([runner("r", epoch: 2)], consented: true) == [runner("r", epoch: 2)])
      #expect(try await a.claim([runner("r", epoch: 9)], consented: false) == [])
      try await a.end([NodeLease(session: b.session)])
      // What gossip believed of the epoch may be old.
      #expect(try await a.claim([runner("r", epoch: 2)], consented: false) == [runner("r", epoch: 3)])
      let owners = try await a.ownedRunners()
      #expect(
        owners == [
          OwnedRunner(runner: runner("r", epoch: 3), owner: NodeName(trusted: "a"), isAlive: true, isMine: true)
        ])
    }
  }

  @Test("of many that want a runner at once, one gets it")
  func race() async throws {
    try await StoreFixture.with { fixture in
      var stores: [PostgresJobStore] = []
      for number in 0..<5 { stores.append(try await fixture.open(fixture.options(node: "n\(number)"))) }
      let all = stores
      for round in 0..<20 {
        let names = (0..<5).map { runner("r\(round)-\($0)", queue: "q\(round)") }
        let claims = try await concurrently(all.count) { try await all[$0].claim(names.shuffled(), consented: false) }
        let owned = claims.flatMap { $0 }
        #expect(owned.count == names.count)
        #expect(Set(owned.map(\.name)).count == names.count)
      }
    }
  }

  @Test("a process that lost a runner can neither create, queue, start nor end jobs of it, but finish what it runs")
  func fencing() async throws {
    try await StoreFixture.with { fixture in
      let a = try await fixture.open(fixture.options(node: "a"))
      let b = try await fixture.open(fixture.options(node: "b"))
      _ = try await a.claim([runner("runner")], consented: false)
      for (id, status) in [("created", .created), ("queued", .queued), ("running", .running)] as [(String, JobStatus)] {
        try await a.make(.sample(id), status)
      }
      _ = try await b.claim([runner("runner", epoch: 2)], consented: true)
      func fenced(_ id: String) -> JobStoreError { .fenced(JobID(trusted: id)) }
      await expect(fenced("new")) { _ = try await a.create(.queued(.sample("new"))) }
      await expect(fenced("created")) { _ = try await a.transition(JobID(trusted: "created"), .enqueue(at: .at(5))) }
      await expect(fenced("queued")) { _ = try await a.transition(JobID(trusted: "queued"), .start(at: .at(5))) }
      await expect(fenced("queued")) { _ = try await a.transition(JobID(trusted: "queued"), .failed()) }
      // The one that runs there ends there, and nobody else ends it.
      await expect(fenced("running")) { _ = try await b.transition(JobID(trusted: "running"), .failed()) }
      #expect(try await a.transition(JobID(trusted: "running"), .completed()).status == .completed)
      #expect(try await b.transition(JobID(trusted: "queued"), .start(at: .at(6))).attempt == 1)
      // The same job again is no new one, wherever it is asked for.
      let present = try await b.record(JobID(trusted: "created"))
      #expect(try await a.create(.queued(.sample("created"))) == .existed(present))
    }
  }

  @Test("what ran on a process that is gone is queued again up to its attempts, in its old place, or fails")
  func recovery() async throws {
    try await StoreFixture.with { fixture in
      let a = try await fixture.open(fixture.options(node: "a"))
      let b = try await fixture.open(fixture.options(node: "b"))
      let settings = [
        RunnerSettings(name: RunnerName(trusted: "again"), queue: QueueName(trusted: "q"), maxAttempts: 2),
        RunnerSettings(name: RunnerName(trusted: "once"), queue: QueueName(trusted: "q"), onNodeLoss: .fail),
      ]
      let runners = settings.map { RegisteredRunner(name: $0.name, queue: $0.queue) }
      _ = try await a.claim(runners, consented: false)
      try await a.make(.sample("first", runner: "again"), .running)
      try await a.make(.sample("second", runner: "again"), .queued)
      try await a.make(.sample("never again", runner: "once"), .running)
      let agreed = runners.map { RegisteredRunner(name: $0.name, queue: $0.queue, epoch: 2) }
      #expect(try await b.claim(agreed, consented: true).count == 2)
      // A consent that comes late takes nothing from who came after.
      #expect(try await a.claim(agreed, consented: true) == [])
      // As long as it has a lease, its jobs are its own.
      try await b.recoverRunning(settings, abandoned: [])
      #expect(try await b.record(JobID(trusted: "first")).status == .running)
      try await b.end([NodeLease(session: a.session)])
      let waiting = Task { try await b.finished(JobID(trusted: "never again")) }
      try await b.recoverRunning(settings, abandoned: [])
      let lost = try await waiting.value
      #expect(lost.status == .failed)
      #expect(lost.result == .error("its node stopped while it ran (attempt 1 of 3)"))
      let line = try await b.waiting(runners.map(\.name), after: .min, limit: 10)
      #expect(line.map(\.id.rawValue) == ["first", "second"])
      await expect(.fenced(JobID(trusted: "first"))) {
        _ = try await a.transition(JobID(trusted: "first"), .completed())
      }
      // The second attempt is the last one.
      #expect(try await b.transition(JobID(trusted: "first"), .start(at: .at(9))).attempt == 2)
      let c = try await fixture.open(fixture.options(node: "c"))
      try await c.end([NodeLease(session: b.session)])
      _ = try await c.claim(runners, consented: false)
      try await c.recoverRunning(settings, abandoned: [])
      #expect(
        try await c.record(JobID(trusted: "first")).result == .error("its node stopped while it ran (attempt 2 of 2)"))
    }
  }

  @Test("a lease that is given back while it is being renewed does not come back, and is no loss")
  func givenBackWhileRenewed() async throws {
    try await StoreFixture.with { fixture in
      let store = try await fixture.open()
      let losses = Losses()
      await store.observe { losses.note($0) }
      let other = try await PostgresConnection.open({ fixture.url }, defaults: [], on: fixture.loop)
      func run(_ statements: [Statement]) async throws {
        _ = try await Task(executorPreference: fixture.loop) { await other.run(statements) }.value.get()
      }
      // Somebody forgets the row, and has not said so yet: the renewal waits.
      try await run([.begin, Statement(sql: "DELETE FROM hero_nodes")])
      let renewal = Task { await store.renew() }
      let control = try #require(await store.controlLine.connection)
      #expect(
        await eventually { await Task(executorPreference: fixture.loop) { control.busySince != nil }.value })
      let end = Task { await fixture.close(store) }
      #expect(await eventually { await store.isClosed })
      try await run([.commit])
      await end.value
      _ = await renewal.value
      let rows = try PostgresServer.shared.get().sql(
        "SELECT count(*) FROM hero_nodes", database: String(fixture.url.split(separator: "/").last!))
      #expect(rows == "0")
      #expect(losses.count == 0)
      await Task(executorPreference: fixture.loop) { other.close() }.value
    }
  }

  @Test("a lease is ended only if it was not renewed since it was read, and only once")
  func conditionalEnd() async throws {
    try await StoreFixture.with { fixture in
      let a = try await fixture.open(fixture.options(node: "a"))
      let b = try await fixture.open(fixture.options(node: "b"))
      let read = try #require(try await b.peerLeases().first)
      #expect(read.session == a.session && read.node == NodeName(trusted: "a") && read.length == .seconds(15))
      await a.renew()
      #expect(try await b.end([NodeLease(read)]) == [])
      let present = try #require(try await b.peerLeases().first)
      #expect(present.beat != read.beat)
      let lease = NodeLease(present)
      #expect(try await b.end([lease]) == [lease])
      #expect(try await b.end([lease]) == [])
      #expect(try await b.peerLeases() == [])
      // Its process hears of it when it renews, and has another beat then.
      #expect(await a.leaseLoss() == nil)
      await a.renew()
      #expect(await a.leaseLoss() == nil)
      #expect(try await b.peerLeases().map(\.session) == [a.session])
      #expect(try await b.end([lease]) == [])
    }
  }

  @Test("what runs is read with what waits, at one instant, and says whose it is")
  func backlog() async throws {
    try await StoreFixture.with { fixture in
      let a = try await fixture.open(fixture.options(node: "a"))
      let b = try await fixture.open(fixture.options(node: "b"))
      let name = RunnerName(trusted: "runner")
      _ = try await a.claim([runner("runner")], consented: false)
      for number in 0..<3 { try await a.make(.sample("waits-\(number)"), .queued) }
      try await a.make(.sample("runs"), .running)
      try await a.make(.sample("ended"), .completed)
      var found = try await a.backlog(of: [name], limit: 2)
      #expect(found.waiting.map(\.id.rawValue) == ["waits-0", "waits-1"])
      #expect(found.running.map(\.id.rawValue) == ["runs"] && found.running.map(\.runner) == [name])
      #expect(found.running.map(\.isMine) == [true] && found.running.map(\.isLost) == [false])
      _ = try await b.claim([runner("runner", epoch: 2)], consented: true)
      found = try await b.backlog(of: [name], limit: 9)
      #expect(found.waiting.count == 3)
      #expect(found.running.map(\.isMine) == [false] && found.running.map(\.isLost) == [false])
      try await b.end([NodeLease(session: a.session)])
      #expect(try await b.backlog(of: [name], limit: 9).running.map(\.isLost) == [true])
      #expect(try await b.check().lost == [name])
      // A process does not take its own jobs for lost while somebody has ended its lease.
      try await b.recoverRunning([RunnerSettings(name: name, queue: QueueName(trusted: "q"))], abandoned: [])
      #expect(try await b.transition(JobID(trusted: "runs"), .start(at: .at(7))).attempt == 2)
      try await a.end([NodeLease(session: b.session)])
      #expect(try await b.backlog(of: [name], limit: 9).running.map(\.isLost) == [false])
      #expect(try await b.check().lost == [])
    }
  }

  @Test("a job of this process of which nobody knows any more is queued again, if it is the same start")
  func abandoned() async throws {
    try await StoreFixture.with { fixture in
      let a = try await fixture.open(fixture.options(node: "a"))
      let settings = RunnerSettings(name: RunnerName(trusted: "runner"), queue: QueueName(trusted: "q"))
      _ = try await a.claim([runner("runner")], consented: false)
      let id = JobID(trusted: "job")
      let position = try await a.make(.sample("job"), .running).position
      func started() async throws -> [RunningJob] { try await a.backlog(of: [settings.name], limit: 9).running }
      func recover(_ jobs: [RunningJob]) async throws -> JobRecord {
        try await a.recoverRunning([settings], abandoned: jobs)
        return try await a.record(id)
      }
      let first = try await started()
      // A start of which nothing ran is taken back, so that the next one has its attempt.
      _ = try await a.transition(id, .putBack(at: .at(4)))
      #expect(try await a.transition(id, .start(at: .at(5))).attempt == 1)
      let second = try await started()
      #expect(try await recover(first).status == .running)
      let again = try await recover(second)
      #expect(again.status == .queued && again.position == position)
    }
  }

  @Test("steps that were asked for before a claim are written, or refused, before it")
  func claimAfterSteps() async throws {
    try await StoreFixture.with { fixture in
      let a = try await fixture.open(fixture.options(node: "a"))
      let b = try await fixture.open(fixture.options(node: "b"))
      var epoch: UInt64 = 1
      for round in 0..<20 {
        _ = try await a.claim([runner("runner", epoch: epoch)], consented: true)
        let job = try await a.make(.sample("job-\(round)"), .queued).job
        epoch += 1
        _ = try await b.claim([runner("runner", epoch: epoch)], consented: true)
        epoch += 1
        let again = runner("runner", epoch: epoch)
        // As by a runner that has just been lost, and one that is about to come back.
        let (start, claim) = await a.startThenClaim(job.id, again)
        #expect(start == .failure(.fenced(job.id)))
        #expect(try claim.get() == [again])
        #expect(try await a.record(job.id).status == .queued)
      }
    }
  }

  @Test("positions are in the order in which steps are asked for, also of many kinds in one transaction")
  func positions() async throws {
    try await StoreFixture.with { fixture in
      let a = try await fixture.open(fixture.options(node: "a"))
      for round in 0..<5 {
        let ids = (0..<200).map { JobID(trusted: "job-\(round)-\($0)") }
        for number in ids.indices where number.isMultiple(of: 3) {
          _ = try await a.create(.created(.sample(ids[number].rawValue)))
        }
        let positions = try await a.queue(ids)
        #expect(positions == positions.sorted())
        #expect(Set(positions).count == ids.count)
      }
    }
  }

  @Test("a line is read in pages, in the order of queueing, whoever queued")
  func line() async throws {
    try await StoreFixture.with { fixture in
      let a = try await fixture.open(fixture.options(node: "a"))
      _ = try await concurrently(250) { try await a.create(.queued(.sample("job-\($0)", runner: "r\($0 % 3)"))) }
      _ = try await a.transition(JobID(trusted: "job-7"), .start(at: .at(1)))
      let names = (0..<3).map { RunnerName(trusted: "r\($0)") }
      var position = Int64.min
      var found: [JobID] = []
      while true {
        let page = try await a.waiting(names, after: position, limit: 40)
        found += page.map(\.id)
        guard let last = page.last, page.count == 40 else { break }
        position = last.position
      }
      let queued = try await a.unfinished().filter { $0.status == .queued }
      #expect(found == queued.map(\.id))
      #expect(found.count == 249)
    }
  }

  @Test("a node that starts again takes the place of its former life at once; a stranger with its name does not")
  func restart() async throws {
    try await StoreFixture.with { fixture in
      let first = try await fixture.open(fixture.options(node: "a", instance: "i"))
      _ = try await first.claim([runner("r")], consented: false)
      let stranger = try await fixture.open(fixture.options(node: "a", instance: "other"))
      #expect(try await stranger.claim([runner("r", epoch: 2)], consented: false) == [])
      // Its directory tells that the first one is gone.
      let second = try await fixture.open(fixture.options(node: "a", instance: "i"))
      #expect(try await second.claim([runner("r", epoch: 2)], consented: false) == [runner("r", epoch: 2)])
      await expect(.fenced(JobID(trusted: "job"))) {
        _ = try await stranger.create(.created(.sample("job", runner: "r")))
      }
    }
  }

  @Test("a lease can be ended only of a process whose port was open once")
  func certainDeath() async throws {
    try await StoreFixture.with { fixture in
      let a = try await fixture.open(fixture.options(node: "a"))
      let b = try await fixture.open(fixture.options(node: "b"))
      let name = NodeName(trusted: "a")
      #expect(try await b.leases(of: name, at: "127.0.0.1:1") == [])
      try await a.noteJoined(at: "127.0.0.1:1")
      // Elsewhere it may be another process of the same name.
      #expect(try await b.leases(of: name, at: "127.0.0.1:2") == [])
      #expect(try await b.leases(of: name, at: "127.0.0.1:1") == [NodeLease(session: a.session)])
      #expect(try await b.leaseholders() == [NodeName(trusted: "a"), NodeName(trusted: "b")])
      try await b.end([NodeLease(session: a.session)])
      #expect(try await b.leaseholders() == [NodeName(trusted: "b")])
    }
  }
}

extension PostgresJobStore {
  /// Both asked for in one step of the loop, in this order.
  fileprivate func startThenClaim(
    _ id: JobID, _ runner: RegisteredRunner
  ) async -> (Result<JobRecord, JobStoreError>, Result<[RegisteredRunner], JobStoreError>) {
    let start = Task(executorPreference: loop) {
      await attempt { () async throws(JobStoreError) in try await self.transition(id, .start(at: .at(4))) }
    }
    let claim = Task(executorPreference: loop) {
      await attempt { () async throws(JobStoreError) in try await self.claim([runner], consented: true) }
    }
    return (await start.value, await claim.value)
  }

  /// Queues jobs in one step of the loop, in this order: those that exist, and those that are created queued.
  fileprivate func queue(_ ids: [JobID]) async throws -> [Int64] {
    let tasks = ids.enumerated().map { number, id in
      Task(executorPreference: loop) { () async throws(JobStoreError) -> Int64 in
        if number.isMultiple(of: 3) { return try await self.transition(id, .enqueue(at: .at(1))).position! }
        guard case .created(let record) = try await self.create(.queued(.sample(id.rawValue))) else { return -1 }
        return record.position!
      }
    }
    var positions: [Int64] = []
    for task in tasks { positions.append(try await task.value) }
    return positions
  }
}
