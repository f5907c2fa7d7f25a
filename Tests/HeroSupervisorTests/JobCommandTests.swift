import Glibc
import JSONRPC
import Testing

@testable import hero_supervisor

@Suite("The commands of jobs", .timeLimit(.minutes(5)))
struct JobCommandTests {
  /// A node whose jobs end in one way.
  private func node(result: JSON, status: JSON = "completed") async throws -> FakeNode {
    try await FakeNode { call throws(JSONRPCError) in
      switch call.method {
      case "job.run", "job.result": result
      case "job.status": ["job_id": "j", "status": status, "created_at": "2026-11-24T02:02:19.123Z", "started_at": nil]
      default: .null
      }
    }
  }

  @Test("print what the job wrote, byte for byte, and end with 0")
  func success() async throws {
    let node = try await node(result: ["success": "two\nlines, no end\t"])
    let outcome = try await CommandLineTool.run(
      "job", "run", "--endpoint", node.endpoint, "--runner", "r", "--env", "A=1", "--env", "B=x=y", "--timeout", "2.5",
      "echo hi")
    #expect(outcome.status == 0 && outcome.output == "two\nlines, no end\t" && outcome.error == "")
    let job = node.calls[0].params["job"]
    #expect(node.calls.map(\.method) == ["job.run"])
    #expect(
      job?.objectValue?.keys == [
        "id", "caller_id", "context_id", "payload", "runner", "executor", "timeout", "env_vars", "created_at",
        "updated_at",
      ])
    #expect(job?["payload"] == "echo hi" && job?["runner"] == "r" && job?["executor"] == "shell")
    #expect(job?["timeout"] == 2.5 && job?["env_vars"] == ["A": "1", "B": "x=y"])
    #expect(job?["caller_id"]?.stringValue?.hasPrefix("cli:") == true)
    #expect(job?["id"]?.stringValue?.count == 36)
    await node.stop()
  }

  @Test("take the payload from standard input or a file, and the id from the user")
  func payloads() async throws {
    let node = try await node(result: ["success": ""])
    let piped = try await CommandLineTool.run(
      "job", "run", "--endpoint", node.endpoint, "-r", "r", "--id", "mine", "-", input: "uname -a\n")
    #expect(piped.status == 0)
    #expect(node.calls[0].params["job"]?["payload"] == "uname -a\n" && node.calls[0].params["job"]?["id"] == "mine")
    let tool = try CommandLineTool(["job", "run", "--endpoint", node.endpoint, "-r", "r", "--file", "p.sh"])
    tool.write("from file", to: "p.sh")
    try tool.start()
    #expect(await tool.outcome().status == 0)
    #expect(node.calls[1].params["job"]?["payload"] == "from file")
    await node.stop()
  }

  @Test("end with 1 and the error on standard error when the job failed")
  func failure() async throws {
    let node = try await node(result: ["error": "exit status 3: no such thing"], status: "failed")
    let outcome = try await CommandLineTool.run(
      "job", "run", "--endpoint", node.endpoint, "--runner", "r", "--id", "j1", "false")
    #expect(outcome.status == 1 && outcome.output == "")
    #expect(outcome.error == "hero-supervisor: job j1 failed: exit status 3: no such thing\n")
    await node.stop()
  }

  @Test("end with 124 when the job ran into its timeout")
  func timeout() async throws {
    let node = try await node(result: ["error": "timed out after 2 s"], status: "timeout")
    let outcome = try await CommandLineTool.run("job", "result", "--endpoint", node.endpoint, "j1")
    #expect(outcome.status == 124 && outcome.output == "")
    #expect(outcome.error == "hero-supervisor: job j1 ran into its timeout: timed out after 2 s\n")
    await node.stop()
  }

  @Test("say the same in JSON for scripts")
  func json() async throws {
    let node = try await node(result: ["error": "e"], status: "timeout")
    let outcome = try await CommandLineTool.run("job", "result", "--json", "--endpoint", node.endpoint, "j1")
    #expect(outcome.status == 124 && outcome.error == "")
    #expect(try JSON.parse(outcome.output) == ["job_id": "j1", "status": "timeout", "error": "e"])
    await node.stop()
  }

  @Test("fetch the exact bytes where a result could only hold text")
  func bytes() async throws {
    let node = try await FakeNode { call throws(JSONRPCError) in
      if call.method == "job.result" { return ["success": "a\u{FFFD}b"] }
      return ["data": "YeJi", "offset": 3, "eof": true, "dropped": 0, "encoding": "base64"]
    }
    let tool = try CommandLineTool(["job", "result", "--endpoint", node.endpoint, "j1"])
    try tool.start()
    #expect(await tool.outcome().status == 0)
    #expect(tool.outputBytes == [0x61, 0xE2, 0x62])
    #expect(node.calls.map(\.method) == ["job.result", "job.logs"])
    await node.stop()
  }

  @Test("fetch an output piece by piece that is too long for one answer")
  func longOutput() async throws {
    let node = try await FakeNode { call throws(JSONRPCError) in
      switch call.method {
      case "job.result": throw .responseTooBig(limit: 1024, hint: "read the output by job.logs")
      case "job.status": return ["status": "completed"]
      default:
        let isFirst = call.params["offset"] == 0
        return [
          "data": isFirst ? "long " : "output", "offset": isFirst ? 5 : 11, "eof": .bool(!isFirst), "dropped": 0,
          "encoding": "utf-8",
        ]
      }
    }
    let outcome = try await CommandLineTool.run("job", "result", "--endpoint", node.endpoint, "j1")
    #expect(outcome.status == 0 && outcome.output == "long output" && outcome.error == "")
    await node.stop()
  }

  @Test("name the job when the node is lost while they wait")
  func lostNode() async throws {
    let node = try await LostNode()
    let outcome = try await CommandLineTool.run(
      "job", "run", "--endpoint", node.endpoint, "-r", "r", "--id", "j1", "sleep 60")
    #expect(outcome.status == 3 && outcome.error.contains("`hero-supervisor job result j1`"), "\(outcome)")
    await node.stop()
  }

  @Test("follow a job's logs, each stream to its own, until both have ended")
  func logs() async throws {
    let node = try await FakeNode { call throws(JSONRPCError) in
      let isOutput = call.params["stream"] == "stdout"
      let all = isOutput ? "one\ntwo\n" : "oops\n"
      let offset = Int(call.params["offset"]?.intValue ?? 0)
      let part = all.dropFirst(offset).prefix(4)
      return [
        "data": .string(String(part)), "offset": .int(Int64(offset + part.count)),
        "eof": .bool(offset >= all.count), "dropped": isOutput ? 7 : 0, "encoding": "utf-8",
      ]
    }
    let outcome = try await CommandLineTool.run("job", "logs", "--follow", "--endpoint", node.endpoint, "j1")
    #expect(outcome.status == 0 && outcome.output == "one\ntwo\n")
    #expect(outcome.error == "oops\n\n(7 more bytes of stdout were not kept: jobs.max_output_bytes)\n")
    await node.stop()
  }

  @Test("list jobs page by page in aligned columns")
  func list() async throws {
    let node = try await FakeNode { call throws(JSONRPCError) in
      let isSecond = call.params["cursor"] == "c1"
      let job: JSON = [
        "id": isSecond ? "a-longer-id" : "j1", "runner": "r", "executor": "shell", "status": "failed", "attempt": 1,
        "created_at": "T1", "completed_at": isSecond ? nil : "T2",
      ]
      return ["jobs": [job], "next": isSecond ? nil : "c1"]
    }
    let outcome = try await CommandLineTool.run(
      "job", "list", "--endpoint", node.endpoint, "--status", "failed", "--runner", "r")
    #expect(outcome.status == 0)
    #expect(
      outcome.output == """
        JOB          RUNNER  EXECUTOR  STATUS  ATTEMPT  CREATED  COMPLETED
        j1           r       shell     failed        1  T1       T2
        a-longer-id  r       shell     failed        1  T1       -

        """)
    #expect(node.calls[0].params["status"] == "failed" && node.calls[0].params["runner"] == "r")
    let quiet = try await CommandLineTool.run("job", "list", "-q", "--limit", "1", "--endpoint", node.endpoint)
    #expect(quiet.output == "j1\n")
    await node.stop()
  }

  @Test("stop waiting on Ctrl-C with 130, and say how to go on")
  func interrupt() async throws {
    let node = try await FakeNode { call throws(JSONRPCError) in
      // Until the node is stopped.
      try? await Task.sleep(for: .seconds(3600))
      return .null
    }
    let tool = try CommandLineTool(["job", "run", "--endpoint", node.endpoint, "-r", "r", "--id", "j1", "sleep 60"])
    try tool.start()
    #expect(await node.called("job.run"))
    tool.interrupt()
    let outcome = await tool.outcome()
    #expect(outcome.status == 130)
    #expect(outcome.error.hasPrefix("hero-supervisor: stopped waiting; the job goes on\n"))
    #expect(outcome.error.contains("`hero-supervisor job status j1`"))
    await node.stop()
  }

  @Test("stop the job on Ctrl-C when asked to")
  func stopOnInterrupt() async throws {
    let stopped = Gate()
    let node = try await FakeNode { call throws(JSONRPCError) in
      switch call.method {
      case "job.run":
        await stopped.wait()
        return ["error": "stopped"]
      case "job.stop":
        stopped.open()
        return .null
      default: return ["status": "failed"]
      }
    }
    let tool = try CommandLineTool([
      "job", "run", "--stop-on-interrupt", "--endpoint", node.endpoint, "-r", "r", "--id", "j1", "sleep 60",
    ])
    try tool.start()
    #expect(await node.called("job.run"))
    tool.interrupt()
    let outcome = await tool.outcome()
    #expect(outcome.status == 130, "\(outcome)")
    #expect(outcome.error.hasSuffix("hero-supervisor: job j1 failed: stopped\n"))
    #expect(node.calls.contains { $0.method == "job.stop" && $0.params["job_id"] == "j1" })
    await node.stop()
  }

  @Test("show a progress line on a terminal, and wipe it")
  func progress() async throws {
    let done = Gate()
    let node = try await FakeNode { call throws(JSONRPCError) in
      guard call.method == "job.run" else { return ["status": "running"] }
      await done.wait()
      return ["success": "out"]
    }
    let terminal = try PseudoTerminal()
    let tool = try CommandLineTool(
      ["job", "run", "--endpoint", node.endpoint, "-r", "r", "--id", "j1", "sleep 1"], terminal: terminal.slave)
    try tool.start()
    let seen = await terminal.reads("job j1: running, ")
    done.open()
    let outcome = await tool.outcome()
    #expect(seen && outcome.status == 0 && outcome.output == "out")
    terminal.drain()
    let text = terminal.text
    #expect(text.hasPrefix("\rjob j1: ") && text.hasSuffix("\r\u{1B}[K"), "\(text.debugDescription)")
    await node.stop()
  }
}
