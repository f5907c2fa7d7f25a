// job.stop and job.delete, in every state of a job.

import JSONRPC
import Testing

@Suite("Stopping and deleting jobs", .timeLimit(.minutes(5)))
struct JobStopTests {
  /// Puts jobs into all states: `created`, `queued` behind `running`, and the three ends.
  private func withAllStates(_ scenario: (TestNode) async throws -> Void) async throws {
    try await TestNode.run { node async throws in
      #expect(try await node.run(job("completed", "true")) == ["success": ""])
      #expect(try await node.run(job("failed", "exit 3")) == ["error": "exit status 3"])
      _ = try await node.run(job("timeout", "sleep 60", timeout: 0.05))
      try await node.start(job("running", "sleep 60"))
      try await node.expect("running", becomes: "running")
      try await node.start(job("queued", "echo ran"))
      try await node.create(job("created", "echo ran"))
      for state in ["completed", "failed", "timeout", "running", "queued", "created"] {
        #expect(try await node.status(state) == state)
      }
      try await scenario(node)
    }
  }

  @Test(
    "job.stop ends every unfinished job as failed with the error stopped", arguments: ["created", "queued", "running"])
  func stopUnfinished(state: String) async throws {
    try await withAllStates { node in
      let waiting = Task { try await node.call("job.result", [.string(state)]) }
      let isWaiting = await eventually { await node.waiters(state) == 1 }
      #expect(isWaiting)
      #expect(try await node.call("job.stop", node.secret(job: state)) == .null)
      #expect(try await node.status(state) == "failed")
      #expect(try await waiting.value == ["error": "stopped"])
      let again = try await node.error("job.stop", node.secret(job: state))
      #expect(again.code == -32003 && again.data["status"] == "failed" && again.data["job"] == .string(state))
      #expect(try await node.error("job.start", node.secret(job: state)).code == -32003)
      if state == "running" { #expect(try await node.call("job.result", ["queued"]) == ["success": "ran\n"]) }
    }
  }

  @Test("job.stop of an ended job is refused and changes nothing", arguments: ["completed", "failed", "timeout"])
  func stopEnded(state: String) async throws {
    try await withAllStates { node in
      let before = try await node.call("job.result", [.string(state)])
      let error = try await node.error("job.stop", node.secret(job: state))
      #expect(error.code == -32003)
      #expect(error.data["job"] == .string(state) && error.data["status"] == .string(state))
      #expect(try await node.call("job.result", [.string(state)]) == before)
    }
  }

  @Test(
    "job.delete forgets a job in every state but running",
    arguments: ["created", "queued", "completed", "failed", "timeout"])
  func delete(state: String) async throws {
    try await withAllStates { node in
      #expect(try await node.call("job.delete", node.secret(job: state)) == .null)
      for method in ["job.delete", "job.start", "job.stop"] {
        let error = try await node.error(method, node.secret(job: state))
        #expect(error.code == -32002 && error.data["job"] == .string(state), "\(method)")
      }
      for method in ["job.status", "job.result"] {
        let error = try await node.error(method, [.string(state)])
        #expect(error.code == -32002 && error.message.contains("\"\(state)\""), "\(method)")
      }
      let ids = try await node.call("jobs.list").arrayValue?.compactMap { $0["id"]?.stringValue }
      #expect(ids?.count == 5 && ids?.contains(state) == false)
      // The id is free again, and what was queued under it before does not come back.
      try await node.create(job(state, "echo new"))
      #expect(try await node.call("job.stop", node.secret(job: "running")) == .null)
      #expect(try await node.run(job("last", "echo last")) == ["success": "last\n"])
      #expect(try await node.status(state) == "created")
    }
  }

  @Test("job.delete of a running job is refused, and the job runs on")
  func deleteRunning() async throws {
    try await withAllStates { node in
      let error = try await node.error("job.delete", node.secret(job: "running"))
      #expect(error.code == -32003)
      #expect(error.data["job"] == "running" && error.data["status"] == "running")
      #expect(try await node.status("running") == "running")
    }
  }

  @Test("who waits for the result of a job that is deleted learns that it is gone")
  func deleteWhileWaiting() async throws {
    try await TestNode.run { node async throws in
      try await node.create(job("j"))
      let waiting = Task { try await failure { try await node.call("job.result", ["j"]) } }
      let isWaiting = await eventually { await node.waiters("j") == 1 }
      #expect(isWaiting)
      #expect(try await node.call("job.delete", node.secret(job: "j")) == .null)
      #expect(try await waiting.value.code == -32002)
    }
  }

  @Test("a job that is stopped at any moment of its start ends as stopped, at once")
  func stopAtAnyMoment() async throws {
    var options = TestNode.Options()
    options.runners = [runner("r", queue: "q", concurrency: 4)]
    try await TestNode.run(options) { node async throws in
      for number in 0..<60 {
        let id = "j\(number)"
        try await node.create(job(id, "sleep 60"))
        // In one batch, so that the two meet within the node in ever other orders.
        let outcomes = try await node.client.batch([
          ("job.start", node.secret(job: id)), ("job.status", [.string(id)]), ("job.stop", node.secret(job: id)),
        ])
        if number % 2 == 0 { await Task.yield() }
        if case .success(let result) = outcomes[2] { #expect(result == .null) }
        let stopped = try await node.call("job.result", [.string(id)])
        #expect(stopped == ["error": "stopped"])
      }
    }
  }
}
