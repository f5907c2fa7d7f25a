import Foundation
import JSONRPC
import PostgresServer
import SupervisorClient
import Testing

/// Nodes as real processes that share a PostgreSQL server: jobs outlive the node on which they were.
@Suite(
  "A cluster with a shared store", .serialized, .timeLimit(.minutes(5)),
  .enabled(if: PostgresServer.isInstalled, "PostgreSQL's server is not installed"))
struct SharedStoreTests {
  private let names = ["n1", "n2", "n3"]

  /// - Parameter body: gets the scene, and the database's URL.
  private func withCluster(
    leaseSeconds: Double = 15, runners: String = "[]", network: TestNetwork? = nil, server: PostgresServer? = nil,
    _ body: @escaping @Sendable (ClusterScene, PostgresServer) async throws -> Void
  ) async throws {
    let server = try server ?? PostgresServer.shared.get()
    var url = try server.makeDatabase()
    if let network { url = url.replacing("127.0.0.1", with: network.host) }
    let store = #"{"postgres": {"url": "\#(url)", "lease_seconds": \#(leaseSeconds)}}"#
    try await ClusterScene.run(runners: runners, network: network, store: store) { scene async throws in
      try await body(scene, server)
    }
  }

  @Test("takes runners without a live owner also while it cannot end the lease of another node")
  func leaseThatCannotBeEnded() async throws {
    try await withCluster { scene, server in
      try await scene.start(["n1"])
      let database = try server.sql(
        "SELECT datname FROM pg_stat_activity WHERE application_name LIKE 'hero-supervisor%' LIMIT 1")
      // A sequence is not set back with the transaction that is refused.
      try server.sql(
        """
        CREATE SEQUENCE refusals;
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          PERFORM nextval('refusals');
          RAISE EXCEPTION 'not now';
        END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON hero_nodes FOR EACH ROW WHEN (NEW.session = 999)
          EXECUTE FUNCTION refuse();
        INSERT INTO hero_nodes (session, name, instance, writer, length, beat)
          VALUES (999, 'silent', 'silent', 0, 0.1, 1);
        """, database: database)
      try await scene.eventually("the lease is tried to be ended") {
        try server.sql("SELECT is_called FROM refusals", database: database) == "t"
      }
      // Its owner has no lease.
      try server.sql("INSERT INTO hero_runners VALUES ('r', 1000, 'r', false, 1, 'gone', 998)", database: database)
      try await scene.eventually("it is taken") { try await scene.owners("n1")["r"] == "n1" }
    }
  }

  @Test("runs what a killed node had queued and running at a peer, in order, while a call waits for its end")
  func takeover() async throws {
    try await withCluster { scene, _ in
      try await scene.start(names)
      try await scene.register("r", at: "n3")
      let gate = scene.runs + ".gate"
      for number in 0..<6 {
        try await scene.start(
          job: "job-\(number)", on: "r",
          "until [ -e \(gate) ]; do sleep 0.02; done; echo $HERO_JOB_ID >>$RUNS; echo $HERO_NODE", at: "n1")
      }
      try await scene.eventually("the first one runs") {
        try await scene.call("n1", "job.status", ["job-0"])["status"] == "running"
      }
      async let last = scene.call("n2", "job.result", ["job-5"])
      async let whole = scene.run("run", on: "r", "echo $HERO_NODE", at: "n1")
      try await scene.eventually("it waits") {
        try await scene.call("n1", "jobs.query", ["params": ["status": "queued"]])["jobs"]?.arrayValue?.count == 6
      }
      let start = ContinuousClock.now
      await scene.kill("n3")
      try await scene.eventually("it runs again") {
        try await scene.call("n1", "jobs.query", ["params": ["status": "running"]])["jobs"]?[0]?["attempt"] == 2
      }
      print("a job of the killed node runs again after \(ContinuousClock.now - start)")
      _ = scene.write("", to: "runs.gate")
      let owner = try await scene.owners("n1")["r"] ?? ""
      #expect(["n1", "n2"].contains(owner))
      #expect(try await last == ["success": .string("\(owner)\n")])
      // The call went to the node that died, and was asked again of the next one.
      #expect(try await whole == ["success": .string("\(owner)\n")])
      for number in 0..<6 {
        let id = JSON.string("job-\(number)")
        #expect(try await scene.call("n2", "job.result", [id]) == ["success": .string("\(owner)\n")])
      }
      let runs = try String(contentsOfFile: scene.runs, encoding: .utf8).split(separator: "\n")
      #expect(runs == (0..<6).map { "job-\($0)" })
      // Nothing of it needs the dead node, and it comes back to a cluster that has forgotten nothing.
      #expect(try await scene.unreachable("n1", "jobs.list") == [])
      try await scene.start("n3")
      try await scene.agree(names)
      #expect(try await scene.owners("n3") == ["r": owner])
    }
  }

