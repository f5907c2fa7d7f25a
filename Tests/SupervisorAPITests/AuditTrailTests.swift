// Who did what: one entry for each call that changes something, and for each key that is refused.

import JSONRPC
import Synchronization
import Testing

@testable import SupervisorAPI

@Suite("The audit trail", .timeLimit(.minutes(5)))
struct AuditTrailTests {
  /// Entries as one line each: `user key 1 job.stop job=j: ok`.
  private final class Record: Sendable {
    let entries = Mutex<[AuditEntry]>([])

    var lines: [String] {
      entries.withLock { $0 }.map { entry in
        let subjects = entry.subjects.map { " \($0.kind)=\($0.name)" }.joined()
        return "\(entry.key) \(entry.method)\(subjects): \(entry.code.map(String.init) ?? "ok")"
      }
    }

    func take() -> [String] {
      defer { entries.withLock { $0 = [] } }
      return lines
    }
  }

  /// A node with two user keys.
  private func run(
    hasOnlyLocalKey: Bool = false, keeps: @escaping @Sendable (String) -> Bool = { _ in true }, open: Bool = true,
    _ scenario: (TestNode, Record) async throws -> Void
  ) async throws {
    let record = Record()
    var options = TestNode.Options()
    options.openMethods = open ? .toAll : .closed(reason: "the test")
    options.keys.append((.user, "second-user-key-41"))
    options.audit = AuditTrail(hasOnlyLocalKey: hasOnlyLocalKey, keeps: keeps) { entry in
      record.entries.withLock { $0.append(entry) }
    }
    try await TestNode.run(options) { node async throws in try await scenario(node, record) }
  }

