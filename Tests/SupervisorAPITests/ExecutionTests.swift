// What a process job gets, and how its end is told: output, exit status, signals, time limits, environment.

import JSONRPC
import Supervisor
import Testing

@Suite("Process jobs over the API", .timeLimit(.minutes(5)))
struct ExecutionTests {
  @Test(
    "the result is standard output when the exit status is 0",
    arguments: [
      ("shell", "echo out; echo err >&2", "out\n"), ("shell", "", ""), ("shell", "printf 'no newline'", "no newline"),
      ("shell", "printf 'a\\000b'", "a\0b"), ("shell", "printf '\\377é'", "\u{FFFD}é"),
      ("python", "import sys\nprint(6 * 7, file=sys.stdout)", "42\n"), ("echo", "as it is\n\0é", "as it is\n\0é"),
    ])
  func success(executor: String, payload: String, output: String) async throws {
    try await TestNode.run { node async throws in
      let result = try await node.run(job("j", payload, executor: executor))
      #expect(result == ["success": .string(output)])
      #expect(try await node.call("job.result", ["j"]) == result)
    }
  }

  @Test(
    "a failure tells the exit status or the signal, and the end of standard error",
    arguments: [
      ("exit 3", "exit status 3"), ("echo lost; echo why >&2; exit 4", "exit status 4: why"),
      ("kill -KILL $$", "killed by signal 9 (SIGKILL)"),
      ("echo 'last words' >&2; kill -TERM $$", "killed by signal 15 (SIGTERM): last words"),
      ("kill -SEGV $$", "killed by signal 11 (SIGSEGV)"),
    ])
  func failure(payload: String, error: String) async throws {
    try await TestNode.run { node async throws in
      #expect(try await node.run(job("j", payload)) == ["error": .string(error)])
      #expect(try await node.status("j") == "failed")
    }
  }

  @Test("of a long standard error the end explains the failure")
  func longStandardError() async throws {
    var options = TestNode.Options()
    options.maxOutputBytes = 2000
    try await TestNode.run(options) { node async throws in
      let script = "i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done; echo THE END >&2; exit 1"
      let result = try await node.run(job("j", script))
      let error = try #require(result["error"]?.stringValue)
      #expect(error.hasPrefix("exit status 1: … ") && error.hasSuffix("line 2999\nTHE END"))
      #expect(error.utf8.count < 5000 && !error.contains("line 10\n"))
    }
  }

  @Test("job.logs has both streams of a job while it runs")
  func liveOutput() async throws {
    let directory = TemporaryDirectory()
    try await TestNode.run { node async throws in
      let go = "\(directory.path)/go"
      try await node.start(job("j", "echo out; echo err >&2; until [ -e '\(go)' ]; do sleep 0.02; done; echo more"))
      for (stream, text) in [("stdout", "out\n"), ("stderr", "err\n")] {
        let params: JSON = ["job_id": "j", "stream": .string(stream)]
        #expect(try await eventually { try await node.call("job.logs", params)["data"] == .string(text) })
        let logs = try await node.call("job.logs", params)
        #expect(logs["offset"] == 4 && logs["eof"] == false, "\(logs.text)")
      }
      #expect(try await node.status("j") == "running")
      directory.write("", to: "go")
      #expect(try await node.call("job.result", ["j"]) == ["success": "out\nmore\n"])
      let rest = try await node.call("job.logs", ["job_id": "j", "offset": 4])
      #expect(rest["data"] == "more\n" && rest["eof"] == true, "\(rest.text)")
    }
  }

  @Test("output over max_output_bytes is cut, and the result says so")
  func cutOutput() async throws {
    var options = TestNode.Options()
    options.maxOutputBytes = 1000
    try await TestNode.run(options) { node async throws in
      let result = try await node.run(job("j", "head -c 3000000 /dev/zero | tr '\\0' x; echo done >&2"))
      let text = try #require(result["success"]?.stringValue)
      #expect(text.hasPrefix(String(repeating: "x", count: 1000) + "\n["))
      #expect(text.contains("2999000 bytes") && text.contains("max_output_bytes (1000)"))
      let logs = try await node.call("job.logs", ["job_id": "j"])
      #expect(logs["dropped"] == 2_999_000 && logs["eof"] == true && logs["offset"] == 1000)
      let exact = try await node.run(job("exact", "head -c 1000 /dev/zero | tr '\\0' x"))
      #expect(exact == ["success": .string(String(repeating: "x", count: 1000))])
    }
  }

