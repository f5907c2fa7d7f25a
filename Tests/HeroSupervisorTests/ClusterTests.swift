import JSONRPC
import SupervisorClient
import Testing

/// Three nodes as real processes on the loopback interface.
@Suite("A cluster", .serialized, .timeLimit(.minutes(5)))
struct ClusterTests {
  private let names = ["n1", "n2", "n3"]

  @Test("answers the same at every node, and the owner does the work wherever the call arrives")
  func anyNode() async throws {
    try await ClusterScene.run { scene async throws in
      try await scene.start(names)
      for name in names { try await scene.register("at-\(name)", at: name) }
      for name in names {
        // Known everywhere before the registration was answered.
        #expect(try await scene.call(name, "list_runners") == ["at-n1", "at-n2", "at-n3"])
        for owner in names {
          let id = "\(owner) asked at \(name)"
          #expect(
            try await scene.run(id, on: "at-\(owner)", "echo $HERO_NODE", at: name) == [
              "success": .string("\(owner)\n")
            ])
        }
      }
      for name in names {
        #expect(
          try await scene.call(name, "get_all_status") == [
            ["at-n1", "running"], ["at-n2", "running"], ["at-n3", "running"],
          ])
        #expect(try await scene.call(name, "jobs.list").arrayValue?.count == 9)
        for owner in names {
          let id = JSON.string("\(owner) asked at n1")
          #expect(try await scene.call(name, "job.status", [id])["status"] == "completed")
          #expect(try await scene.call(name, "job.result", [id]) == ["success": .string("\(owner)\n")])
          let logs = try await scene.call(name, "job.logs", ["params": ["job_id": id]])
          #expect(logs["data"]?.stringValue == "\(owner)\n")
        }
        #expect(try await scene.unreachable(name, "jobs.list") == [])
      }
    }
  }

  @Test("pages through the jobs of all nodes, newest first, each once")
  func pages() async throws {
    try await ClusterScene.run { scene async throws in
      try await scene.start(names)
      for name in names { try await scene.register(name, at: name) }
      for number in 0..<20 {
        _ = try await scene.run("job-\(number)", on: names[number % 3], "x", executor: "echo", at: "n1")
      }
      for limit in [1, 3, 7, 100] as [Int64] {
        var ids: [String] = []
        var cursor: JSON?
        repeat {
          var query: JSONObject = ["limit": .int(limit)]
          query["cursor"] = cursor
          let page = try await scene.call("n2", "jobs.query", ["params": .object(query)])
          ids += page["jobs"]?.arrayValue?.compactMap { $0["id"]?.stringValue } ?? []
          cursor = page["next"]
        } while cursor != .null
        #expect(ids == (0..<20).reversed().map { "job-\($0)" }, "limit \(limit)")
      }
      await #expect(throws: ClientError.self) {
        try await scene.call("n2", "jobs.query", ["params": ["cursor": "00ff"]])
      }
    }
  }

  @Test("cuts a list off that a lost member cannot bring to its end, and names who was missing from the beginning")
  func lostMidway() async throws {
    try await ClusterScene.run { scene async throws in
      try await scene.start(names)
      try await scene.register("r", at: "n2")
      let payload = String(repeating: "x", count: 1_000_000)
      for number in 0..<30 { try await scene.create("job-\(number)", on: "r", payload, at: "n2") }
      let authority = try Endpoint(parsing: await scene.endpoints["n1"] ?? "").authority
      let list = try CommandLineTool(
        [
          "-sS", "--limit-rate", "10M", "-H", "Content-Type: application/json", "-H",
          "Authorization: Bearer \(scene.secret)", "-d", #"{"jsonrpc":"2.0","id":1,"method":"jobs.list"}"#,
          "http://\(authority)/",
        ], program: "/usr/bin/curl")
      try list.start()
      #expect(await list.said("xxx"))
      await scene.kill("n2")
      let outcome = await list.outcome()
      // curl(1): a transfer that ended early, or was reset.
      #expect([18, 56].contains(outcome.status), "\(outcome.status) \(outcome.error)")
      #expect(outcome.output.utf8.count < 30_000_000)
      try await scene.sees("n1", ["n2": "failed"])
      #expect(try await scene.unreachable("n1", "jobs.list") == ["n2"])
    }
  }

  @Test("lets a call wait at one node for a job of another, stops and deletes it from a third")
  func jobsElsewhere() async throws {
    try await ClusterScene.run { scene async throws in
      try await scene.start(names)
      try await scene.register("r", at: "n1")
      try await scene.start(job: "long", on: "r", "sleep 60", at: "n2")
      async let waiting = scene.call("n3", "job.result", ["long"])
      try await scene.eventually("it runs") {
        try await scene.call("n2", "job.status", ["long"])["status"] == "running"
      }
      _ = try await scene.admin("job.stop", ["job_id": "long"], at: "n2")
      #expect(try await waiting == ["error": "stopped"])
      _ = try await scene.admin("job.delete", ["job_id": "long"], at: "n3")
      await #expect { try await scene.call("n2", "job.status", ["long"]) } throws: {
        ($0 as? ClientError)?.code == -32002
      }
      // Runners as well.
      #expect(try await scene.call("n3", "stop_runner", ["r"]) == .null)
      #expect(try await scene.call("n2", "get_all_status") == [["r", "stopped"]])
      #expect(try await scene.call("n2", "start_runner", ["r"]) == .null)
      #expect(try await scene.call("n3", "remove_runner", ["r"]) == .null)
      for name in names { #expect(try await scene.call(name, "list_runners") == []) }
    }
  }

  @Test("takes over the runners of a node that is killed; its queued jobs run once each when it is back")
  func takeover() async throws {
    try await ClusterScene.run { scene async throws in
      try await scene.start(names)
      try await scene.register("r", at: "n3")
      for number in 0..<5 {
        try await scene.start(
          job: "job-\(number)", on: "r",
          "echo $HERO_JOB_ID >>$RUNS; until [ -e \(scene.runs).gate ]; do sleep 0.02; done; echo done", at: "n1")
      }
      await scene.kill("n3")
      // A new job runs at a peer at once, and the call waits for that by itself.
      let answer = try await scene.run("new", on: "r", "echo $HERO_NODE", at: "n1")
      let owner = answer["success"]?.stringValue ?? ""
      #expect(["n1\n", "n2\n"].contains(owner), "\(answer.text)")
      for name in ["n1", "n2"] { try await scene.sees(name, ["n3": "failed"]) }
      // What is on its disk cannot be told, and that is said.
      await #expect { try await scene.call("n2", "job.status", ["job-4"]) } throws: {
        ($0 as? ClientError)?.code == -32005 && ($0 as? ClientError)?.data?["node"] == "n3"
      }
      #expect(try await scene.unreachable("n1", "jobs.list") == ["n3"])
      _ = scene.write("", to: "runs.gate")
      try await scene.start("n3")
      for number in 0..<5 {
        #expect(try await scene.call("n1", "job.result", [.string("job-\(number)")]) == ["success": "done\n"])
      }
      try await scene.agree(names)
      // It does not take its runner back by itself.
      #expect(try await scene.owners("n3") == ["r": owner.trimmingSuffix("\n")])
      let page = try await scene.call("n2", "jobs.query", ["params": ["runner": "r"]])
      let runs = scene.countRuns()
      for job in page["jobs"]?.arrayValue ?? [] where job["id"] != "new" {
        let attempts = job["attempt"]?.intValue ?? 0
        let count = runs[job["id"]?.stringValue ?? ""] ?? 0
        #expect(count >= 1 && count <= Int(attempts), "\(job.text) ran \(count) times")
        if job["id"] != "job-0" { #expect(attempts == 1, "\(job.text)") }
      }
    }
  }

  @Test("hands jobs over in the order in which they were queued")
  func orderAfterMove() async throws {
    try await ClusterScene.run { scene async throws in
      try await scene.start(names)
      try await scene.register("r", at: "n1")
      let count = 100
      for number in 0..<count {
        let wait = number == 0 ? "until [ -e \(scene.runs).gate ]; do sleep 0.02; done;" : ""
        try await scene.start(job: "job-\(number)", on: "r", "\(wait) echo $HERO_JOB_ID >>$RUNS", at: "n1")
      }
      _ = try await scene.admin("runner.move", ["name": "r", "node": "n2"], at: "n1")
      _ = scene.write("", to: "runs.gate")
      for number in 0..<count { _ = try await scene.call("n3", "job.result", [.string("job-\(number)")]) }
      // What ran at the former owner when the runner moved ends there, beside what waited.
      let runs = try String(contentsOfFile: scene.runs, encoding: .utf8).split(separator: "\n")
      #expect(runs.filter { $0 != "job-0" } == (1..<count).map { "job-\($0)" })
    }
  }

  @Test("gives the runners and queued jobs of a node that stops to its peers before it goes")
  func gracefulStop() async throws {
    try await ClusterScene.run { scene async throws in
      try await scene.start(names)
      try await scene.register("r", at: "n2")
      // The first one runs as long as the test wants, so that the others wait however slow this machine is.
      let gate = scene.runs + ".gate"
      for number in 0..<20 {
        try await scene.start(
          job: "job-\(number)", on: "r",
          number == 0 ? "until [ -e \(gate) ]; do sleep 0.02; done" : "echo $HERO_JOB_ID >>$RUNS; echo done", at: "n1")
      }
      async let end = scene.terminate("n2")
      try await scene.eventually("the runner has another owner") {
        let owner = try await scene.owners("n1")["r"]
        return owner == "n1" || owner == "n3"
      }
      _ = scene.write("", to: "runs.gate")
      #expect(await end == 0)
      for number in 1..<20 {
        // n1 knew them at n2.
        #expect(
          try await scene.call(number.isMultiple(of: 2) ? "n1" : "n3", "job.result", [.string("job-\(number)")]) == [
            "success": "done\n"
          ])
      }
      for name in ["n1", "n3"] { try await scene.sees(name, ["n2": "left"]) }
      #expect(scene.countRuns().values.allSatisfy { $0 == 1 })
    }
  }

  @Test("moves a queue, and drains a node, without losing or repeating a job")
  func move() async throws {
    try await ClusterScene.run { scene async throws in
      try await scene.start(names)
      try await scene.register("a", queue: "q", at: "n1")
      // The second runner of a queue goes to the first one's node.
      try await scene.register("b", queue: "q", at: "n2")
      #expect(try await scene.owners("n3") == ["a": "n1", "b": "n1"])
      for number in 0..<100 {
        try await scene.start(
          job: "job-\(number)", on: number.isMultiple(of: 2) ? "a" : "b", "echo $HERO_JOB_ID >>$RUNS; echo done",
          at: names[number % 3])
        if number == 30 { _ = try await scene.admin("runner.move", ["name": "b", "node": "n3"], at: "n2") }
        if number == 60 { _ = try await scene.admin("node.drain", ["node": "n3"], at: "n1") }
      }
      #expect(Set(try await scene.owners("n1").values).isSubset(of: ["n1", "n2"]))
      for number in 0..<100 {
        #expect(try await scene.call("n2", "job.result", [.string("job-\(number)")]) == ["success": "done\n"])
      }
      let runs = scene.countRuns()
      #expect(runs.count == 100 && runs.values.allSatisfy { $0 == 1 })
      try await scene.eventually("draining is known") {
        try await scene.call("n1", "cluster.members")[2]?["draining"] == true
      }
      await #expect { try await scene.admin("runner.move", ["name": "a", "node": "nobody"], at: "n1") } throws: {
        ($0 as? ClientError)?.code == -32002
      }
    }
  }

  @Test("settles on one owner when several nodes register the same runner at once")
  func concurrentRegistration() async throws {
    try await ClusterScene.run { scene async throws in
      try await scene.start(names)
      try await withThrowingDiscardingTaskGroup { group in
        for number in 0..<20 {
          for name in names { group.addTask { try await scene.register("r\(number)", at: name) } }
        }
      }
      try await scene.agree(names)
      #expect(try await scene.owners("n1").count == 20)
      for number in 0..<20 {
        #expect(
          try await scene.run("job-\(number)", on: "r\(number)", "echo ok", at: names[number % 3]) == [
            "success": "ok\n"
          ])
      }
    }
  }

  @Test("finds a node again that was stopped for longer than its peers waited, or came back at another port")
  func pauseAndNewPort() async throws {
    try await ClusterScene.run { scene async throws in
      try await scene.start(names)
      try await scene.register("r", at: "n2")
      await scene.pause("n2")
      for name in ["n1", "n3"] { try await scene.sees(name, ["n2": "failed"]) }
      #expect(try await scene.run("meanwhile", on: "r", "echo ok", at: "n1") == ["success": "ok\n"])
      await scene.resume("n2")
      for name in names { try await scene.sees(name, ["n1": "alive", "n2": "alive", "n3": "alive"]) }
      try await scene.agree(names)
      await scene.kill("n2")
      try await scene.start("n2", atNewPort: true)
      for name in names { try await scene.sees(name, ["n1": "alive", "n2": "alive", "n3": "alive"]) }
      #expect(try await scene.run("after", on: "r", "echo ok", at: "n2") == ["success": "ok\n"])
    }
  }

  @Test("spreads the runners of the configuration over nodes that start together")
  func configuredRunners() async throws {
    let runners = (0..<12).map { #"{"name": "c\#($0)"}"# }.joined(separator: ",")
    try await ClusterScene.run(runners: "[\(runners)]") { scene async throws in
      try await scene.start(names)
      try await scene.eventually("all nodes have some") {
        let owners = try await scene.owners("n1")
        return owners.count == 12 && Set(owners.values) == Set(names)
      }
      try await scene.agree(names)
    }
  }
}

extension ClientError {
  var code: Int? { if case .rpc(let code, _, _) = self { code } else { nil } }
  var data: JSON? { if case .rpc(_, _, let data) = self { data } else { nil } }
}

extension String {
  fileprivate func trimmingSuffix(_ suffix: String) -> String {
    hasSuffix(suffix) ? String(dropLast(suffix.count)) : self
  }
}
