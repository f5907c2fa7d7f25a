import EventLoop
import Foundation
import JSONRPC
import PostgresServer
import SupervisorClient
import Testing

/// Nodes with wrong clocks, and clocks that leap: no finished job is deleted early, and no healthy member is lost (C1).
@Suite(
  "Nodes with wrong clocks", .serialized, .timeLimit(.minutes(5)),
  .enabled(if: FakeTime.isInstalled, "libfaketime is not installed"))
struct ClockTests {
  @Test("a store of its own deletes nothing early, whether the clock is wrong at boot or leaps", .chaos)
  func embedded() async throws {
    try await ClusterScene.run { scene async throws in
      let file = scene.write("+0d\n", to: "time")
      var made = 0
      var generator = Chaos.current.generator("clocks")
      var steps = ["+10d", "-10d", "+1h", "-90m", "+0d"]
      steps.shuffle(using: &generator)
      for time in steps {
        // At boot, and then while it runs.
        let leap = steps.randomElement(using: &generator)!
        _ = scene.write("\(time)\n", to: "time")
        try await scene.start("n1", knowsOthers: false, environment: FakeTime.environment(file: file))
        if made == 0 { try await scene.register("r", at: "n1") }
        try await run(&made, at: "n1", scene)
        _ = scene.write("\(leap)\n", to: "time")
        try await run(&made, at: "n1", scene)
        #expect(try await count("n1", scene) == made, "\(time), then \(leap), of \(steps)")
        #expect(await scene.terminate("n1") == 0)
      }
      // As soon as the clock is right again, too.
      try await scene.start("n1", knowsOthers: false)
      #expect(try await count("n1", scene) == made)
      #expect(try await scene.metrics("n1").contains("hero_store_expired_jobs_total 0\n"))
      // A job has the machine's own clock, and nothing of the node's.
      let environment = try await scene.run("environment", on: "r", "env", at: "n1")["success"]?.stringValue ?? "-"
      #expect(!environment.contains("FAKETIME") && !environment.contains("LD_PRELOAD") && environment.contains("HERO"))
    }
  }

  @Test("a clock that has leapt is named in the log, in /ready and in metrics, until it is back")
  func shown() async throws {
    try await ClusterScene.run { scene async throws in
      let file = scene.write("+0d\n", to: "time")
      try await scene.start("n1", knowsOthers: false, environment: FakeTime.environment(file: file))
      #expect(try await scene.get("n1", "/ready") == "ready\n")
      _ = scene.write("+10d\n", to: "time")
      try await scene.eventually("the leap is seen") {
        try await scene.get("n1", "/ready").contains(/^ready; the date is 86[34]... s ahead of where the store/)
      }
      #expect(try await scene.metrics("n1").contains(/hero_store_clock_leap_seconds 86[34].../))
      #expect(await scene.terminate("n1") == 0)
      try await scene.start("n1", knowsOthers: false, environment: FakeTime.environment(file: file))
      #expect(try await scene.get("n1", "/ready").contains("ahead of where"))
      _ = scene.write("-50m\n", to: "time")
      try await scene.eventually("the leap is over") { try await scene.get("n1", "/ready") == "ready\n" }
      #expect(try await scene.metrics("n1").contains("hero_store_clock_leap_seconds 0\n"))
      #expect(await scene.log("n1").contains("the date is back where it was"))
      _ = scene.write("-10d\n", to: "time")
      try await scene.eventually("the next leap is seen") {
        try await scene.get("n1", "/ready").contains("s behind where")
      }
      #expect(await scene.log("n1").matches(of: /the date has leapt/).count == 1, "once a leap")
      let confirmed = try await scene.admin("store.confirm_clock", [:], at: "n1")["confirmed_seconds"]?.intValue ?? 0
      #expect((-864_000 - 3600 ... -864_000 + 3600).contains(confirmed))
      #expect(try await scene.get("n1", "/ready") == "ready\n")
      #expect(try await scene.admin("store.confirm_clock", [:], at: "n1")["confirmed_seconds"] == 0)
    }
  }

  @Test(
    "nodes of a shared store with clocks days apart stay members, and the database dates and orders their jobs",
    .enabled(if: PostgresServer.isInstalled, "PostgreSQL's server is not installed"))
  func shared() async throws {
    let url = try PostgresServer.shared.get().makeDatabase()
    try await ClusterScene.run(store: #"{"postgres": {"url": "\#(url)"}}"#) { scene async throws in
      let clocks = ["n1": nil, "n2": "+10d", "n3": "-10d", "n4": "-1h"]
      for (name, time) in clocks.sorted(by: { $0.key < $1.key }) {
        try await scene.start(name, environment: time.map { FakeTime.environment($0) } ?? [])
        try await scene.register("r-\(name)", at: name)
      }
      var expected: [String] = []
      for round in 0..<3 {
        for name in clocks.keys.sorted() {
          let id = "job-\(round)-\(name)"
          #expect(try await scene.run(id, on: "r-\(name)", "echo ok", at: name) == ["success": "ok\n"])
          expected.insert(id, at: 0)
        }
      }
      let now = Int64(Date.now.timeIntervalSince1970 * 1000)
      for name in clocks.keys.sorted() {
        let jobs = try await scene.call(name, "jobs.query", ["params": ["secret": .string(scene.secret)]])["jobs"]
        #expect(jobs?.arrayValue?.map { $0["id"]?.stringValue } == expected, "newest first, whoever made them")
        for job in jobs?.arrayValue ?? [] {
          for field in ["created_at", "started_at", "completed_at"] {
            let text = job[field]?.stringValue ?? ""
            let time = try #require(ISO8601DateFormatter.withFraction.date(from: text), "\(field): \(text)")
            #expect(abs(Int64(time.timeIntervalSince1970 * 1000) - now) < 600_000, "\(name) \(field) \(text)")
          }
        }
        try await scene.sees(name, Dictionary(uniqueKeysWithValues: clocks.keys.map { ($0, "alive") }))
        #expect(await !scene.log(name).contains("member failed"))
        #expect(await !scene.log(name).contains("lease is lost"))
      }
    }
  }

  private func run(_ made: inout Int, at name: String, _ scene: ClusterScene) async throws {
    for _ in 0..<2 {
      #expect(try await scene.run("job-\(made)", on: "r", "echo ok", at: name) == ["success": "ok\n"])
      made += 1
    }
  }

  private func count(_ name: String, _ scene: ClusterScene) async throws -> Int? {
    try await scene.call(name, "jobs.list").arrayValue?.count
  }
}

extension ISO8601DateFormatter {
  fileprivate static var withFraction: ISO8601DateFormatter {
    let formatter = ISO8601DateFormatter()
    formatter.formatOptions = [.withInternetDateTime, .withFractionalSeconds]
    return formatter
  }
}

extension ClusterScene {
  /// What a path answers, by curl(1).
  func get(_ name: String, _ path: String) async throws -> String {
    let words = ["-sS", "-H", "Authorization: Bearer \(secret)", "http://\(endpoints[name] ?? "")\(path)"]
    let curl = try CommandLineTool(words, program: "/usr/bin/curl")
    try curl.start()
    return await curl.outcome().output
  }

  func metrics(_ name: String) async throws -> String { try await get(name, "/metrics") }
}