  @Test("a time limit, a fraction of a second too, ends the job as timeout", arguments: [0.2, 1e-6, 2])
  func timeout(seconds: Double) async throws {
    try await TestNode.run { node async throws in
      let start = ContinuousClock.now
      let result = try await node.run(job("j", "echo begun >&2; sleep 3600", timeout: .double(seconds)))
      let time = ContinuousClock.now - start
      let error = try #require(result["error"]?.stringValue)
      #expect(error.hasPrefix("timed out after \(seconds) s"), "\(error)")
      if seconds > 1 { #expect(error.hasSuffix(": begun")) }
      #expect(time >= .seconds(seconds), "\(time)")
      #expect(try await node.status("j") == "timeout")
      #expect(try await node.call("get_runner_status", ["r"])["timeout"] == 1)
      #expect(try await node.call("jobs.list")[0]?["timeout"]?.doubleValue == seconds)
    }
  }

  @Test("a job whose timeout is 0 has the runner's default")
  func defaultTimeout() async throws {
    var options = TestNode.Options()
    options.runners[0].defaultTimeoutSeconds = 0.1
    try await TestNode.run(options) { node async throws in
      let result = try await node.run(job("j", "sleep 60"))
      #expect(result["error"]?.stringValue?.hasPrefix("timed out after 0.1 s") == true)
      #expect(try await node.run(job("own", "sleep 0.3; echo done", timeout: 30)) == ["success": "done\n"])
    }
  }

  @Test("SIGTERM comes first, so that a job may tidy up; one that ignores it is killed after the grace")
  func grace() async throws {
    var options = TestNode.Options()
    options.killGrace = .milliseconds(300)
    try await TestNode.run(options) { node async throws in
      let tidy = "trap 'echo tidy >&2; exit 0' TERM; echo ready; while :; do sleep 0.01; done"
      let result = try await node.run(job("tidy", tidy, timeout: 2))
      // The shell may have a word to say of the child that SIGTERM ended with it.
      let error = try #require(result["error"]?.stringValue)
      #expect(error.hasPrefix("timed out after 2.0 s: ") && error.hasSuffix("tidy"), "\(error)")
      let start = ContinuousClock.now
      let deaf = try await node.run(job("deaf", "trap '' TERM; while :; do sleep 0.01; done", timeout: 0.1))
      #expect(deaf == ["error": "timed out after 0.1 s"])
      #expect(ContinuousClock.now - start >= .milliseconds(400))
    }
  }

  @Test("env_vars and the node's own variables arrive, and the node's environment does not")
  func environment() async throws {
    var options = TestNode.Options()
    options.executors = [
      ExecutorConfiguration(
        name: ExecutorName(trusted: "sh"), command: ["/bin/sh", "-s"],
        environment: ["FROM_EXECUTOR": "x", "BOTH": "executor"])
    ]
    try await TestNode.run(options) { node async throws in
      let result = try await node.run(
        job(
          "id 1", "env", executor: "sh",
          environment: [
            "MINE": "a b=c\né", "BOTH": "job", "HERO_JOB_ID": "forged", "EMPTY": "", "PATH": "/usr/bin:/bin",
          ]))
      let text = try #require(result["success"]?.stringValue)
      for line in [
        "MINE=a b=c\né", "BOTH=job", "FROM_EXECUTOR=x", "EMPTY=", "PATH=/usr/bin:/bin", "HERO_JOB_ID=id 1",
        "HERO_RUNNER=r", "HERO_NODE=n1", "HERO_CALLER_ID=caller", "HERO_CONTEXT_ID=context",
      ] { #expect("\n\(text)".contains("\n\(line)\n"), "\(line) is not in \(text)") }
      let names = Set(text.split(separator: "\n").compactMap { $0.split(separator: "=").first.map(String.init) })
      let known: Set = [
        "MINE", "é", "BOTH", "FROM_EXECUTOR", "EMPTY", "PATH", "HOME", "PWD", "OLDPWD", "SHLVL", "_", "HERO_JOB_ID",
        "HERO_RUNNER", "HERO_NODE", "HERO_CALLER_ID", "HERO_CONTEXT_ID", "HERO_INSTANCE",
      ]
      #expect(names.subtracting(known) == [])
    }
  }

  @Test("each job has a directory of its own, empty, and gone afterwards")
  func workingDirectory() async throws {
    try await TestNode.run { node async throws in
      let script = "pwd; ls -A; mkdir -p a/b; echo x > a/b/c"
      var paths: Set<String> = []
      for id in ["j1", "j2"] {
        let text = try #require(try await node.run(job(id, script))["success"]?.stringValue)
        paths.insert(text)
        let path = text.dropLast()
        #expect(!path.contains("\n"), "\(text)")
        let look = job("look \(id)", "while [ -e '\(path)' ]; do sleep 0.01; done")
        #expect(try await node.run(look) == ["success": ""])
      }
      #expect(paths.count == 2)
    }
  }
}
