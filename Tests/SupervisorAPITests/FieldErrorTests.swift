// Wrong fields: always -32602, with the field's path and what was expected there; nothing of it reaches the store.

import JSONRPC
import Supervisor
import Testing

@Suite("Wrong parameters", .timeLimit(.minutes(5)))
struct FieldErrorTests {
  private func expect(
    _ node: TestNode, _ method: String, _ params: JSON, refuses field: String,
    _ location: SourceLocation = #_sourceLocation
  ) async throws {
    let error = try await node.error(method, params)
    #expect(error.code == -32602, "\(params.text.prefix(200)): \(error)", sourceLocation: location)
    #expect(error.data["field"] == .string(field), "\(params.text.prefix(200)): \(error)", sourceLocation: location)
    #expect(error.data["expected"]?.stringValue?.isEmpty == false, sourceLocation: location)
    #expect(error.message.hasPrefix("Invalid params: \(field)"), "\(error.message)", sourceLocation: location)
  }

  @Test("every field of a job must be there and of its type", arguments: ["jobs.create", "job.run"])
  func jobFields(method: String) async throws {
    let good: JSON = ["secret": .string(Key.user), "job": job("good")]
    try await TestNode.run { node async throws in
      for (name, _) in job("good").objectValue?.members ?? [] {
        let field = "params.job.\(name)"
        try await expect(node, method, good.with("job", name, value: nil), refuses: field)
        let wrong: [JSON] = [
          .null, true, [], ["a"], name == "env_vars" ? "A=1" : ["a": 1], name == "timeout" ? "1" : 1,
        ]
        for value in wrong { try await expect(node, method, good.with("job", name, value: value), refuses: field) }
      }
      for value: JSON? in [nil, .null, "job", 1, []] {
        try await expect(node, method, good.with("job", value: value), refuses: "params.job")
      }
      #expect(try await node.call("jobs.list") == [])
    }
  }

  @Test("values that no job can have are refused, whatever their type")
  func jobValues() async throws {
    let long = String(repeating: "x", count: 257)
    let cases: [(path: [String], values: [JSON], field: String)] = [
      (["id"], ["", .string(long), "a\nb", "a\u{0}", "\u{7f}"], "id"),
      (["runner"], ["", .string(String(long.dropLast(128))), "a\tb", "r\u{0}"], "runner"),
      (["executor"], ["", "sh\u{0}ell", .string(long), "nothing", "Shell"], "executor"),
      (["caller_id"], ["a\u{0}b"], "caller_id"), (["context_id"], ["\u{0}"], "context_id"),
      (["timeout"], [-1, -0.001, 31_536_001, 1e300], "timeout"),
      (["env_vars"], [["A": 1], ["A": .null], ["A": ["b"]], ["A": true]], "env_vars.A"),
      (["env_vars"], [["": "1"]], "env_vars."), (["env_vars"], [["A=B": "1"]], "env_vars.A=B"),
      (["env_vars"], [["é": ""]], "env_vars.é"), (["env_vars"], [["a\n": ""]], "env_vars.a\n"),
      (["env_vars"], [[long: ""]], "env_vars.\(long.prefix(256 - "params.job.env_vars.".count))…"),
      (["env_vars"], [["A": "a\u{0}b"]], "env_vars.A"),
    ]
    try await TestNode.run { node async throws in
      for (path, values, field) in cases {
        for value in values {
          let params: JSON = ["secret": .string(Key.user), "job": job("j").with(path[0], value: value)]
          for method in ["jobs.create", "job.run"] {
            try await expect(node, method, params, refuses: "params.job.\(field)")
          }
        }
      }
      #expect(try await node.call("jobs.list") == [])
    }
  }

