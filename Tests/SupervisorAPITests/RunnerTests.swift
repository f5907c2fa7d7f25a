// Methods about runners: registration, their state, and what stopping them means for their jobs.

import JSONRPC
import Testing

@Suite("Runners over the API", .timeLimit(.minutes(5)))
struct RunnerTests {
  @Test("a registered runner starts by itself; registering it again changes nothing, another queue is a conflict")
  func register() async throws {
    try await TestNode.run { node async throws in
      try await node.register("new", queue: "q2")
      #expect(try await node.run(job("j", "echo 1", runner: "new")) == ["success": "1\n"])
      try await node.register("new", queue: "q2")
      let error = try await node.error(
        "register_runner", ["secret": .string(Key.register), "name": "new", "queue": "other"])
      #expect(error.code == -32004)
      #expect(error.message.contains("\"new\"") && error.message.contains("\"q2\""))
      #expect(error.data["runner"] == "new" && error.data["queue"] == "q2")
      #expect(try await node.call("list_runners") == ["new", "r"])
      #expect(try await node.call("get_runner_status", ["new"])["completed"] == 1)
    }
  }

  @Test("of two registrations of one name at the same time, with two queues, one wins")
  func registerAtOnce() async throws {
    try await TestNode.run { node async throws in
      let calls = (0..<10).map { number -> (method: String, params: JSON) in
        ("register_runner", ["secret": .string(Key.register), "name": "new", "queue": .string("q\(number % 2)")])
      }
      let outcomes = try await node.client.batch(calls)
      let wins = outcomes.enumerated().filter { if case .success = $0.element { true } else { false } }.map(\.offset)
      #expect(wins.count == 5 && Set(wins.map { $0 % 2 }).count == 1, "\(outcomes)")
      #expect(try await node.call("list_runners") == ["new", "r"])
      #expect(try await node.call("get_runner_status", ["new"])["queue"] == .string("q\(wins[0] % 2)"))
    }
  }

  @Test("get_runner_status tells the runner's place, its state, and counts its jobs")
  func status() async throws {
    var options = TestNode.Options()
    options.runners = [runner("r", queue: "q", concurrency: 2)]
    try await TestNode.run(options) { node async throws in
      let idle: JSON = [
        "name": "r", "queue": "q", "node": "n1", "state": "running", "epoch": 1, "concurrency": 2, "queued": 0,
        "running": 0, "completed": 0, "failed": 0, "timeout": 0,
      ]
      #expect(try await node.call("get_runner_status", ["r"]) == idle)
      for number in 0..<3 { _ = try await node.run(job("c\(number)", "true")) }
      _ = try await node.run(job("e", "hello", executor: "echo"))
      for number in 0..<2 { _ = try await node.run(job("f\(number)", "false")) }
      _ = try await node.run(job("t", "sleep 60", timeout: 0.05))
      for number in 0..<3 { try await node.start(job("s\(number)", "sleep 60")) }
      try await node.create(job("created"))
      let expected = idle.with("completed", value: 4).with("failed", value: 2).with("timeout", value: 1)
        .with("running", value: 2).with("queued", value: 1)
      var status: JSON = .null
      let came = try await eventually {
        status = try await node.call("get_runner_status", ["r"])
        return status == expected
      }
      #expect(came, "\(status.text)")
      #expect(try await node.call("get_all_runner_status") == [expected])
      #expect(try await node.call("get_all_status") == [["r", "running"]])
    }
  }

