// Nothing of a job outlives it, however it tries to get away, and nothing outlives the node.

import EventLoop
import Foundation
import JSONRPC
import SupervisorClient
import Testing

@Suite("What jobs leave behind", .timeLimit(.minutes(5)))
struct LeftoverTests {
  /// Starts daemons that ignore SIGTERM and write their process ids: a child of the group, one in a session of its own,
  /// one whose parent is gone as well, and one that hides its environment. All but the last hold the job's output.
  private func daemons(_ node: NodeProcess, then end: String) -> String {
    let file = "\(node.directory.path)/pids"
    let body = "trap '' TERM HUP; echo $$ >> \(file); while :; do sleep 1; done"
    node.directory.write(body, to: "daemon")
    let daemon = "sh \(node.directory.path)/daemon"
    return """
      \(daemon) &
      setsid \(daemon) &
      (setsid \(daemon) & exec true)
      env -i PATH=$PATH setsid \(daemon) > /dev/null 2>&1 &
      while [ "$(wc -l < \(file))" != 4 ]; do sleep 0.01; done
      trap '' TERM
      \(end)
      """
  }

  private func expectGone(_ pids: [Int32]) async {
    let areGone = await eventually { !pids.contains(where: exists) }
    #expect(areGone, "still there: \(pids.filter(exists))")
    for pid in pids where exists(pid) { kill(pid, SIGKILL) }
  }

  @Test(
    "a job that ignores SIGTERM and forks daemons leaves nothing, in whichever way it ends",
    arguments: [
      ("echo done; exit 0", 0, "done\n"), ("sleep 60; sleep 60; sleep 60", 1.5, nil), ("kill -KILL $$", 0, nil),
    ]
      as [(String, Double, String?)])
  func daemons(end: String, timeout: Double, output: String?) async throws {
    try await NodeProcess.run { node async throws in
      let result = try await node.run(job("j", daemons(node, then: end), timeout: .double(timeout)))
      if let output {
        #expect(result == ["success": .string(output)])
      } else {
        let error = try #require(result["error"]?.stringValue)
        #expect(error.hasPrefix(timeout > 0 ? "timed out after 1.5 s" : "killed by signal 9"), "\(error)")
      }
      await expectGone(try await node.pids(in: "pids", count: 4))
      // Other jobs run on as before.
      #expect(try await node.run(job("next", "echo next")) == ["success": "next\n"])
    }
  }

  @Test("what a job left in its process group is gone when its end is told, also while another job runs")
  func group() async throws {
    try await NodeProcess.run { node async throws in
      let beside = Task {
        try await node.run(job("beside", "until [ -e '\(node.directory.path)/go' ]; do sleep 0.02; done; echo whole"))
      }
      let sleeper = "sleep 600 > /dev/null 2>&1 & echo $!"
      for round in 0..<3 {
        let result = try await node.run(job("j\(round)", "trap '' HUP TERM; \(sleeper); setsid \(sleeper); echo $$"))
        let pids = try #require(result["success"]?.stringValue).split(separator: "\n").compactMap { Int32($0) }
        #expect(pids.count == 3)
        #expect(!pids.contains(where: exists), "still there: \(pids.filter(exists))")
      }
      node.directory.write("", to: "go")
      #expect(try await beside.value == ["success": "whole\n"])
    }
  }

  @Test("a job of another user has none of the groups of its node", .enabled(if: geteuid() == 0, "needs root"))
  func groups() async throws {
    // Debian's `daemon` and `bin`, of which `nobody` is no member.
    let executors: JSON = ["ids": ["command": ["/usr/bin/id", "-G"], "user": "nobody"]]
    try await NodeProcess.run(by: "setpriv --groups=1,2", executors: executors) { node async throws in
      let status = try String(contentsOfFile: "/proc/\(node.pid)/status", encoding: .utf8)
      #expect(status.contains("Groups:\t1 2 \n"))
      #expect(try await node.run(job("j", executor: "ids")) == ["success": "65534\n"])
    }
  }

  @Test("a job that is stopped leaves nothing, and a job beside it is not touched")
  func stopped() async throws {
    try await NodeProcess.run { node async throws in
      let directory = node.directory.path
      let beside = Task {
        try await node.run(
          job("beside", "setsid sh -c 'while [ ! -e \(directory)/go ]; do sleep 0.01; done'; echo whole"))
      }
      let script = daemons(node, then: "while :; do sleep 1; done")
      let running = Task { try await node.run(job("j", script)) }
      let pids = try await node.pids(in: "pids", count: 4)
      let stop: JSON = ["secret": .string(Key.admin), "job_id": "j"]
      #expect(try await node.client.call("job.stop", stop, timeout: .seconds(30)) == .null)
      #expect(try await running.value == ["error": "stopped"])
      // Also the one that hides its environment, and although another job runs.
      await expectGone(pids)
      node.directory.write("", to: "go")
      #expect(try await beside.value == ["success": "whole\n"])
    }
  }

  @Test("the processes of a job that killed its launcher are killed by the node, whichever user it has")
  func launcherKilled() async throws {
    try await NodeProcess.run { node async throws in
      let again = node.directory.write("setsid sh \(node.directory.path)/again & exit 0", to: "again")
      let script = daemons(node, then: "setsid sh \(again) & sleep 0.1; kill -9 $PPID; while :; do sleep 1; done")
      let result = try await node.run(job("j", script))
      #expect(result == ["error": "its launcher was killed by signal 9 (SIGKILL)"])
      await expectGone(try await node.pids(in: "pids", count: 4))
      // The one that never has the same number for long.
      #expect(await eventually { system("pgrep -f '^sh \(again)$' > /dev/null") != 0 })
      #expect(try await node.run(job("next", "echo next")) == ["success": "next\n"])
    }
  }

  @Test("a job that stops its launcher ends all the same")
  func launcherStopped() async throws {
    try await NodeProcess.run { node async throws in
      #expect(try await node.run(job("j", "kill -STOP $PPID; echo end")) == ["success": "end\n"])
    }
  }

  @Test(
    "a node that is killed takes the processes of its jobs with it, also together with its guard",
    arguments: [false, true])
  func killed(withGuard: Bool) async throws {
    var pids: [Int32] = []
    try await NodeProcess.run(endedBy: SIGKILL) { node async throws in
      let running = Task { try await node.run(job("j", daemons(node, then: "while :; do sleep 1; done"))) }
      pids = try await node.pids(in: "pids", count: 4)
      if withGuard { kill(try #require(node.guardProcess), SIGKILL) }
      kill(node.pid, SIGKILL)
      await #expect(throws: ClientError.self) { _ = try await running.value }
    }
    await expectGone(pids)
  }
}
