// Every error code of the design that one node can give, over HTTP, with an object as its data. (-32005 needs a second
// node; -32603 would be a defect.)

import GRDB
import JSONRPC
import Supervisor
import Testing

@testable import SQLiteJobStore
@testable import SupervisorAPI

@Suite("Error codes", .timeLimit(.minutes(5)))
struct ErrorCodeTests {
  @Test("-32005 says of a job whether it is known, and of a call whether it was carried out, as far as that is certain")
  func unreachable() throws {
    let node = NodeName(trusted: "n3")
    func data(_ error: SupervisorError) -> JSON { JSONRPCError(error).data ?? .null }
    let nodes: JSON = ["node": "n3", "nodes": ["n3"]]
    #expect(data(.moving(JobID(trusted: "j"), to: node)) == nodes.with("job", value: "j"))
    #expect(data(.nodeNotReached(node, "why")) == nodes.with("outcome", value: "not_done"))
    #expect(data(.callLost(node, "why")) == nodes.with("outcome", value: "unknown"))
    #expect(data(.ownerUnreachable([node], "why")) == nodes)
  }

  /// The error of an answer to raw text; its data has just the members that the contract documents for that code.
  private func error(
    _ node: TestNode, _ body: String, is name: String, status: Int = 200, data keys: Set<String>? = nil
  ) async throws -> JSON {
    let answer = try await node.post(body)
    #expect(answer.status == status)
    #expect(answer.headers["content-type"] == "application/json")
    let json = try answer.json()
    #expect(json["jsonrpc"] == "2.0" && json["result"] == nil && json["id"] != nil, "\(json.text)")
    let error = try #require(json["error"], "\(json.text)")
    let documented = try #require(SupervisorAPI.openRPCDocument["components"]?["errors"]?[name])
    #expect(error["code"] == documented["code"], "\(error.text)")
    #expect(error["message"]?.stringValue?.isEmpty == false)
    let expected = keys ?? Set(documented["data"]?.objectValue?.keys ?? [])
    #expect(Set(error["data"]?.objectValue?.keys ?? []) == expected, "\(error.text)")
    return error
  }

  private func request(_ method: String, _ params: JSON) -> String {
    (["jsonrpc": "2.0", "id": 1, "method": .string(method), "params": params] as JSON).text
  }

