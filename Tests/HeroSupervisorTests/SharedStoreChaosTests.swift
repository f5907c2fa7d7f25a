import Foundation
import JSONRPC
import PostgresServer
import SupervisorClient
import Synchronization
import Testing

// A history of everything that clients asked and were told, and of every execution, while nodes are killed and paused and
// the database is restarted, killed and cut off; checked at the end against what the database says. How long it takes:
// HERO_CHAOS_SECONDS, 60 by itself.

/// One client's call and what came of it.
private struct Call {
  let job: String
  /// Its place among the calls of one client for one runner.
  let place: Int
  let client: Int
  let runner: String
  var answer: JSON?
}

/// Clients that hand jobs over at random nodes and wait for their end at others, repeating what was not answered.
private actor History {
  private let scene: ClusterScene
  private let runners: [String]
  private let chaos = Chaos.current
  private(set) var calls: [String: Call] = [:]
  private(set) var repetitions = 0
  private var isStopped = false

  init(_ scene: ClusterScene, runners: [String]) {
    self.scene = scene
    self.runners = runners
  }

  func stop() { isStopped = true }

  /// Three jobs after another until `stop`: each created at one node, started at another, and, once all three are in line,
  /// waited for at a third. A call that fails is made again elsewhere, with the same id.
  func work(client: Int) async {
    var dice = chaos.generator("client \(client)")
    var number = 0
    while !isStopped {
      let runner = runners[client % runners.count]
      let ids = (1...3).map { "c\(client)-\(number + $0)" }
      for id in ids {
        number += 1
        calls[id] = Call(job: id, place: number, client: client, runner: runner)
        let payload = """
          echo "$HERO_JOB_ID begins at $HERO_NODE" >>$RUNS; sleep 0.0\(Int.random(in: 0...3, using: &dice))
          echo "$HERO_JOB_ID ends at $HERO_NODE" >>$RUNS; echo done-$HERO_JOB_ID
          """
        await insist("\(id) is created", &dice) { node in
          try await self.scene.create(id, on: runner, payload, at: node)
        }
        await insist("\(id) is started", &dice) { node in
          do { try await self.scene.start(id, at: node) } catch let error as ClientError where error.code == -32003 {
            // Ended already: the start that was not answered was done.
          }
        }
      }
      for id in ids {
        await insist("\(id) has ended", &dice) { node in
          let answer = try await self.scene.call(node, "job.result", [.string(id)], timeout: .seconds(10))
          await self.note(id, answer)
        }
      }
    }
  }

  private func note(_ id: String, _ answer: JSON) { calls[id]!.answer = answer }

  /// Until it is answered, or the test ends.
  private func insist(
    _ what: String, _ dice: inout SeededGenerator, _ body: @escaping @Sendable (String) async throws -> Void
  ) async {
    while !isStopped {
      let choice = dice.next()
      let running = await scene.running
      if !running.isEmpty {
        let node = running[Int(choice % UInt64(running.count))]
        do {
          try await body(node)
          return chaos.note("\(what), says \(node)")
        } catch { chaos.note("not yet: \(what), says \(node): \(error)") }
      }
      repetitions += 1
      try? await scene.loop.sleep(for: .milliseconds(30))
    }
  }

  /// What must hold of every job, by what the cluster says now and what the jobs themselves wrote.
  func check(at node: String) async throws {
    var found: [String: JSON] = [:]
    var cursor: JSON?
    repeat {
      var query: JSONObject = ["limit": 500, "view": "full"]
      query["cursor"] = cursor
      let page = try await scene.call(node, "jobs.query", ["params": .object(query)])
      for job in page["jobs"]?.arrayValue ?? [] {
        let id = job["id"]?.stringValue ?? ""
        if found[id] != nil { Issue.record("listed twice: \(job.text)") }
        found[id] = job
      }
      cursor = page["next"]
    } while cursor != .null
    let runs = Runs(of: (try? String(contentsOfFile: scene.runs, encoding: .utf8)) ?? "")
    for line in runs.lines { chaos.note("ran: \(line)") }

    var acknowledged = 0
    var repeated = 0
    for call in calls.values {
      guard let answer = call.answer else { continue }
      acknowledged += 1
      guard let job = found[call.job] else {
        Issue.record("\(call.job) was answered and is lost")
        continue
      }
      // One final result, the one that was told.
      if job["result"] != answer { Issue.record("\(call.job) had the answer \(answer.text): \(job.text)") }
      let attempts = Int(job["attempt"]?.intValue ?? 0)
      let count = runs.begins[call.job]?.count ?? 0
      // It ran, and more than once only where its attempts say so.
      if job["status"] == "completed", count == 0 { Issue.record("\(call.job) did not run: \(job.text)") }
      if count > attempts { Issue.record("\(call.job) ran \(count) times: \(job.text)") }
      if attempts > 1 { repeated += 1 }
      if answer["success"] != nil, answer != ["success": .string("done-\(call.job)\n")] {
        Issue.record("\(call.job) has another's result: \(answer.text)")
      }
    }
    // Order of a queue at concurrency 1: all of a job whose start was answered before that of another was asked for comes
    // before the other begins, and no two runs of one runner overlap.
    for call in calls.values where call.answer != nil {
      guard let before = calls["c\(call.client)-\(call.place - 1)"], let mine = runs.begins[call.job]?.first,
        let other = runs.begins[before.job]?.last
      else { continue }
      if other > mine { Issue.record("\(call.job) ran before \(before.job)") }
    }
    for runner in runners {
      let ids = Set(calls.values.filter { $0.runner == runner }.map(\.job))
      for overlap in runs.overlaps(of: ids) { Issue.record("on \(runner) at concurrency 1: \(overlap)") }
    }
    print(
      "\(acknowledged) jobs answered, \(repetitions) calls repeated, \(repeated) jobs with more attempts, \(runs.begins.values.reduce(0) { $0 + $1.count }) runs"
    )
    #expect(acknowledged > 50)
  }
}

