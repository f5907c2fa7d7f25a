// The three ways in which a configured executor gets the payload, and the executors that a runner may use.

import JSONRPC
import Supervisor
import Testing

@Suite("Payloads and executors", .timeLimit(.minutes(5)))
struct PayloadTests {
  private static func executor(
    _ name: String, _ command: [String], _ payload: PayloadPassing, wrapper: [String] = [],
    limits: ResourceLimits = ResourceLimits()
  ) -> ExecutorConfiguration {
    ExecutorConfiguration(
      name: ExecutorName(trusted: name), command: command, payload: payload, wrapper: wrapper, limits: limits)
  }

  private var options: TestNode.Options {
    var options = TestNode.Options()
    options.executors = [
      Self.executor("stdin", ["cat"], .stdin), Self.executor("file", ["cat", "{payload_file}"], .file),
      Self.executor("argument", ["printf", "%s", "{payload}"], .argument),
      Self.executor(
        "wrapped", ["cat"], .stdin, wrapper: ["env", "WRAPPED=1", "sh", "-c", "echo $WRAPPED; exec \"$@\"", "-"]),
      Self.executor(
        "limited", ["sh", "-c", "ulimit -n; ulimit -t"], .stdin, limits: .init(cpuSeconds: 7, openFiles: 77)),
      Self.executor("missing", ["/no/such/program"], .stdin),
    ]
    return options
  }

  @Test("a payload arrives whole", arguments: ["stdin", "file", "argument"])
  func passing(executor: String) async throws {
    try await TestNode.run(options) { node async throws in
      for (number, payload) in [
        "", "one line\n", "quotes ' \" $HOME `id` \\ {payload_file} {payload}", "é😀",
        String(repeating: "x", count: 100_000),
      ].enumerated() {
        let result = try await node.run(job("j\(number)", payload, executor: executor))
        // What stands in a payload is not replaced in it.
        #expect(result == ["success": .string(payload)])
      }
    }
  }

  @Test("a payload of several megabytes goes in and comes out", arguments: ["stdin", "file"])
  func large(executor: String) async throws {
    var options = options
    options.maxOutputBytes = 8 << 20
    try await TestNode.run(options) { node async throws in
      let payload = String(repeating: "0123456789abcde\n", count: 4 << 16)
      #expect(try await node.run(job("j", payload, executor: executor)) == ["success": .string(payload)])
    }
  }

  @Test("a job that does not read its input is no failure")
  func unread() async throws {
    var options = options
    options.executors.append(Self.executor("deaf", ["true"], .stdin))
    try await TestNode.run(options) { node async throws in
      let payload = String(repeating: "x", count: 1 << 20)
      #expect(try await node.run(job("j", payload, executor: "deaf")) == ["success": ""])
    }
  }

  @Test("a wrapper stands before the command, limits hold for the child, a program that is missing is an error")
  func configured() async throws {
    try await TestNode.run(options) { node async throws in
      #expect(try await node.run(job("w", "payload", executor: "wrapped")) == ["success": "1\npayload"])
      #expect(try await node.run(job("l", executor: "limited")) == ["success": "77\n7\n"])
      let missing = try await node.run(job("m", executor: "missing"))
      let error = try #require(missing["error"]?.stringValue)
      #expect(error.contains("\"missing\"") && error.contains("/no/such/program"), "\(error)")
      #expect(try await node.status("m") == "failed")
    }
  }

  @Test(
    "the limit of processor time is said in words",
    arguments: [
      ("", "killed by signal 24 (SIGXCPU): it used more processor time than limits.cpu_seconds (1)"),
      (
        "trap '' XCPU; ",
        "killed by signal 9 (SIGKILL): perhaps since it used more processor time than limits.cpu_seconds (1)"
      ),
    ])
  func processorTime(first: String, error: String) async throws {
    var options = options
    options.executors = [Self.executor("busy", ["sh", "{payload_file}"], .file, limits: .init(cpuSeconds: 1))]
    try await TestNode.run(options) { node async throws in
      let result = try await node.run(job("j", "\(first)while :; do :; done", executor: "busy"))
      #expect(result == ["error": .string(error)])
    }
  }

  @Test("jobs run in the order in which they were started, one at a time")
  func order() async throws {
    let directory = TemporaryDirectory()
    try await TestNode.run(options) { node async throws in
      let ids = (0..<20).map { "j\(($0 * 7) % 20)" }
      for id in ids.reversed() {
        try await node.create(
          job(id, "echo begin \(id) >> \(directory.path)/log; echo end \(id) >> \(directory.path)/log"))
      }
      for id in ids { #expect(try await node.call("job.start", node.secret(job: id)) == .null) }
      for id in ids { #expect(try await node.call("job.result", [.string(id)]) == ["success": ""]) }
      let lines = directory.text("log")?.split(separator: "\n").map(String.init)
      #expect(lines == ids.flatMap { ["begin \($0)", "end \($0)"] })
    }
  }

  @Test("as many jobs run at a time as the runner's concurrency says, and no more")
  func concurrency() async throws {
    let directory = TemporaryDirectory()
    var options = TestNode.Options()
    options.runners = [runner("r", queue: "q", concurrency: 3)]
    try await TestNode.run(options) { node async throws in
      for number in 0..<5 {
        try await node.start(job("j\(number)", "while [ ! -e \(directory.path)/go\(number) ]; do sleep 0.01; done"))
      }
      for number in 0..<3 { try await node.expect("j\(number)", becomes: "running") }
      let status = try await node.call("get_runner_status", ["r"])
      #expect(status["running"] == 3 && status["queued"] == 2)
      directory.write("", to: "go1")
      try await node.expect("j3", becomes: "running")
      #expect(try await node.status("j4") == "queued")
      for number in 0..<5 { directory.write("", to: "go\(number)") }
      for number in 0..<5 { #expect(try await node.call("job.result", [.string("j\(number)")]) == ["success": ""]) }
    }
  }

  @Test("an executor that the runner may not use is refused, and those that it may are named")
  func restricted() async throws {
    var options = options
    options.runners[0].executors = [ExecutorName(trusted: "echo"), ExecutorName(trusted: "file")]
    try await TestNode.run(options) { node async throws in
      #expect(try await node.run(job("j", "fine", executor: "file")) == ["success": "fine"])
      for executor in ["shell", "nothing"] {
        for method in ["jobs.create", "job.run"] {
          let error = try await node.error(method, ["secret": .string(Key.user), "job": job("x", executor: executor)])
          #expect(error.code == -32602 && error.data["field"] == "params.job.executor")
          #expect(error.data["expected"]?.stringValue?.contains("echo, file") == true, "\(error)")
        }
      }
      #expect(try await node.error("job.status", ["x"]).code == -32002)
    }
  }
}