  @Test("a job has a thousand variables at most")
  func manyVariables() async throws {
    func job(_ count: Int) -> JSON {
      let variables = (0..<count).map { (key: "V\($0)", value: "x" as JSON) }
      return SupervisorAPITests.job("j\(count)", executor: "echo", environment: .object(JSONObject(members: variables)))
    }
    try await TestNode.run { node async throws in
      for method in ["jobs.create", "job.run"] {
        try await expect(
          node, method, ["secret": .string(Key.user), "job": job(1001)], refuses: "params.job.env_vars")
      }
      try await node.create(job(1000))
      #expect(try await node.call("jobs.list")[0]?["env_vars"]?.objectValue?.count == 1000)
      // So many that nothing is built of them.
      let error = try await node.error("jobs.create", ["secret": .string(Key.user), "job": job(60_000)])
      #expect(error.code == -32700 && error.message.contains("more than 50000 values"), "\(error)")
    }
  }

  @Test("values at the edge of what is allowed are kept as they are")
  func edges() async throws {
    try await TestNode.run { node async throws in
      let id = String(repeating: "é", count: 128)
      let runner = String(repeating: "r", count: 126) + "é"
      try await node.register(runner, queue: "queue with spaces")
      let given = job(
        id, "a\u{0}b", runner: runner, executor: "echo", timeout: 31_536_000, environment: ["a b%\"~": "\u{1}\n"]
      )
      .with("caller_id", value: "").with("context_id", value: "\n😀")
      try await node.create(given)
      let listed = try #require(try await node.call("jobs.list")[0])
      for (name, value) in given.objectValue?.members ?? [] where !name.hasSuffix("_at") {
        #expect(listed[name] == value, "\(name)")
      }
      #expect(try await node.run(given) == ["success": "a\u{0}b"])
      #expect(try await node.call("job.result", [.string(id)]) == ["success": "a\u{0}b"])
    }
  }

  @Test("a NUL in a payload is refused where it would be an argument, and nowhere else")
  func payloadWithNUL() async throws {
    var options = TestNode.Options()
    options.executors = [
      ExecutorConfiguration(
        name: ExecutorName(trusted: "argument"), command: ["echo", "{payload}"], payload: .argument)
    ]
    try await TestNode.run(options) { node async throws in
      let params: JSON = ["secret": .string(Key.user), "job": job("j", "a\u{0}b", executor: "argument")]
      try await expect(node, "job.run", params, refuses: "params.job.payload")
      let long: JSON = .string(String(repeating: "x", count: 200_000))
      try await expect(node, "job.run", params.with("job", "payload", value: long), refuses: "params.job.payload")
      #expect(try await node.run(job("j", "printf 'a\u{0}b'")).objectValue?.keys == ["success"])
    }
  }

  @Test("names of jobs and runners are checked wherever they are parameters")
  func names() async throws {
    let wrong: [JSON] = ["", "a\nb", "\u{0}", .string(String(repeating: "x", count: 300)), 1, .null, ["r"]]
    try await TestNode.run { node async throws in
      for value in wrong {
        for method in ["job.status", "job.result"] {
          try await expect(node, method, [value], refuses: "job_id")
          try await expect(node, method, ["job_id": value], refuses: "job_id")
        }
        for method in ["remove_runner", "start_runner", "stop_runner", "get_runner_status"] {
          try await expect(node, method, [value], refuses: "actor_id")
        }
        for method in ["job.start", "job.stop", "job.delete"] {
          try await expect(node, method, ["secret": .string(Key.user), "job_id": value], refuses: "params.job_id")
        }
        let runner: JSON = ["secret": .string(Key.register), "name": "n", "queue": "q"]
        try await expect(node, "register_runner", runner.with("name", value: value), refuses: "params.name")
        try await expect(node, "register_runner", runner.with("queue", value: value), refuses: "params.queue")
      }
      #expect(try await node.call("list_runners") == ["r"])
    }
  }

