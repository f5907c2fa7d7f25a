import JSONRPC
import Synchronization
import Testing

@testable import hero_supervisor

/// What the program takes from its surroundings: bytes that are no text, streams that are closed, signals.
@Suite("The command line's surroundings", .timeLimit(.minutes(5)))
struct CommandInputTests {
  /// Runs a shell that knows the program as `$P`.
  private func shell(_ script: String, _ environment: [String: String] = [:]) async throws -> CommandLineTool.Outcome {
    let tool = try CommandLineTool(
      ["-c", script], program: "/bin/sh", environment: environment.merging(["P": CommandLineTool.path]) { $1 })
    try tool.start()
    return await tool.outcome()
  }

  private func node() async throws -> FakeNode {
    try await FakeNode { call throws(JSONRPCError) in
      switch call.method {
      case "job.run": ["success": "output\n"]
      case "list_runners": ["a"]
      default: .null
      }
    }
  }

  @Test(
    "refuses arguments that are not UTF-8, wherever they stand, and asks no node",
    arguments: [
      (#"job run -r r "$(printf 'caf\351')""#, 5), (#"job run -r r --id "$(printf 'x\351')" true"#, 6),
      (#"job status "$(printf '\300\200')""#, 3), (#"runner register "$(printf '\355\240\200')""#, 3),
      (#""$(printf '\377')""#, 1), (#"rpc m "$(printf '[\"\351\"]')""#, 3),
    ])
  func arguments(words: String, place: Int) async throws {
    let node = try await node()
    let outcome = try await shell(#"exec "$P" \#(words)"#, ["HERO_ENDPOINTS": node.endpoint])
    #expect(outcome.status == 2 && outcome.output == "")
    #expect(outcome.error.hasPrefix("hero-supervisor: argument \(place) is not UTF-8: $'"), "\(outcome.error)")
    #expect(node.calls.isEmpty)
    await node.stop()
  }

  @Test("refuses variables that are not UTF-8 where it reads them, and passes none of them on changed")
  func variables() async throws {
    for name in ["HERO_SECRET", "HERO_ENDPOINTS", "HOME"] {
      let outcome = try await shell(#"export \#(name)="$(printf '/x\351')"; exec "$P" runner list"#)
      #expect(outcome.status == 2)
      #expect(outcome.error == "hero-supervisor: the environment variable \(name) is not UTF-8\n")
    }
    let node = try await node()
    let other = try await shell(
      #"export OTHER="$(printf '\351')"; exec "$P" runner list -q"#, ["HERO_ENDPOINTS": node.endpoint])
    #expect(other.status == 0)
    await node.stop()
    let passed = try await shell(
      #"""
      echo '{"executors": {"e": {"command": ["/bin/cat"], "pass_env": ["OTHER"]}}}' >c.json
      export OTHER="$(printf '\351')"; exec "$P" node --config c.json --api 127.0.0.1:0
      """#)
    #expect(passed.status == 2 && passed.error.contains("executors.e.pass_env"), "\(passed.error)")
    #expect(passed.error.contains("the value of OTHER is not UTF-8"))
  }

  @Test("fails when what it was asked for cannot be printed")
  func closedOutput() async throws {
    let node = try await node()
    for redirection in [">&-", ">/dev/full", "</dev/null >&-", "<&- >&-"] {
      let outcome = try await shell(
        #""$P" job run -r r true \#(redirection)"#, ["HERO_ENDPOINTS": node.endpoint])
      #expect(outcome.status == 1, "\(redirection)")
      #expect(outcome.error.contains("cannot write standard output"), "\(redirection): \(outcome.error)")
    }
    for redirection in ["<&-", "2>&-", "<&- 2>&-"] {
      let outcome = try await shell(
        #""$P" job run -r r true \#(redirection)"#, ["HERO_ENDPOINTS": node.endpoint])
      #expect(outcome.status == 0 && outcome.output == "output\n", "\(redirection)")
    }
    await node.stop()
  }

  @Test(
    "names a word that is no command, in each group",
    arguments: [
      (["jb", "list"], #"hero-supervisor has no command "jb""#, #"did you mean "job"?"#),
      (["job", "lst"], #"hero-supervisor job has no command "lst""#, #"did you mean "list"?"#),
      (["cluster", "certs", "frobnicate", "x"], #"has no command "frobnicate""#, "there are: "),
    ])
  func unknownCommand(words: [String], message: String, hint: String) async throws {
    let tool = try CommandLineTool(words)
    try tool.start()
    let outcome = await tool.outcome()
    #expect(outcome.status == 2 && outcome.error.contains(message) && outcome.error.contains(hint), "\(outcome.error)")
  }

  @Test(
    "takes times as people write them",
    arguments: [
      ("90", 90.0), ("2.5", 2.5), ("30s", 30), ("5m", 300), ("1.5h", 5400), ("2d", 172_800), ("0", 0), ("1e-3", 0.001),
    ])
  func times(text: String, seconds: Double) async throws { #expect(TimeSpan(argument: text)?.seconds == seconds) }

  @Test(
    "takes nothing else for a time", arguments: ["", "m", "5 m", "-1", "5x", "nan", "inf", "0x10", "5mm", "1e999", "５"])
  func noTimes(text: String) { #expect(TimeSpan(argument: text) == nil) }

  @Test("hands a time over in seconds")
  func timeout() async throws {
    let node = try await node()
    let outcome = try await CommandLineTool.run(
      "job", "run", "-r", "r", "--timeout", "5m", "true", "--endpoint", node.endpoint)
    #expect(outcome.status == 0 && node.calls[0].params["job"]?["timeout"] == 300)
    let wrong = try await CommandLineTool.run(
      "job", "run", "-r", "r", "--timeout", "soon", "true", "--endpoint", node.endpoint)
    #expect(wrong.status == 2 && wrong.error.contains("--timeout: expected a number of seconds"), "\(wrong.error)")
    await node.stop()
  }

  @Test(
    "stops the job on SIGTERM and SIGHUP too when asked to, and ends as the signal would have",
    arguments: [(true, 143 as Int32), (false, 129)])
  func stopSignals(isTermination: Bool, status: Int32) async throws {
    let gate = Gate()
    let node = try await FakeNode { call throws(JSONRPCError) in
      switch call.method {
      case "job.run":
        await gate.wait()
        return ["error": "stopped"]
      case "job.stop":
        gate.open()
        return .null
      case "job.status": return ["status": "failed"]
      default: return .null
      }
    }
    let tool = try CommandLineTool([
      "job", "run", "-r", "r", "--endpoint", node.endpoint, "--id", "j", "--stop-on-interrupt", "sleep 600",
    ])
    try tool.start()
    #expect(await node.called("job.run"))
    if isTermination { tool.terminate() } else { tool.hangUp() }
    let outcome = await tool.outcome()
    #expect(outcome.status == status && node.calls.contains { $0.method == "job.stop" }, "\(outcome)")
    await node.stop()
  }

  @Test("prints what a job wrote before it failed, then why it failed")
  func failedOutput() async throws {
    let node = try await FakeNode { call throws(JSONRPCError) in
      switch call.method {
      case "job.run": ["error": "exit status 3: oops"]
      case "job.status": ["status": "failed"]
      case "job.logs":
        ["data": "12 done\n", "offset": 8, "eof": true, "dropped": 0, "encoding": "utf-8", "attempt": 1]
      default: .null
      }
    }
    let outcome = try await CommandLineTool.run("job", "run", "-r", "r", "--id", "j", "x", "--endpoint", node.endpoint)
    #expect(outcome.status == 1 && outcome.output == "12 done\n")
    #expect(outcome.error == "hero-supervisor: job j failed: exit status 3: oops\n")
    await node.stop()
  }

  @Test("says when a job whose logs it follows is started again, and prints each attempt from its beginning")
  func attempts() async throws {
    let reads = Mutex(0)
    let node = try await FakeNode { call throws(JSONRPCError) in
      func part(_ data: JSON, _ offset: JSON, _ attempt: JSON) -> JSON {
        let isLast: JSON = attempt == 2 ? true : false
        return ["data": data, "offset": offset, "eof": isLast, "dropped": 0, "encoding": "utf-8", "attempt": attempt]
      }
      let count = reads.withLock { reads -> Int in
        reads += 1
        return reads
      }
      if count == 1 { return part("1\n2\n", 4, 1) }
      return call.params["offset"] == 0 ? part("1\n2\n3\n", 6, 2) : part("3\n", 6, 2)
    }
    let outcome = try await CommandLineTool.run(
      "job", "logs", "j", "--follow", "--stream", "stdout", "--endpoint", node.endpoint)
    #expect(outcome.status == 0 && outcome.output == "1\n2\n1\n2\n3\n")
    #expect(outcome.error == "hero-supervisor: job j was started again (attempt 2); its output begins anew\n")
    await node.stop()
  }
}
