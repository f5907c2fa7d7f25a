// Lists of jobs that are large: what they show, where a page ends, and what a node holds of them.

import JSONRPC
import Testing

@Suite("Lists of jobs", .timeLimit(.minutes(5)))
struct JobListTests {
  private static func small(_ bytes: Int) -> TestNode.Options {
    var options = TestNode.Options()
    options.maxResponseBytes = bytes
    return options
  }

  /// Pages up to the last; fails when one is an error or has no job.
  private func pages(_ node: TestNode, _ query: JSONObject) async throws -> [[JSON]] {
    var query = query
    var pages: [[JSON]] = []
    while true {
      let page = try await node.call("jobs.query", .object(query))
      pages.append(try #require(page["jobs"]?.arrayValue))
      guard let next = page["next"], !next.isNull else { return pages }
      #expect(pages.last?.isEmpty == false)
      query["cursor"] = next
    }
  }

  @Test("show a job without payload, variables and result, unless they are asked for, and then only what is asked for")
  func views() async throws {
    try await TestNode.run { node async throws in
      #expect(try await node.run(job("j", "hello", executor: "echo", environment: ["A": "b"])) == ["success": "hello"])
      let summary = [
        "id", "caller_id", "context_id", "runner", "executor", "timeout", "created_at", "updated_at", "status",
        "attempt",
        "started_at", "completed_at",
      ]
      let views: [(query: JSONObject, names: [String])] = [
        ([:], summary), (["view": "summary"], summary),
        (["fields": ["status", "result", "status"]], ["id", "status", "result"]),
        (["fields": []], ["id"]), (["fields": ["env_vars"]], ["id", "env_vars"]),
        (["view": "full"], summary + ["payload", "env_vars", "result"]),
      ]
      for (query, names) in views {
        let jobs = try await pages(node, query)[0]
        #expect(Set(jobs[0].objectValue?.keys ?? []) == Set(names), "\(jobs)")
      }
      let full = try await pages(node, ["view": "full"])[0][0]
      #expect(full["payload"] == "hello" && full["result"] == ["success": "hello"] && full["env_vars"] == ["A": "b"])
      let wrong: [(query: JSON, field: String)] = [
        (["view": "whole"], "params.view"), (["view": 1], "params.view"), (["fields": "id"], "params.fields"),
        (["fields": ["id", "size"]], "params.fields[1]"), (["fields": ["id"], "view": "full"], "params.fields"),
      ]
      for (query, field) in wrong {
        #expect(try await node.error("jobs.query", query).data["field"] == .string(field))
      }
    }
  }

  @Test(
    "are cut into pages by what is written, whatever has to be escaped, and lead past jobs that are too big for one")
  func pagesByBytes() async throws {
    try await TestNode.run(Self.small(20_000)) { node async throws in
      let payloads = [
        // Six bytes of JSON for each, as output and as payload.
        "small", String(repeating: "\u{1}", count: 3000), String(repeating: "\u{1}", count: 9000), "small",
        String(repeating: "\"", count: 9000),
      ]
      for (number, payload) in payloads.enumerated() {
        var job = job("j\(number)", payload, executor: "echo", environment: ["V": .string(payload)])
        if number == 2 { job = job.with("caller_id", value: .string(payload)) }
        try await node.create(job)
      }
      for view in ["summary", "full"] {
        let limits: [Int64] = [1, 2, 100]
        for limit in limits {
          let jobs = try await pages(node, ["limit": .int(limit), "view": .string(view)]).flatMap { $0 }
          #expect(jobs.compactMap { $0["id"] } == ["j4", "j3", "j2", "j1", "j0"], "\(view) \(limit)")
          let large = jobs[2]
          #expect(large["status"] == "created" && large["caller_id"] == nil)
          let omitted: JSON = view == "full" ? ["caller_id", "payload", "env_vars"] : ["caller_id"]
          #expect(large["omitted"] == omitted, "\(large.text)")
          #expect(jobs[1]["omitted"] == nil && jobs[4]["omitted"] == nil)
        }
      }
      let one = try await pages(node, ["fields": ["payload"]]).flatMap { $0 }
      #expect(one[1]["payload"] == "small" && one[2]["omitted"] == ["payload"])
      #expect(one[3]["payload"]?.stringValue?.utf8.count == 3000 && one[0]["payload"] != nil)
      // The whole list has them all.
      let whole = try #require(try await node.call("jobs.list").arrayValue)
      #expect(whole.compactMap { $0["payload"]?.stringValue } == payloads.reversed())
    }
  }

  @Test("of two jobs that wrote a mebibyte of NULs are short")
  func outputs() async throws {
    try await TestNode.run { node async throws in
      for id in ["a", "b"] { try await node.start(job(id, "head -c 1048576 /dev/zero")) }
      for id in ["a", "b"] { try await node.expect(id, becomes: "completed") }
      let answer = try await node.post(#"{"jsonrpc":"2.0","id":1,"method":"jobs.query"}"#)
      #expect(answer.body.count < 2000)
      #expect(try answer.json()["result"]?["jobs"]?.arrayValue?.count == 2)
      let full = try await pages(node, ["view": "full"]).flatMap { $0 }
      let sizes: [Int] = full.compactMap { $0["result"]?["success"]?.stringValue?.utf8.count }
      #expect(sizes == [1_048_576, 1_048_576])
    }
  }

  /// Bytes that are held for answers.
  private func held(_ node: TestNode) async -> Int {
    let budget = await node.server.statistics.answerBudget
    return budget.known + budget.strangers
  }

  @Test("with their payloads find room as large jobs do, however few are asked for")
  func room() async throws {
    var options = TestNode.Options()
    (options.http.maxBufferedBytes, options.http.maxStrangerBytes) = (200_000, 200_000)
    try await TestNode.run(options) { node async throws in
      func code(_ params: String) async throws -> JSON? {
        let call = #"{"jsonrpc":"2.0","id":1,"method":"jobs.query","params":{"limit":1,\#(params)}}"#
        return try await node.post(call).json()["error"]?["code"]
      }
      #expect(try await code(#""view":"full""#) == -32009)
      #expect(try await code(#""fields":["payload"]"#) == -32009)
      #expect(try await code(#""view":"summary""#) == nil)
      #expect(try await code(#""fields":["id"]"#) == nil)
    }
  }

  @Test("are sent in pieces by jobs.list: a client that reads slowly keeps a page of the node's memory, not the list")
  func pieces() async throws {
    try await TestNode.run(Self.small(100_000)) { node async throws in
      let payload = String(repeating: "x", count: 100_000)
      for number in 0..<60 { try await node.create(job("j\(number)", payload)) }
      let body = #"{"jsonrpc":"2.0","id":1,"method":"jobs.list"}"#
      let request = [
        "POST / HTTP/1.1", "Host: \(node.endpoint)", "Content-Type: application/json",
        "Content-Length: \(body.utf8.count)", "", body,
      ].joined(separator: "\r\n")
      let client = try HeldSocket(port: Int(node.endpoint.port), receiveBuffer: 4096)
      client.send(Array(request.utf8))
      // Of six megabytes.
      #expect(await eventually { await held(node) > 0 })
      #expect(await held(node) < 1 << 20)
      let answer = try await node.post(body)
      #expect(answer.headers["transfer-encoding"] == "chunked" && answer.headers["content-length"] == nil)
      #expect(await held(node) < 2 << 20)
      #expect(try await node.call("jobs.list").arrayValue?.count == 60)
      client.close()
      #expect(await eventually { await held(node) == 0 })
    }
  }
}