  @Test("moves a queue, drains a node and stops one without losing or repeating a job")
  func move() async throws {
    try await withCluster { scene, _ in
      try await scene.start(names)
      try await scene.register("a", queue: "q", at: "n1")
      try await scene.register("b", queue: "q", at: "n2")
      #expect(try await scene.owners("n3") == ["a": "n1", "b": "n1"])
      for number in 0..<100 {
        try await scene.start(
          job: "job-\(number)", on: number.isMultiple(of: 2) ? "a" : "b", "echo $HERO_JOB_ID >>$RUNS; echo done",
          at: names[number % 3])
        if number == 30 { _ = try await scene.admin("runner.move", ["name": "b", "node": "n3"], at: "n2") }
        if number == 60 { _ = try await scene.admin("node.drain", ["node": "n3"], at: "n1") }
      }
      for number in 0..<100 {
        #expect(try await scene.call("n2", "job.result", [.string("job-\(number)")]) == ["success": "done\n"])
      }
      let runs = scene.countRuns()
      #expect(runs.count == 100 && runs.values.allSatisfy { $0 == 1 })
      let owner = try await scene.owners("n1")["a"]!
      #expect(owner != "n3")
      #expect(await scene.terminate(owner) == 0)
      let other = owner == "n1" ? "n2" : "n1"
      #expect(try await scene.run("after", on: "a", "echo ok", at: other) == ["success": "ok\n"])
    }
  }

  /// Jobs that note when they begin and end, the first of which takes as long as the test wants.
  private func startInOrder(_ scene: ClusterScene, _ count: Int, on runner: String, at node: String) async throws {
    for number in 0..<count {
      let wait = number == 0 ? "until [ -e \(scene.runs).gate ]; do sleep 0.02; done;" : ""
      try await scene.start(
        job: "job-\(number)", on: runner,
        "echo $HERO_JOB_ID begins at $HERO_NODE >>$RUNS; \(wait) echo $HERO_JOB_ID ends at $HERO_NODE >>$RUNS", at: node
      )
    }
    try await scene.eventually("the first one runs") {
      try String(contentsOfFile: scene.runs, encoding: .utf8).contains("job-0 begins")
    }
  }

  private func runs(_ scene: ClusterScene) throws -> [String] {
    try String(contentsOfFile: scene.runs, encoding: .utf8).split(separator: "\n").map(String.init)
  }

