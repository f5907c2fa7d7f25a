// remove_runner: the runner goes, and no job of it is left without an end.

import JSONRPC
import Testing

@testable import Supervisor

@Suite("Removing runners", .timeLimit(.minutes(5)))
struct RunnerRemovalTests {
  @Test("remove_runner fails the unfinished jobs with that reason, and forgets the runner but not its ended jobs")
  func remove() async throws {
    try await TestNode.run { node async throws in
      #expect(try await node.run(job("done", "echo done")) == ["success": "done\n"])
      try await node.start(job("running", "sleep 60"))
      try await node.expect("running", becomes: "running")
      try await node.start(job("queued"))
      try await node.create(job("created"))
      let waiting = Task { try await node.call("job.result", ["created"]) }
      let isWaiting = await eventually { await node.waiters("created") == 1 }
      #expect(isWaiting)
      #expect(try await node.call("remove_runner", ["r"]) == .null)
      let reason: JSON = ["error": "its runner r was removed"]
      for id in ["running", "queued", "created"] {
        #expect(try await node.status(id) == "failed")
        #expect(try await node.call("job.result", [.string(id)]) == reason, "\(id)")
      }
      #expect(try await waiting.value == reason)
      #expect(try await node.call("job.result", ["done"]) == ["success": "done\n"])
      #expect(try await node.call("list_runners") == [])
      for method in ["get_runner_status", "start_runner", "stop_runner", "remove_runner"] {
        let error = try await node.error(method, ["r"])
        #expect(error.code == -32002 && error.data["runner"] == "r" && error.message.contains("\"r\""), "\(method)")
      }
      for method in ["jobs.create", "job.run"] {
        let error = try await node.error(method, ["secret": .string(Key.user), "job": job("new")])
        #expect(error.code == -32002 && error.data["runner"] == "r", "\(method)")
      }
      #expect(try await node.call("job.delete", node.secret(job: "queued")) == .null)
      // The name is free, for another queue as well.
      try await node.register("r", queue: "other")
      #expect(try await node.run(job("new", "echo new")) == ["success": "new\n"])
    }
  }

  @Test("of two runners of one queue, the one that stays goes on with its own jobs")
  func sharedQueue() async throws {
    var options = TestNode.Options()
    options.runners = [runner("a", queue: "q"), runner("b", queue: "q")]
    try await TestNode.run(options) { node async throws in
      for name in ["a", "b"] {
        try await node.start(job("\(name) runs", "sleep 60", runner: name))
        try await node.expect("\(name) runs", becomes: "running")
      }
      try await node.start(job("a waits", runner: "a"))
      try await node.start(job("b waits", "echo $HERO_RUNNER", runner: "b"))
      #expect(try await node.call("remove_runner", ["a"]) == .null)
      var states: [String] = []
      for name in ["a", "b"] { states.append(try await node.status("\(name) runs")) }
      #expect(states[0] == "failed")
      #expect(try await node.call("job.result", ["a waits"]) == ["error": "its runner a was removed"])
      for name in ["a", "b"] where try await node.status("\(name) runs") == "running" {
        #expect(try await node.call("job.stop", node.secret(job: "\(name) runs")) == .null)
      }
      #expect(try await node.call("job.result", ["b waits"]) == ["success": "b\n"])
    }
  }

  @Test("a call that found the runner just before it was removed leaves no job without an end either")
  func lateCalls() async throws {
    try await TestNode.run { node async throws in
      try await node.create(job("created"))
      let runner = try #require(try await node.registry.local.whenLocal { try $0.runner(RunnerName(trusted: "r")) })
      #expect(try await node.call("remove_runner", ["r"]) == .null)
      let reason: JSON = ["error": "its runner r was removed"]
      func late(_ id: String) -> Job {
        Job(
          id: JobID(trusted: id), callerID: "c", contextID: "x", payload: "true", runner: runner.name,
          executor: ExecutorName(trusted: "shell"), timeoutSeconds: 0, environment: [:])
      }
      try await runner.create(late("late create"))
      let record = try await runner.run(late("late run"))
      #expect(record.status == .failed)
      for id in ["late create", "late run"] {
        #expect(try await node.call("job.result", [.string(id)]) == reason, "\(id)")
      }
    }
  }
}