  @Test("has each call that changes something, with the key, what it named and the outcome, and none that reads")
  func changes() async throws {
    try await run { node, record in
      try await node.register("x", queue: "q2")
      _ = try await node.call("stop_runner", ["x", true])
      _ = try await node.call("start_runner", ["actor_id": "x"])
      _ = try await node.call("start_all", [])
      _ = try await node.call("stop_all", [false])
      _ = try await node.call("start_all", [])
      try await node.create(job("j", "payload-77", environment: ["A": "variable-77"]))
      _ = try await node.call("job.start", ["secret": "second-user-key-41", "job_id": "j"])
      _ = try await node.call("job.result", ["j"])
      _ = try await node.run(job("e", "payload-77", executor: "echo"))
      _ = try await node.error("job.stop", node.secret(job: "j"))
      _ = try await node.error("job.start", node.secret(job: "nobody"))
      _ = try await node.call("job.delete", node.secret(job: "j"))
      _ = try await node.call("remove_runner", ["x"])
      _ = try await node.error("remove_runner", ["x"])
      _ = try await node.error("runner.move", ["secret": .string(Key.admin), "name": "r", "node": "n9"])
      _ = try await node.error("node.drain", ["secret": .string(Key.admin), "node": "n9"])
      _ = try await node.error("cluster.forget", ["secret": .string(Key.admin), "node": "n9"])
      _ = try await node.call("store.confirm_clock", ["secret": .string(Key.admin)])
      _ = try await node.call("key.create", ["secret": .string(Key.admin), "name": "k", "scopes": ["read"]])
      _ = try await node.call("key.revoke", ["secret": .string(Key.admin), "name": "k"])
      let reading: [(String, JSON)] = [
        ("list_runners", []), ("jobs.list", []), ("job.status", ["e"]), ("get_all_status", []), ("jobs.query", [[:]]),
        ("get_runner_status", ["r"]), ("get_all_runner_status", []), ("job.logs", [["job_id": "e"]]),
        ("cluster.members", []), ("cluster.status", []), ("rpc.discover", []),
        ("key.list", ["secret": .string(Key.admin)]),
      ]
      for (method, params) in reading { _ = try await node.call(method, params) }
      let lines = record.take()
      #expect(
        lines == [
          "register key 1 register_runner runner=x queue=q2: ok", "no key stop_runner runner=x: ok",
          "no key start_runner runner=x: ok", "no key start_all: ok", "no key stop_all: ok", "no key start_all: ok",
          "user key 1 jobs.create runner=r job=j: ok", "user key 2 job.start job=j: ok",
          "user key 1 job.run runner=r job=e: ok", "user key 1 job.stop job=j: -32003",
          "user key 1 job.start job=nobody: -32002", "user key 1 job.delete job=j: ok",
          "no key remove_runner runner=x: ok", "no key remove_runner runner=x: -32002",
          "admin key 1 runner.move runner=r node=n9: \(try code(of: "runner.move", in: lines))",
          "admin key 1 node.drain node=n9: \(try code(of: "node.drain", in: lines))",
          "admin key 1 cluster.forget node=n9: -32002", "admin key 1 store.confirm_clock: ok",
          "admin key 1 key.create named=k: ok", "admin key 1 key.revoke named=k: ok",
        ])
      // All methods were called, so that a new one that changes something is not forgotten.
      let called = Set(reading.map(\.0)).union(
        lines.compactMap { $0.firstMatch(of: #/ key(?: \d)? ([a-z_.]+)/#)?.1 }.map(String.init))
      let all = SupervisorAPI.openRPCDocument["methods"]?.arrayValue?.compactMap { $0["name"]?.stringValue } ?? []
      #expect(Set(all).subtracting(called).subtracting(["job.result"]) == [])
    }
  }

  /// The code with which the call of a method ended, which is not 0.
  private func code(of method: String, in lines: [String]) throws -> String {
    let line = try #require(lines.first { $0.contains(" \(method) ") })
    return try #require(line.firstMatch(of: /: (-\d+)$/)).1.description
  }

  @Test("has each refusal of a key, of methods that only read too, and never a key")
  func refusals() async throws {
    try await run(open: false) { node, record in
      _ = try await node.error("job.stop", ["job_id": "j"])
      _ = try await node.error("job.stop", ["secret": "guess-77", "job_id": "j"])
      _ = try await node.error("job.stop", ["secret": .string(Key.register), "job_id": "j"])
      _ = try await node.error("list_runners", [])
      let answer = try await node.post(
        #"{"jsonrpc":"2.0","id":1,"method":"jobs.list"}"#, headers: ["Authorization: Bearer guess-78"])
      #expect(answer.text.contains("-32001"))
      for entry in record.entries.withLock({ $0 }) {
        #expect(entry.kind == .refusal)
        #expect(entry.peer?.description.hasPrefix("127.0.0.1:") == true)
        #expect(!"\(entry)".contains("guess") && !"\(entry)".contains(Key.register))
      }
      #expect(
        record.take() == [
          "no key job.stop job=j: -32001", "unknown key job.stop job=j: -32001",
          "register key 1 job.stop job=j: -32001", "no key list_runners: -32001", "unknown key jobs.list: -32001",
        ])
    }
  }

  @Test("has refusals that are no calls: of the metrics, and of large requests before they are parsed")
  func refusalsBesideCalls() async throws {
    try await run(open: false) { node, record in
      for headers in [[], ["Authorization: Bearer guess-79"]] {
        let answer = try await node.exchange("GET", "/metrics", headers: headers)
        #expect(answer.status == 401)
      }
      let payload = String(repeating: "x", count: 100_000)
      for secret in ["", #""secret":"guess-80","#] {
        let body = #"{"jsonrpc":"2.0","id":1,"method":"job.run","params":{\#(secret)"job":"\#(payload)"}}"#
        let answer = try await node.post(body)
        #expect(answer.text.contains("-32001"))
      }
      #expect(
        record.take() == [
          "no key GET /metrics: -32001", "unknown key GET /metrics: -32001", "no key a large request: -32001",
          "unknown key a large request: -32001",
        ])
    }
  }

  @Test("has one entry for each call of a batch, notifications too")
  func batch() async throws {
    try await run { node, record in
      let call = #"{"jsonrpc":"2.0","method":"job.delete","params":{"secret":"\#(Key.user)","job_id":"J"}"#
      let body = (0..<5).map { "\(call.replacing("J\"", with: "j\($0)\""))\($0 == 4 ? "" : ",\"id\":\($0)")}" }
      _ = try await node.post("[\(body.joined(separator: ","))]")
      #expect(record.take().sorted() == (0..<5).map { "user key 1 job.delete job=j\($0): -32002" })
    }
  }

  @Test("names the key that nobody configured, and bounds what a caller names")
  func names() async throws {
    let isKept: @Sendable (String) -> Bool = { $0 != "job.delete" }
    try await run(hasOnlyLocalKey: true, keeps: isKept) { node, record in
      _ = try await node.error(
        "job.stop", ["secret": .string(Key.admin), "job_id": .string(String(repeating: "é", count: 5000))])
      _ = try await node.error("job.stop", ["secret": .string(Key.admin), "job_id": 7])
      _ = try await node.error("job.delete", ["secret": .string(Key.admin), "job_id": "j"])
      _ = try await node.error("job.delete", ["secret": "guess-77", "job_id": "j"])
      let lines = record.take()
      #expect(lines.count == 3 && lines[0].hasPrefix("local key job.stop job=éé") && lines[0].utf8.count < 320)
      #expect(lines[1...] == ["local key job.stop: -32602", "unknown key job.delete job=j: -32001"])
    }
  }
}
