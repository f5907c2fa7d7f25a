import JSONRPC
import Supervisor
import Testing

// What clients write into a job comes back as they wrote it, or is refused with the field's name; nothing is cut.

@Suite("The texts of a job", .timeLimit(.minutes(5)))
struct JobTextTests {
  @Test("echo answers a payload with NUL, as do job.result, job.logs and the lists")
  func payloadWithNUL() async throws {
    try await TestNode.run { node in
      let text = "\u{0}before\u{0}after é\u{0}"
      let job = job("job", text, executor: "echo", environment: ["NAME": .string(text)])
      #expect(try await node.run(job) == ["success": .string(text)])
      #expect(try await node.call("job.result", ["job"]) == ["success": .string(text)])
      let listed = try #require(try await node.call("jobs.list").arrayValue?.first)
      #expect(listed["payload"] == .string(text))
      #expect(listed["env_vars"] == ["NAME": .string(text)])
      // Its bytes are the same job again, and a text that only begins like it is another.
      try await node.create(job)
      let other = job.with("payload", value: .string("\u{0}before"))
      #expect(try await node.error("jobs.create", ["secret": .string(Key.user), "job": other]).code == -32004)
    }
  }

  @Test("NUL in caller_id or context_id is refused, whatever the executor", arguments: ["caller_id", "context_id"])
  func refused(_ field: String) async throws {
    try await TestNode.run { node in
      for (method, executor) in [("jobs.create", "echo"), ("jobs.create", "shell"), ("job.run", "echo")] {
        let job = job("job", executor: executor).with(field, value: "a\u{0}b")
        let error = try await node.error(method, ["secret": .string(Key.user), "job": job])
        #expect(error.code == -32602)
        #expect(error.data["field"]?.stringValue?.hasSuffix("job.\(field)") == true)
        #expect(try await node.error("job.status", ["job"]).code == -32002)
      }
    }
  }

  @Test("NUL in an id or a name is refused", arguments: ["id", "runner", "executor"])
  func refusedNames(_ field: String) async throws {
    try await TestNode.run { node in
      let job = job("job").with(field, value: "job\u{0}")
      let error = try await node.error("jobs.create", ["secret": .string(Key.user), "job": job])
      #expect(error.code == -32602)
      #expect(error.data["field"]?.stringValue?.hasSuffix("job.\(field)") == true)
      #expect(try await node.error("job.status", ["job"]).code == -32002)
      #expect(try await node.error("job.status", ["job\u{0}"]).code == -32602)
    }
  }

  @Test("NUL in the name of a variable is refused")
  func refusedVariable() async throws {
    try await TestNode.run { node in
      for executor in ["echo", "shell"] {
        let job = job("job", executor: executor, environment: ["NAME\u{0}X": "value"])
        let error = try await node.error("jobs.create", ["secret": .string(Key.user), "job": job])
        #expect([-32700, -32602].contains(error.code), "\(error)")
        #expect(try await node.error("job.status", ["job"]).code == -32002)
      }
    }
  }

  @Test("a job of before whose variables have names that are refused now is shown as it is, and at once")
  func oldVariables() async throws {
    try await TestNode.run { node in
      let marks = ["\u{345}", "\u{301}", "\u{316}", "\u{327}"].map { String(repeating: $0, count: 16_000) }.joined()
      let names = ["", "a=b", "\u{e9}", "e\u{301}", "a" + marks, "b" + marks]
      let job = Job(
        id: JobID(trusted: "old"), callerID: "", contextID: "", payload: "", runner: RunnerName(trusted: "r"),
        executor: .echo, environment: Dictionary(uniqueKeysWithValues: names.map { (VariableName(trusted: $0), "1") }))
      _ = try await node.store.create(JobRecord(job: job, createdAt: .now), output: nil)
      let start = ContinuousClock.now
      let listed = try await node.call("jobs.list")[0]?["env_vars"]?.objectValue
      #expect(
        listed?.keys.map { Array($0.utf8) } == names.map { Array($0.utf8) }.sorted { $0.lexicographicallyPrecedes($1) })
      // Normalised, these names would take a minute.
      #expect(ContinuousClock.now - start < .seconds(10))
    }
  }

  @Test("a filter with NUL does not find what only begins like it")
  func filter() async throws {
    try await TestNode.run { node in
      try await node.create(job("job"))
      for field in ["caller_id", "context_id"] {
        let text = field == "caller_id" ? "caller" : "context"
        let found = try await node.call("jobs.query", ["params": [field: .string(text)]])
        #expect(found["jobs"]?.arrayValue?.count == 1)
        let none = try await node.call("jobs.query", ["params": [field: .string("\(text)\u{0}")]])
        #expect(none["jobs"] == [])
      }
    }
  }

  @Test("ids that look alike and are other bytes are other jobs")
  func lookAlike() async throws {
    try await TestNode.run { (node) async throws in
      let composed = "caf\u{E9}"
      let decomposed = "cafe\u{301}"
      #expect(try await node.run(job(composed, "one", executor: "echo")) == ["success": "one"])
      #expect(try await node.run(job(decomposed, "two", executor: "echo")) == ["success": "two"])
      #expect(try await node.call("job.result", [.string(composed)]) == ["success": "one"])
      let again = job(composed, decomposed, executor: "echo")
      #expect(try await node.error("jobs.create", ["secret": .string(Key.user), "job": again]).code == -32004)
    }
  }
}