  @Test("parameters that are missing, too many, or of unknown names are refused by name")
  func unknownAndMissing() async throws {
    try await TestNode.run { node async throws in
      for method in ["job.status", "job.result"] {
        try await expect(node, method, [], refuses: "job_id")
        try await expect(node, method, ["job_id": "j", "wait": true], refuses: "wait")
        try await expect(node, method, ["j", "k"], refuses: "params")
      }
      try await expect(node, "stop_runner", ["actor_id": "r", "forced": true], refuses: "forced")
      try await expect(node, "stop_runner", ["r", "true"], refuses: "force")
      try await expect(node, "stop_all", ["force": 1], refuses: "force")
      for method in [
        "list_runners", "jobs.list", "start_all", "get_all_status", "get_all_runner_status", "rpc.discover",
      ] {
        try await expect(node, method, [1], refuses: "params")
        try await expect(node, method, ["all": true], refuses: "all")
      }
      for method in ["jobs.create", "job.run"] {
        try await expect(node, method, [["secret": .string(Key.user)]], refuses: "params.job")
      }
      try await expect(
        node, "register_runner", ["secret": .string(Key.register), "name": "n"], refuses: "params.queue")
      let noObjects: [JSON] = [["params": 1], [1], [.null]]
      for params in noObjects { try await expect(node, "job.start", params, refuses: "params") }
      try await expect(node, "jobs.query", ["runer": "r"], refuses: "params.runer")
      try await expect(node, "jobs.query", [["status": "done"]], refuses: "params.status")
      try await expect(node, "jobs.query", ["cursor": "nonsense"], refuses: "params.cursor")
      try await expect(node, "job.logs", ["job_id": "j", "follow": true], refuses: "params.follow")
    }
  }

  @Test("dates that are none, and numbers that are integers however they are written")
  func datesAndNumbers() async throws {
    try await TestNode.run { node async throws in
      for date in [
        "2026-02-31", "2026-02-29", "2100-02-29", "2026-04-31", "2026-00-10", "2026-13-01", "2026-01-00", "2026-06-31",
      ] {
        for field in ["created_from", "created_before"] {
          try await expect(
            node, "jobs.query", [field: .string("\(date)T00:00:00Z")], refuses: "params.\(field)")
        }
      }
      for date in ["2028-02-29", "2000-02-29", "2026-12-31"] {
        let page = try await node.call("jobs.query", ["created_from": .string("\(date)T00:00:00Z")])
        #expect(page["jobs"] == [])
      }
      try await expect(
        node, "jobs.query", ["created_from": "0000-01-01T00:00:00+00:01"], refuses: "params.created_from")
      for (text, isGood) in [("10.0", true), ("1e1", true), ("1e3", true), ("10.5", false), ("1e4", false)] {
        let answer = try await node.post(
          #"{"jsonrpc":"2.0","id":1,"method":"jobs.query","params":{"limit":\#(text)}}"#)
        let field = try answer.json()["error"]?["data"]?["field"]?.stringValue
        #expect(field == (isGood ? String?.none : "params.limit"), "\(text)")
      }
      let error = try await node.error("list_runners", [1])
      #expect(error.message == "Invalid params: params: expected no values")
    }
  }

  @Test("a byte order mark is named where it would be a riddle")
  func byteOrderMark() async throws {
    try await TestNode.run { node async throws in
      let body = try await node.post("\u{FEFF}" + #"{"jsonrpc":"2.0","id":1,"method":"list_runners"}"#).json()
      #expect(body["error"]?["code"] == -32700)
      #expect(body["error"]?["message"]?.stringValue?.contains("byte order mark") == true)
      try await expect(
        node, "jobs.create", ["secret": .string(Key.user), "job": job("j", "\u{FEFF}echo hi")],
        refuses: "params.job.payload")
      #expect(try await node.run(job("e", "\u{FEFF}x", executor: "echo")) == ["success": "\u{FEFF}x"])
      let python = try await node.run(job("p", "\u{FEFF}print(1)", executor: "python"))
      #expect(python == ["success": "1\n"])
    }
  }

  @Test("members that the contract does not know are ignored in its objects, as its schemas allow them")
  func extraMembers() async throws {
    try await TestNode.run { node async throws in
      let given = job("j", "hello", executor: "echo").with("priority", value: 7)
      let params: JSON = ["secret": .string(Key.user), "job": given, "trace": "abc"]
      for form: JSON in [params, [params], ["params": params]] {
        #expect(try await node.call("job.run", form) == ["success": "hello"])
      }
    }
  }
}