  @Test("of the protocol and of the domain come as documented")
  func codes() async throws {
    try await TestNode.run { node async throws in
      let parse = try await error(node, #"{"jsonrpc":"2.0","id":1,"id":2}"#, is: "ParseError")
      #expect(parse["data"]?["line"] == 1)
      _ = try await error(node, #"{"jsonrpc":"2.0","id":1,"method":1}"#, is: "InvalidRequest")
      let unknown = try await error(node, request("job.nothing", []), is: "MethodNotFound")
      #expect(unknown["data"]?["method"] == "job.nothing")
      let params = try await error(node, request("job.status", [1]), is: "InvalidParams")
      #expect(params["data"]?["field"] == "job_id")
      _ = try await error(node, request("job.stop", ["secret": "x", "job_id": "j"]), is: "Unauthorized")
      let noJob = try await error(node, request("job.status", ["j"]), is: "NotFound")
      #expect(noJob["data"]?["job"] == "j" && noJob["message"]?.stringValue?.contains("\"j\"") == true)
      let noRunner = try await error(node, request("start_runner", ["nobody"]), is: "NotFound", data: ["runner"])
      #expect(noRunner["data"]?["runner"] == "nobody")
      #expect(try await node.run(job("j", executor: "echo")) == ["success": ""])
      let state = try await error(node, request("job.stop", node.secret(job: "j")), is: "WrongState")
      #expect(state["data"]?["status"] == "completed")
      let other: JSON = ["secret": .string(Key.user), "job": job("j", "else", executor: "echo")]
      _ = try await error(node, request("jobs.create", other), is: "Conflict")
      let queue: JSON = ["secret": .string(Key.register), "name": "r", "queue": "other"]
      _ = try await error(node, request("register_runner", queue), is: "Conflict", data: ["runner", "queue"])
    }
  }

  @Test("of the limits name the limit")
  func limits() async throws {
    var options = TestNode.Options()
    options.maxRequestBytes = 20_000
    options.maxResponseBytes = 10_000
    options.maxBatch = 3
    try await TestNode.run(options) { node async throws in
      let big = request("job.status", [.string(String(repeating: "x", count: 20_000))])
      let request413 = try await error(node, big, is: "RequestTooBig", status: 413)
      #expect(request413["data"]?["limit"] == 20_000)
      let call = request("list_runners", [])
      let batch = try await error(node, "[\(call),\(call),\(call),\(call)]", is: "BatchTooBig")
      #expect(batch["data"] == ["limit": 3, "count": 4])

      let payload = String(repeating: "y", count: 3000)
      let ids = ["a", "b", "c", "d"]
      for id in ids {
        #expect(try await node.run(job(id, payload, executor: "echo")) == ["success": .string(payload)])
      }
      let listed = try await node.post("[\(request("jobs.list", []))]").json()[0]
      let list = listed?["error"]
      #expect(list?["code"] == -32008 && list?["data"]?["limit"] == 10_000)
      // By itself it has no bound.
      #expect(try await node.call("jobs.list").arrayValue?.count == 4)
      var found: [JSON] = []
      var cursor: JSON = .null
      repeat {
        let page = try await node.call("jobs.query", ["runner": "r", "cursor": cursor, "view": "full"])
        found += try #require(page["jobs"]?.arrayValue).compactMap { $0["id"] }
        cursor = try #require(page["next"])
      } while cursor != .null
      #expect(found == ids.reversed().map(JSON.string))

      let loud = job("loud", "head -c 12000 /dev/zero | tr '\\0' z")
      let run = try await error(
        node, request("job.run", ["secret": .string(Key.user), "job": loud]), is: "ResponseTooBig")
      #expect(run["data"]?["hint"]?.stringValue?.contains("job.logs") == true)
      let logs = try await node.call("job.logs", ["job_id": "loud", "limit": 5])
      #expect(logs["data"] == "zzzzz" && logs["eof"] == false)
      #expect(try await node.status("loud") == "completed")
    }
  }

  @Test("of a node that is stopping ask for another try, and what is there can still be read")
  func draining() async throws {
    try await TestNode.run { node async throws in
      try await node.create(job("old"))
      await node.registry.drain(for: .zero)
      let new: JSON = ["secret": .string(Key.user), "job": job("new")]
      for (method, params) in [
        ("jobs.create", new), ("job.run", new), ("job.start", node.secret(job: "old")), ("start_runner", ["r"]),
        ("register_runner", ["secret": .string(Key.register), "name": "n", "queue": "q"]),
      ] as [(String, JSON)] {
        let refused = try await error(node, request(method, params), is: "Unavailable")
        #expect(try #require(refused["data"]?["retry_after_ms"]?.intValue) > 0)
      }
      #expect(try await node.status("old") == "created")
      let ready = try await node.exchange("GET", "/ready")
      #expect(ready.status == 503 && ready.text.contains("stopping"))
      #expect(try await node.exchange("GET", "/health").status == 200)
    }
  }

  @Test("of a store that refuses to write ask for another try; nothing happened, and service resumes by itself")
  func storeAway() async throws {
    try await TestNode.run { node async throws in
      try await node.create(job("old", "echo old"))
      func execute(_ sql: String) throws { try node.store.pool.writeWithoutTransaction { try $0.execute(sql: sql) } }
      for table in ["jobs", "runners", "meta"] {
        for verb in ["INSERT", "UPDATE"] {
          try execute("CREATE TRIGGER \(table)\(verb) BEFORE \(verb) ON \(table) BEGIN SELECT RAISE(ABORT, 'no'); END")
        }
      }
      let new: JSON = ["secret": .string(Key.user), "job": job("new", executor: "echo")]
      for (method, params) in [
        ("jobs.create", new), ("job.run", new), ("job.start", node.secret(job: "old")),
        ("register_runner", ["secret": .string(Key.register), "name": "n", "queue": "q"]),
      ] as [(String, JSON)] {
        let refused = try await error(node, request(method, params), is: "Unavailable")
        #expect(try #require(refused["data"]?["retry_after_ms"]?.intValue) > 0)
      }
      #expect(try await node.exchange("GET", "/ready").status == 503)
      #expect(try await node.status("old") == "created")
      #expect(try await node.error("job.status", ["new"]).code == -32002)
      #expect(try await node.call("list_runners") == ["r"])

      for table in ["jobs", "runners", "meta"] {
        for verb in ["INSERT", "UPDATE"] { try execute("DROP TRIGGER \(table)\(verb)") }
      }
      #expect(try await node.exchange("GET", "/ready").status == 200)
      #expect(try await node.call("job.run", new) == ["success": ""])
      #expect(try await node.call("job.start", node.secret(job: "old")) == .null)
      #expect(try await node.call("job.result", ["old"]) == ["success": "old\n"])
    }
  }
}