/// What the jobs themselves wrote: when each began and, unless it was killed, ended.
struct Runs {
  let lines: [Substring]
  /// The lines in which each job began.
  private(set) var begins: [String: [Int]] = [:]

  init(of text: String) {
    lines = text.split(separator: "\n")
    for (place, line) in lines.enumerated() where line.contains(" begins ") {
      begins[Self.job(line), default: []].append(place)
    }
  }

  private static func job(_ line: Substring) -> String { String(line.prefix { $0 != " " }) }

  /// Jobs of one runner that began between the beginning and the end of another; one that was killed ended nowhere.
  func overlaps(of jobs: Set<String>) -> [String] {
    var overlaps: [String] = []
    // Runs that have begun, in order; the next line of the same node and job tells how one went on.
    var begun: [(job: String, node: Substring, others: [String])] = []
    for line in lines {
      let (job, node) = (Self.job(line), line.split(separator: " ").last ?? "")
      guard jobs.contains(job) else { continue }
      if line.contains(" begins ") {
        for place in begun.indices { begun[place].others.append(job) }
        begun.removeAll { $0.job == job && $0.node == node }
        begun.append((job, node, []))
      } else if let place = begun.firstIndex(where: { $0.job == job && $0.node == node }) {
        let run = begun.remove(at: place)
        if !run.others.isEmpty { overlaps.append("\(job) ended at \(node) after \(run.others) had begun") }
      }
    }
    return overlaps
  }
}

@Suite(
  "A shared store under clients", .serialized, .timeLimit(.minutes(20)),
  .enabled(if: PostgresServer.isInstalled, "PostgreSQL's server is not installed"))
struct SharedStoreChaosTests {
  private let names = ["n1", "n2", "n3"]

  @Test(
    "every acknowledged job has one result, runs in order and runs again only by attempt, whatever happens to nodes and database",
    .chaos)
  func history() async throws {
    let seconds = ProcessInfo.processInfo.environment["HERO_CHAOS_SECONDS"].flatMap(Double.init) ?? 60
    let server = try PostgresServer(settings: [])
    defer { server.remove() }
    let store = #"{"postgres": {"url": "\#(try server.makeDatabase())", "lease_seconds": 5}}"#
    try await ClusterScene.run(store: store) { scene async throws in
      try await scene.start(names)
      let runners = (0..<4).map { "runner-\($0)" }
      for (place, runner) in runners.enumerated() { try await scene.register(runner, at: names[place % 3]) }
      let history = History(scene, runners: runners)
      let end = ContinuousClock.now + .seconds(seconds)
      try await withThrowingDiscardingTaskGroup { group in
        for client in 0..<6 { group.addTask { await history.work(client: client) } }
        group.addTask {
          do { try await disturb(scene, server, until: end) } catch {
            await history.stop()
            throw error
          }
          await history.stop()
        }
      }
      let all = Dictionary(uniqueKeysWithValues: names.map { ($0, "alive") })
      for name in names { try await scene.sees(name, all, within: 60) }
      try await scene.agree(names, within: 60)
      try await scene.eventually("every job has ended", within: 60) {
        for status in ["queued", "running"] {
          let page = try await scene.call("n1", "jobs.query", ["params": ["status": .string(status), "limit": 1]])
          guard page["jobs"]?.arrayValue?.isEmpty == true else { return false }
        }
        return true
      }
      try await history.check(at: "n2")
    }
  }

  private func disturb(
    _ scene: ClusterScene, _ server: PostgresServer, until end: ContinuousClock.Instant
  ) async throws {
    let chaos = Chaos.current
    var dice = chaos.generator("disturbances")
    func pause(_ milliseconds: ClosedRange<Int64>) async throws {
      try await scene.loop.sleep(for: .milliseconds(Int64.random(in: milliseconds, using: &dice)))
    }
    var down: [String] = []
    while ContinuousClock.now < end {
      try await pause(200...1500)
      if down.count == 2 || (!down.isEmpty && Bool.random(using: &dice)) {
        let isAtNewPort = Bool.random(using: &dice)
        chaos.note("\(down[0]) is started\(isAtNewPort ? " at a new port" : "")")
        try await scene.start(down.removeFirst(), atNewPort: isAtNewPort)
        continue
      }
      let running = names.filter { !down.contains($0) }
      let name = running.randomElement(using: &dice)!
      switch Int.random(in: 0..<9, using: &dice) {
      case 0...2:
        chaos.note("\(name) is killed")
        await scene.kill(name)
        down.append(name)
      case 3:
        chaos.note("\(name) is told to stop")
        #expect(await scene.terminate(name) == 0)
        down.append(name)
      case 4:
        // Sometimes for longer than its lease.
        chaos.note("\(name) is paused")
        await scene.pause(name)
        try await pause(100...8000)
        chaos.note("\(name) goes on")
        await scene.resume(name)
      case 5:
        chaos.note("the database's sessions are ended")
        try server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
      case 6:
        chaos.note("the database is restarted")
        try server.stop()
        try await pause(0...1500)
        try server.start()
      case 7:
        chaos.note("the database is killed and started")
        try server.kill()
        try server.start()
      default:
        let runner = "runner-\(Int.random(in: 0..<4, using: &dice))"
        chaos.note("\(runner) is moved to \(name)")
        _ = try? await scene.admin("runner.move", ["name": .string(runner), "node": .string(name)], at: name)
      }
    }
    for name in down { try await scene.start(name) }
  }
}
