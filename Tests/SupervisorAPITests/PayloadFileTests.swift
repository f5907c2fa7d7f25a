// What a job sees of its payload where that is a file: for the built-in executors, and wherever the configuration says so.

import Glibc
import JSONRPC
import Supervisor
import Testing

@Suite("Payloads as files", .timeLimit(.minutes(5)))
struct PayloadFileTests {
  private func executor(
    _ name: String, _ program: String, user: String? = nil, sandbox: SandboxSettings? = nil
  ) -> ExecutorConfiguration {
    ExecutorConfiguration(
      name: ExecutorName(trusted: name), command: [program, "{payload_file}"], payload: .file, user: user,
      sandbox: sandbox)
  }

  /// A script of more than a shell reads at a time, in which a line that stands at the end of what was read must stay whole.
  private static let long: String = {
    var script = "cat >/dev/null\necho begun\n"
    // Each boundary of 4 KiB falls into one of these lines.
    while script.utf8.count < 70_000 { script += "true \(String(repeating: "x", count: 90)) || echo cut\n" }
    return script + "echo whole\n"
  }()

  @Test("a command that empties its standard input takes nothing of the script", arguments: ["shell", "bash"])
  func inputIsEmpty(executor name: String) async throws {
    var options = TestNode.Options()
    options.executors = [executor("bash", "/bin/bash")]
    try await TestNode.run(options) { node async throws in
      #expect(try await node.run(job("long", Self.long, executor: name)) == ["success": "begun\nwhole\n"])
      #expect(try await node.run(job("empty", "wc -c; wc -c </dev/stdin", executor: name)) == ["success": "0\n0\n"])
    }
  }

  @Test(
    "the file has the payload byte for byte",
    arguments: [
      "", "\n\0\r\nand \0 more\r\n", "\né😀\u{feff}", "\n" + String(repeating: "0123456789abcde\n", count: 1 << 16),
    ])
  func bytes(rest: String) async throws {
    var options = TestNode.Options()
    options.maxOutputBytes = 2 << 20
    try await TestNode.run(options) { node async throws in
      let payload = "exec cat \"$0\"" + rest
      #expect(try await node.run(job("j", payload)) == ["success": .string(payload)])
    }
  }

  @Test("a first line that names a program is a comment, and line ends of Windows are no business of the node's")
  func firstLine() async throws {
    try await TestNode.run { node async throws in
      #expect(try await node.run(job("sh", "#!/usr/bin/env python3\necho \"$((6 * 7))\"")) == ["success": "42\n"])
      let python = "#!/bin/sh\r\nfor i in range(2):\r\n    print(i)\r\n"
      #expect(try await node.run(job("py", python, executor: "python")) == ["success": "0\n1\n"])
    }
  }

  @Test("Python starts processes that import the payload")
  func spawn() async throws {
    try await TestNode.run { node async throws in
      let payload = """
        import multiprocessing
        def square(n): return n * n
        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool: print(sum(pool.map(square, range(4))))
        """
      #expect(try await node.run(job("j", payload, executor: "python")) == ["success": "14\n"])
    }
  }

  @Test("errors name the file and the line")
  func names() async throws {
    try await TestNode.run { node async throws in
      let python = try await node.run(job("py", "def f():\n    raise KeyError(__file__)\nf()", executor: "python"))
      let trace = try #require(python["error"]?.stringValue)
      #expect(trace.contains(#".payload", line 2, in f"#) && trace.contains("raise KeyError(__file__)"), "\(trace)")
      let shell = try await node.run(job("sh", "true\nno-such-program\nexit 1"))
      #expect(try #require(shell["error"]?.stringValue).contains(".payload: 2: no-such-program"), "\(shell.text)")
    }
  }

  @Test("it is not in the working directory, which is empty, and is gone with it")
  func place() async throws {
    try await TestNode.run { node async throws in
      let found = try await node.run(job("j", "ls -A; stat -c '%a %U' \"$0\"; echo \"$0\"; pwd"))
      let lines = try #require(found["success"]?.stringValue).split(separator: "\n").map(String.init)
      try #require(lines.count == 3, "\(lines)")
      #expect(lines[0].hasPrefix("600 "))
      #expect(lines[1].hasSuffix(".payload") && !lines[1].hasPrefix("\(lines[2])/"))
      #expect(await eventually { access(lines[1], F_OK) != 0 && access(lines[2], F_OK) != 0 })
    }
  }

  @Test("it can be read by another user, and in a sandbox", .enabled(if: geteuid() == 0))
  func separated() async throws {
    var options = TestNode.Options()
    options.executors = [
      executor("other", "/bin/sh", user: "nobody"), executor("box", "/bin/sh", sandbox: SandboxSettings()),
    ]
    options.isWalkable = true
    try await TestNode.run(options) { node async throws in
      for name in ["other", "box"] {
        let result = try await node.run(job(name, "id -un; wc -c; tail -n 1 \"$0\"\n# the end\n", executor: name))
        #expect(result == ["success": "nobody\n0\n# the end\n"], "\(name)")
      }
    }
  }
}
