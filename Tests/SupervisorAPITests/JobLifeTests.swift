// A job's life over the API: created, queued, running, ended; and what stop and delete do in each state.

import JSONRPC
import Supervisor
import Testing

@Suite("A job's life", .timeLimit(.minutes(5)))
struct JobLifeTests {
  @Test("a created job waits until it is started, and answers all its fields and its times")
  func createAndStart() async throws {
    try await TestNode.run { node async throws in
      let given = job("j", "cat; echo done", timeout: 2.5, environment: ["A": "1", "B": "zwei"])
      try await node.create(given)
      let created = try await node.call("job.status", ["j"])
      #expect(created["job_id"] == "j" && created["status"] == "created")
      #expect(created["started_at"] == .null && created["completed_at"] == .null)
      let listed = try #require(try await node.call("jobs.list")[0])
      for (name, value) in given.objectValue?.members ?? [] where !name.hasSuffix("_at") {
        #expect(listed[name] == value, "\(name)")
      }
      // The node's own clock, not the client's.
      #expect(listed["created_at"] == created["created_at"] && listed["created_at"] != given["created_at"])

      #expect(try await node.call("job.start", node.secret(job: "j")) == .null)
      #expect(try await node.call("job.result", ["j"]) == ["success": "done\n"])
      let ended = try await node.call("job.status", ["j"])
      #expect(ended["status"] == "completed" && ended["created_at"] == created["created_at"])
      let times = ["created_at", "started_at", "completed_at"].compactMap { ended[$0]?.stringValue }
      #expect(times.count == 3 && times == times.sorted(), "\(times)")
      for time in times { #expect(time.wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/) != nil, "\(time)") }
    }
  }

  @Test("creating the same job again answers its id; other content under the id is a conflict")
  func createTwice() async throws {
    try await TestNode.run { node async throws in
      try await node.create(job("j", "echo 1"))
      try await node.create(job("j", "echo 1"))
      // The two times are the node's to set, so a client that sends others means the same job.
      try await node.create(job("j", "echo 1").with("created_at", value: "2030-01-01T00:00:00Z"))
      #expect(try await node.call("jobs.list").arrayValue?.count == 1)
      for other in [
        job("j", "echo 2"), job("j", "echo 1", timeout: 1), job("j", "echo 1", environment: ["A": "1"]),
        job("j", "echo 1", executor: "python"), job("j", "echo 1").with("caller_id", value: "else"),
      ] {
        let error = try await node.error("jobs.create", ["secret": .string(Key.user), "job": other])
        #expect(error.code == -32004)
        #expect(error.message.contains("\"j\"") && error.data["job"] == "j")
        #expect(try await node.error("job.run", ["secret": .string(Key.user), "job": other]).code == -32004)
      }
      #expect(try await node.run(job("j", "echo 1")) == ["success": "1\n"])
    }
  }

  @Test("job.run of a job that has run answers its result and does not run it again")
  func runTwice() async throws {
    let directory = TemporaryDirectory()
    try await TestNode.run { node async throws in
      let given = job("j", "echo ran >> \(directory.path)/log; echo ok")
      #expect(try await node.run(given) == ["success": "ok\n"])
      #expect(try await node.run(given) == ["success": "ok\n"])
      #expect(directory.text("log") == "ran\n")
      // While it runs, a second call waits for the same end.
      let slow = job(
        "slow", "echo ran >> \(directory.path)/slow; while [ ! -e \(directory.path)/go ]; do sleep 0.01; done")
      async let first = node.run(slow)
      async let second = node.run(slow)
      try await node.expect("slow", becomes: "running")
      directory.write("", to: "go")
      let results = try await [first, second]
      #expect(results == [["success": ""], ["success": ""]])
      #expect(directory.text("slow") == "ran\n")
    }
  }

  @Test("job.start may be repeated while the job waits or runs, and is refused once it has ended")
  func startTwice() async throws {
    let directory = TemporaryDirectory()
    try await TestNode.run { node async throws in
      try await node.start(
        job("j", "echo x >> \(directory.path)/log; while [ ! -e \(directory.path)/go ]; do sleep 0.01; done"))
      try await node.start(job("next", "true"))
      #expect(try await node.call("job.start", node.secret(job: "next")) == .null)
      try await node.expect("j", becomes: "running")
      #expect(try await node.call("job.start", node.secret(job: "j")) == .null)
      directory.write("", to: "go")
      #expect(try await node.call("job.result", ["j"]) == ["success": ""])
      #expect(try await node.call("job.result", ["next"]) == ["success": ""])
      let error = try await node.error("job.start", node.secret(job: "j"))
      #expect(error.code == -32003 && error.data["job"] == "j" && error.data["status"] == "completed")
      #expect(directory.text("log") == "x\n")
    }
  }

  @Test("job.result waits for the end of a job that is not even started, and wakes all who wait")
  func resultWaits() async throws {
    try await TestNode.run { node async throws in
      try await node.create(job("j", "echo late"))
      try await withThrowingTaskGroup(of: JSON.self) { group in
        for _ in 0..<5 { group.addTask { try await node.call("job.result", ["j"]) } }
        // All of them are at the node before the job starts.
        let before = await eventually { await node.waiters("j") == 5 }
        #expect(before, "five calls wait")
        #expect(try await node.status("j") == "created")
        #expect(try await node.call("job.start", node.secret(job: "j")) == .null)
        while let result = try await group.next() { #expect(result == ["success": "late\n"]) }
      }
      #expect(await node.waiters("j") == 0)
    }
  }

  @Test("a client that hangs up does not stop its job, and leaves nobody waiting")
  func hangUp() async throws {
    let directory = TemporaryDirectory()
    try await TestNode.run { node async throws in
      let given = job("j", "while [ ! -e \(directory.path)/go ]; do sleep 0.01; done; echo survived")
      let call = Task { try await node.run(given) }
      let isRunning = try await eventually { try await node.registry.status(RunnerName(trusted: "r")).running == 1 }
      #expect(isRunning)
      call.cancel()
      _ = await call.result
      directory.write("", to: "go")
      #expect(try await node.call("job.result", ["j"]) == ["success": "survived\n"])
    }
  }

  @Test("a notification that runs a job, or waits for one, is answered before the job has ended")
  func notifications() async throws {
    let directory = TemporaryDirectory()
    try await TestNode.run { node async throws in
      let slow = job("slow", "while [ ! -e \(directory.path)/go ]; do sleep 0.01; done; echo done")
      let params: JSON = ["secret": .string(Key.user), "job": slow]
      let run = #"{"jsonrpc":"2.0","method":"job.run","params":\#(params.text)}"#
      #expect(try await node.post(run).status == 204)
      let status = try await node.status("slow")
      #expect(status == "queued" || status == "running")
      // Once more is the same job, and its waiting calls hold nobody up either.
      let result = #"{"jsonrpc":"2.0","method":"job.result","params":["slow"]}"#
      let batch = try await node.post(#"[\#(run),\#(result),{"jsonrpc":"2.0","id":1,"method":"list_runners"}]"#)
      #expect(try batch.json() == [["jsonrpc": "2.0", "id": 1, "result": ["r"]]])
      directory.write("", to: "go")
      #expect(try await node.call("job.result", ["slow"]) == ["success": "done\n"])
      let wrong = #"{"jsonrpc":"2.0","method":"job.run","params":{"secret":"guess","job":\#(job("other").text)}}"#
      #expect(try await node.post(wrong).status == 204)
      #expect(try await node.error("job.status", ["other"]).code == -32002)
    }
  }
}
