import EventLoop
import JobStoreConformance
import Supervisor
import Testing

@testable import PostgresJobStore

// Two processes and one database: who owns a runner, and what the other one may not do.

@Suite("Ownership in the database")
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