  @Test("stop_runner waits for the running job; the queued one waits until the runner is started again")
  func stopWaits() async throws {
    let directory = TemporaryDirectory()
    try await TestNode.run { node async throws in
      try await node.start(job("long", "while [ ! -e \(directory.path)/go ]; do sleep 0.01; done; echo whole"))
      try await node.start(job("next", "echo next"))
      try await node.expect("long", becomes: "running")
      let stop = Task { try await node.call("stop_runner", ["r"]) }
      try await node.expect(runner: "r", becomes: "stopping")
      #expect(try await node.status("next") == "queued")
      directory.write("", to: "go")
      #expect(try await stop.value == .null)
      #expect(try await node.call("job.result", ["long"]) == ["success": "whole\n"])
      #expect(try await node.call("get_all_status") == [["r", "stopped"]])
      #expect(try await node.status("next") == "queued")
      // Stopping a stopped one succeeds, and it takes jobs without running them.
      #expect(try await node.call("stop_runner", ["actor_id": "r", "force": false]) == .null)
      try await node.start(job("later", "echo later"))
      #expect(try await node.call("start_runner", ["r"]) == .null)
      #expect(try await node.call("job.result", ["later"]) == ["success": "later\n"])
      #expect(try await node.call("job.result", ["next"]) == ["success": "next\n"])
      #expect(try await node.call("start_runner", ["r"]) == .null)
      #expect(try await node.call("get_all_status") == [["r", "running"]])
    }
  }

  @Test("stop_runner with force stops the running jobs and leaves the queued ones")
  func stopForce() async throws {
    try await TestNode.run { node async throws in
      try await node.start(job("long", "sleep 60"))
      try await node.start(job("next", "echo next"))
      try await node.expect("long", becomes: "running")
      #expect(try await node.call("stop_runner", ["r", true]) == .null)
      #expect(try await node.call("job.result", ["long"]) == ["error": "stopped"])
      #expect(try await node.status("next") == "queued")
      #expect(try await node.call("get_runner_status", ["r"])["state"] == "stopped")
      #expect(try await node.call("start_all") == [["r", "success"]])
      #expect(try await node.call("job.result", ["next"]) == ["success": "next\n"])
    }
  }

  @Test("force hurries a stop that already waits, and a start in between ends it as a wrong state")
  func stopTwice() async throws {
    try await TestNode.run { node async throws in
      try await node.start(job("long", "sleep 60"))
      try await node.expect("long", becomes: "running")
      let given = Task { try await failure { try await node.call("stop_runner", ["r"]) } }
      try await node.expect(runner: "r", becomes: "stopping")
      #expect(try await node.call("start_runner", ["r"]) == .null)
      let error = try await given.value
      #expect(error.code == -32003 && error.data["runner"] == "r" && error.data["state"] == "running")
      #expect(try await node.status("long") == "running")

      let patient = Task { try await node.call("stop_runner", ["r"]) }
      try await node.expect(runner: "r", becomes: "stopping")
      #expect(try await node.call("stop_runner", ["r", true]) == .null)
      #expect(try await patient.value == .null)
      #expect(try await node.call("job.result", ["long"]) == ["error": "stopped"])
    }
  }

  @Test(
    "stop_all and start_all act on all runners at once and answer for each, by name, as every node of a cluster would")
  func all() async throws {
    var options = TestNode.Options()
    options.runners = []
    try await TestNode.run(options) { node async throws in
      #expect(try await node.call("stop_all") == [])
      #expect(try await node.call("start_all") == [])
      for name in ["z", "a", "m"] {
        try await node.register(name, queue: name)
        try await node.start(job(name, "sleep 60", runner: name))
        try await node.expect(name, becomes: "running")
      }
      #expect(try await node.call("start_all") == [["a", "success"], ["m", "success"], ["z", "success"]])
      // Without force it waits for all of them, so a start ends it for one, and its error is in its place.
      let stop = Task { try await node.call("stop_all") }
      for name in ["z", "a", "m"] { try await node.expect(runner: name, becomes: "stopping") }
      #expect(try await node.call("start_runner", ["a"]) == .null)
      for name in ["z", "m"] { #expect(try await node.call("job.stop", node.secret(job: name)) == .null) }
      let outcomes = try await stop.value
      #expect(outcomes[1] == ["m", "success"] && outcomes[2] == ["z", "success"], "\(outcomes.text)")
      #expect(outcomes[0]?[0] == "a" && outcomes[0]?[1]?.stringValue?.contains("started again") == true)
      #expect(try await node.call("stop_all", [true]) == [["a", "success"], ["m", "success"], ["z", "success"]])
      #expect(try await node.call("job.result", ["a"]) == ["error": "stopped"])
      #expect(try await node.call("get_all_status") == [["a", "stopped"], ["m", "stopped"], ["z", "stopped"]])
    }
  }
}
