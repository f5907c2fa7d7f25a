// What no process can be given is refused when the job comes, not found when it runs.

import JSONRPC
import Testing

@testable import Supervisor

@Suite("What a process can be given", .timeLimit(.minutes(5)))
struct ArgumentRoomTests {
  private static func text(_ count: Int) -> JSON { .string(String(repeating: "x", count: count)) }

  private var options: TestNode.Options {
    var options = TestNode.Options()
    options.executors = [
      ExecutorConfiguration(
        name: ExecutorName(trusted: "argument"), command: ["/bin/sh", "-c", "echo ${#1}", "sh", "--x={payload}"],
        payload: .argument)
    ]
    return options
  }

  private func expect(_ node: TestNode, refuses field: String, _ job: JSON) async throws {
    for method in ["jobs.create", "job.run"] {
      let error = try await node.error(method, ["secret": .string(Key.user), "job": job])
      #expect(error.code == -32602 && error.data["field"] == .string("params.job.\(field)"), "\(error)")
      #expect(error.data["expected"]?.stringValue?.hasPrefix("must be ") == true, "\(error)")
    }
  }

  @Test("the longest text that fits runs, and one byte more is refused with its field")
  func strings() async throws {
    // MAX_ARG_STRLEN is 131072, with the name, `=` and a NUL.
    try await TestNode.run(options) { node async throws in
      for (field, longest) in [("caller_id", 131_056), ("context_id", 131_055)] {
        let good = job(field, "echo ${#HERO_\(field.uppercased())}").with(field, value: Self.text(longest))
        #expect(try await node.run(good) == ["success": .string("\(longest)\n")])
        try await expect(node, refuses: field, good.with("id", value: "no").with(field, value: Self.text(longest + 1)))
      }
      let variable = job("variable", "echo ${#V}", environment: ["V": Self.text(131_069)])
      #expect(try await node.run(variable) == ["success": "131069\n"])
      try await expect(node, refuses: "env_vars.V", job("no", environment: ["V": Self.text(131_070)]))
      let long = String(repeating: "x", count: 131_067)
      #expect(try await node.run(job("argument", long, executor: "argument")) == ["success": "131071\n"])
      try await expect(node, refuses: "payload", job("no", "\(long)x", executor: "argument"))
      try await expect(
        node, refuses: "payload", job("no", String(repeating: "x", count: 131_072), executor: "argument"))
      // What the node does itself has no such bounds.
      let echo = job("echo", "e", executor: "echo", environment: ["V": Self.text(200_000)])
      #expect(try await node.run(echo) == ["success": "e"])
      #expect(try await node.call("jobs.list").arrayValue?.count == 5)
    }
  }

  @Test("variables that are too much together are refused, and up to that bound they run")
  func sum() async throws {
    try await TestNode.run(options) { node async throws in
      let room = ArgumentRoom().bytes
      func variables(_ count: Int) -> JSON {
        var members: [(key: String, value: JSON)] = []
        var rest = count
        while rest > 0 {
          // A name of two bytes, `=`, a NUL, and a pointer.
          let size = min(rest, 100_000)
          members.append(("V\(UnicodeScalar(UInt8(65 + members.count)))", Self.text(max(0, size - 12))))
          rest -= size
        }
        return .object(JSONObject(members: members))
      }
      try await expect(node, refuses: "env_vars", job("big", environment: variables(room)))
      var outcomes: Set<Bool> = []
      for (number, spare) in [0, 200, 300, 400, 500, 2000].enumerated() {
        let sized = job("j\(number)", "echo ran", environment: variables(room - spare))
        do {
          #expect(try await node.run(sized) == ["success": "ran\n"], "\(spare)")
          outcomes.insert(true)
        } catch {
          #expect(try await node.error("job.run", ["secret": .string(Key.user), "job": sized]).code == -32602)
          outcomes.insert(false)
        }
      }
      #expect(outcomes == [true, false])
    }
  }
}