  @Test("a runner that is moved starts nothing at its new node while a job of it still runs at the old one")
  func moveWhileRunning() async throws {
    try await withCluster { scene, _ in
      try await scene.start(["n1", "n2"])
      try await scene.register("r", at: "n1")
      try await startInOrder(scene, 3, on: "r", at: "n1")
      _ = try await scene.admin("runner.move", ["name": "r", "node": "n2"], at: "n1")
      // What is accepted now stands behind, and goes through the new owner from its arrival to its end.
      try await scene.start(job: "job-3", on: "r", "echo job-3 begins at $HERO_NODE >>$RUNS", at: "n2")
      #expect(try runs(scene) == ["job-0 begins at n1"])
      _ = scene.write("", to: "runs.gate")
      _ = try await scene.call("n2", "job.result", ["job-3"])
      #expect(
        try runs(scene) == [
          "job-0 begins at n1", "job-0 ends at n1", "job-1 begins at n2", "job-1 ends at n2", "job-2 begins at n2",
          "job-2 ends at n2", "job-3 begins at n2",
        ])
    }
  }

  @Test("a job that runs while its runner moves away and back is stopped where it runs, before the next one starts")
  func stopAfterMovesAndBack() async throws {
    try await withCluster { scene, _ in
      try await scene.start(["n1", "n2"])
      try await scene.register("r", at: "n1")
      try await scene.start(
        job: "job-0", on: "r",
        "trap 'echo stopped >>$RUNS; exit 1' TERM; echo begins >>$RUNS; while true; do sleep 0.02; done", at: "n1")
      try await scene.eventually("it runs") { try runs(scene) == ["begins"] }
      try await scene.start(job: "job-1", on: "r", "echo next >>$RUNS", at: "n2")
      for node in ["n2", "n1"] {
        _ = try await scene.admin("runner.move", ["name": "r", "node": .string(node)], at: "n2")
      }
      #expect(try runs(scene) == ["begins"])
      _ = try await scene.admin("job.stop", ["job_id": "job-0"], at: "n2")
      #expect(try await scene.call("n1", "job.result", ["job-0"])["error"] != nil)
      _ = try await scene.call("n2", "job.result", ["job-1"])
      #expect(try runs(scene) == ["begins", "stopped", "next"])
    }
  }

  @Test("a job that ran at a runner's former owner runs again before those that were queued after it")
  func killAfterMove() async throws {
    try await withCluster { scene, _ in
      try await scene.start(["n1", "n2", "n3"])
      try await scene.register("r", at: "n1")
      try await startInOrder(scene, 4, on: "r", at: "n3")
      _ = try await scene.admin("runner.move", ["name": "r", "node": "n2"], at: "n1")
      #expect(try runs(scene) == ["job-0 begins at n1"])
      await scene.kill("n1")
      try await scene.eventually("it runs again") { try runs(scene).contains("job-0 begins at n2") }
      _ = scene.write("", to: "runs.gate")
      _ = try await scene.call("n2", "job.result", ["job-3"])
      #expect(
        try runs(scene) == ["job-0 begins at n1"]
          + (0..<4).flatMap { ["job-\($0) begins at n2", "job-\($0) ends at n2"] })
    }
  }

  @Test("a node that loses its lease and has it again runs what it killed before what was queued after it")
  func leaseEndedFromOutside() async throws {
    let server = try PostgresServer(settings: [])
    defer { server.remove() }
    try await withCluster(leaseSeconds: 3, server: server) { scene, server in
      try await scene.start(["n1"])
      try await scene.register("r", at: "n1")
      // A descendant in a session of its own holds the killed job's output, so that its end takes some time.
      try await scene.start(
        job: "job-0", on: "r",
        "echo $HERO_JOB_ID begins >>$RUNS; setsid sleep 20 & until [ -e \(scene.runs).gate ]; do sleep 0.02; done",
        at: "n1")
      for number in 1...3 {
        try await scene.start(job: "job-\(number)", on: "r", "echo $HERO_JOB_ID begins >>$RUNS", at: "n1")
      }
      try await scene.eventually("it runs") { try runs(scene) == ["job-0 begins"] }
      let database = try server.sql(
        "SELECT datname FROM pg_stat_activity WHERE application_name LIKE 'hero-supervisor%' LIMIT 1")
      try server.sql("UPDATE hero_nodes SET is_over = true", database: database)
      try await scene.eventually("it runs again", within: 30) { try runs(scene).count == 2 }
      _ = scene.write("", to: "runs.gate")
      _ = try await scene.call("n1", "job.result", ["job-3"])
      #expect(try runs(scene) == ["job-0 begins", "job-0 begins", "job-1 begins", "job-2 begins", "job-3 begins"])
    }
  }

  @Test("lets running jobs end while the database is restarted or its sessions are cut, and keeps their results")
  func restart() async throws {
    let server = try PostgresServer(settings: [])
    defer { server.remove() }
    try await withCluster(server: server) { scene, server in
      try await scene.start(names)
      for name in names { try await scene.register(name, at: name) }
      for round in 0..<3 {
        for name in names {
          try await scene.start(
            job: "\(name)-\(round)", on: name, "sleep 1; echo $HERO_JOB_ID >>$RUNS; echo done", at: name)
        }
        try await scene.loop.sleep(for: .milliseconds(300))
        switch round {
        case 0: try server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        case 1:
          try server.stop()
          do {
            // A client's `job.run` would wait for the database (docs/protocol.md, "Following a job by its id").
            try await scene.create("refused", on: "n1", "x", at: "n2")
            Issue.record("a job was accepted without a database")
          } catch let error as ClientError {
            #expect(error.code == -32009 && error.data?["retry_after_ms"]?.intValue ?? 0 > 0, "\(error)")
          }
          try await scene.loop.sleep(for: .milliseconds(1500))
          try server.start()
        default:
          try server.kill()
          try server.start()
        }
        for name in names {
          try await scene.eventually("\(name)-\(round) has its result", within: 20) {
            try await scene.call("n1", "job.result", [.string("\(name)-\(round)")]) == ["success": "done\n"]
          }
        }
      }
      let runs = scene.countRuns()
      #expect(runs.count == 9 && runs.values.allSatisfy { $0 == 1 }, "\(runs)")
      try await scene.agree(names)
    }
  }

  /// A job that says where it is alive, until it may end.
  private static func beating(_ scene: ClusterScene) -> String {
    """
    until [ -e \(scene.runs).gate ]; do echo "$HERO_NODE $(date +%s%3N)" >>\(scene.runs).beats; sleep 0.02; done
    echo $HERO_NODE
    """
  }

  /// The first and last sign of life at each node, in milliseconds.
  private func beats(_ scene: ClusterScene) throws -> [String: (first: Int, last: Int)] {
    let lines = try String(contentsOfFile: scene.runs + ".beats", encoding: .utf8).split(separator: "\n")
    var beats: [String: (first: Int, last: Int)] = [:]
    for line in lines {
      let words = line.split(separator: " ")
      guard words.count == 2, let time = Int(words[1]) else { continue }
      let node = String(words[0])
      beats[node] = (beats[node]?.first ?? time, time)
    }
    return beats
  }

  @Test("a node that is stopped for longer than its lease has its jobs killed before a peer starts them again")
  func paused() async throws {
    try await withCluster(leaseSeconds: 3) { scene, _ in
      try await scene.start(names)
      try await scene.register("r", at: "n2")
      try await scene.start(job: "job", on: "r", Self.beating(scene), at: "n1")
      try await scene.eventually("it runs") { try beats(scene)["n2"] != nil }
      await scene.pause("n2")
      try await scene.eventually("it runs elsewhere", within: 30) { try beats(scene).count == 2 }
      await scene.resume("n2")
      _ = scene.write("", to: "runs.gate")
      let result = try await scene.call("n1", "job.result", ["job"])
      let found = try beats(scene)
      let heir = try #require(found.keys.first { $0 != "n2" })
      #expect(result == ["success": .string("\(heir)\n")])
      #expect(found["n2"]!.last <= found[heir]!.first, "\(found)")
      let page = try await scene.call("n1", "jobs.query", ["params": ["runner": "r"]])
      #expect(page["jobs"]?[0]?["attempt"] == 2)
      try await scene.agree(names)
      #expect(try await scene.owners("n2") == ["r": heir])
    }
  }

  @Test(
    "a node that cannot reach the database stops its jobs in time, says so, and works again when it can",
    .enabled(if: TestNetwork.isPermitted, "network namespaces need root, ip(8) and nft(8)"))
  func cutOff() async throws {
    let network = TestNetwork(names)
    let server = try PostgresServer(settings: ["listen_addresses = '*'"])
    defer { server.remove() }
    try await withCluster(leaseSeconds: 3, network: network, server: server) { scene, server in
      try await scene.start(names)
      try await scene.register("r", at: "n2")
      try await scene.start(job: "job", on: "r", Self.beating(scene), at: "n1")
      try await scene.eventually("it runs") { try beats(scene)["n2"] != nil }
      network.cut(fromPort: server.port, to: "n2")
      try await scene.eventually("it runs elsewhere", within: 30) { try beats(scene).count == 2 }
      let found = try beats(scene)
      let heir = try #require(found.keys.first { $0 != "n2" })
      #expect(found["n2"]!.last <= found[heir]!.first, "\(found)")
      // It has said so itself: to gossip it is alive all the time.
      let logs = await [scene.log("n1"), scene.log("n3")]
      #expect(logs.contains { $0.contains("the lease of a node is over") })
      // In log, readiness and status.
      #expect(await scene.log("n2").contains("the lease is lost, all jobs of this node are stopped"))
      let status = try await scene.call("n2", "cluster.status")
      #expect(
        status["ready"] == false && status["reason"]?.stringValue?.contains("lost its lease") == true, "\(status)")
      #expect(try await scene.owners("n1") == ["r": heir])
      network.heal()
      try await scene.eventually("n2 is ready again", within: 30) {
        try await scene.call("n2", "cluster.status")["ready"] == true
      }
      _ = scene.write("", to: "runs.gate")
      #expect(try await scene.call("n2", "job.result", ["job"]) == ["success": .string("\(heir)\n")])
      try await scene.agree(names)
    }
  }

  @Test(
    "no lease is lost, and no job runs again, when the database's clock leaps",
    .enabled(if: FileManager.default.fileExists(atPath: Self.fakeTime), "libfaketime is not installed"))
  func databaseClock() async throws {
    let offset = "\(NSTemporaryDirectory())/hero-offset-\(UUID().uuidString)"
    try "+0".write(toFile: offset, atomically: true, encoding: .utf8)
    defer { try? FileManager.default.removeItem(atPath: offset) }
    let server = try PostgresServer(
      settings: [],
      environment: [
        "LD_PRELOAD": Self.fakeTime, "FAKETIME_TIMESTAMP_FILE": offset, "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
      ])
    defer { server.remove() }
    try await withCluster(leaseSeconds: 3, server: server) { scene, server in
      try await scene.start(names)
      for name in names {
        try await scene.register(name, at: name)
        try await scene.start(job: "job-\(name)", on: name, Self.beating(scene), at: name)
      }
      try await scene.eventually("they run") { try beats(scene).count == 3 }
      for leap in [60, -3600, 864_000, 0] {
        try "+\(leap)".replacing("+-", with: "-").write(toFile: offset, atomically: true, encoding: .utf8)
        let seconds = try #require(Double(try server.sql("SELECT extract(epoch FROM clock_timestamp())")))
        #expect(abs(seconds - Date().timeIntervalSince1970 - Double(leap)) < 30, "the clock has not leapt")
        // More than a lease, with each node's look at the others.
        try await scene.loop.sleep(for: .seconds(4))
      }
      _ = scene.write("", to: "runs.gate")
      for name in names {
        #expect(try await scene.call("n1", "job.result", [.string("job-\(name)")]) == ["success": .string("\(name)\n")])
        #expect(await !scene.log(name).contains("the lease is lost"))
      }
      let page = try await scene.call("n1", "jobs.query", ["params": [:]])
      #expect(page["jobs"]?.arrayValue?.map { $0["attempt"] } == [1, 1, 1], "\(page.text)")
    }
  }

  private static let fakeTime = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"

  @Test("nodes that were all killed find their runners and jobs again, also at nodes of other names")
  func allDown() async throws {
    try await withCluster(leaseSeconds: 3, runners: #"[{"name": "configured"}]"#) { scene, _ in
      try await scene.start(names)
      try await scene.register("r", at: "n3")
      try await scene.start(job: "job", on: "r", "sleep 1; echo $HERO_NODE", at: "n1")
      for name in names { await scene.kill(name) }
      for name in ["x1", "x2"] { try await scene.start(name, knowsOthers: name == "x2") }
      let answer = try await scene.call("x1", "job.result", ["job"])
      #expect(["x1\n", "x2\n"].contains(answer["success"]?.stringValue ?? ""), "\(answer.text)")
      #expect(try await scene.run("other", on: "configured", "echo ok", at: "x2") == ["success": "ok\n"])
    }
  }

  @Test("ends in bounded time when it is told to stop while the database is away")
  func stopWithoutDatabase() async throws {
    let server = try PostgresServer(settings: [])
    defer { server.remove() }
    try await withCluster(server: server) { scene, server in
      try await scene.start(["n1"])
      try await scene.register("r", at: "n1")
      try await scene.start(job: "job", on: "r", "sleep 0.3; echo done", at: "n1")
      try server.stop()
      try await scene.loop.sleep(for: .milliseconds(600))
      let start = ContinuousClock.now
      #expect(await scene.terminate("n1") == 0)
      // Twelve seconds and what a busy machine adds; without a bound it waits for the database.
      #expect(ContinuousClock.now - start < .seconds(60))
      try server.start()
      try await scene.start("n1")
      // What it could not write was not acknowledged: the job runs again.
      #expect(try await scene.call("n1", "job.result", ["job"]) == ["success": "done\n"])
    }
  }
}
