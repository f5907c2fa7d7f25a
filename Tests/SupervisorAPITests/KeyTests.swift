// Keys that are made and revoked at run time: what each may do, what becomes of it, and that no key is kept or repeated.

import ExactText
import Foundation
import Gossip
import JSONRPC
import Supervisor
import Synchronization
import Testing

@testable import Cluster
@testable import SupervisorAPI

@Suite("Keys at run time", .timeLimit(.minutes(5)))
struct KeyTests {
  private static var twoRunners: TestNode.Options {
    var options = TestNode.Options()
    options.runners = [runner("r", queue: "r"), runner("s", queue: "s")]
    return options
  }

  private func create(
    _ node: TestNode, _ name: String, _ scopes: [String], runners: [String]? = nil, expires: String? = nil
  ) async throws -> String {
    var params: JSONObject = [
      "secret": .string(Key.admin), "name": .string(name), "scopes": .array(scopes.map(JSON.string)),
    ]
    if let runners { params["runners"] = .array(runners.map(JSON.string)) }
    if let expires { params["expires_at"] = .string(expires) }
    let answer = try await node.call("key.create", .object(params))
    return try #require(answer["key"]?.stringValue)
  }

  private func revoke(_ node: TestNode, _ name: String) async throws {
    #expect(try await node.call("key.revoke", ["secret": .string(Key.admin), "name": .string(name)]) == .null)
  }

  /// What a call by a bearer key answers.
  private func answer(
    _ node: TestNode, _ method: String, _ params: JSON = [], key: String?
  ) async throws -> (result: JSON?, code: Int64?, message: String) {
    let request: JSON = ["jsonrpc": "2.0", "id": 1, "method": .string(method), "params": params]
    let text = try await node.post(request.text, headers: key.map { ["Authorization: Bearer \($0)"] } ?? [])
    let json = try text.json()
    return (json["result"], json["error"]?["code"]?.intValue, json["error"]?["message"]?.stringValue ?? "")
  }

  // MARK: What a key may do

  /// What a call is about, which decides how a limited key is refused.
  private enum About { case runner, job, list, cluster, nothing }

  /// Every method that takes a key; the scopes that it needs besides admin, and parameters about runner `r` or job `jr`.
  private static let methods: [(name: String, scopes: [Scope], params: JSON, about: About)] = [
    ("jobs.create", [.user], ["job": job("jr", executor: "echo")], .runner),
    ("job.run", [.user], ["job": job("jr", executor: "echo")], .runner),
    ("job.start", [.user], ["job_id": "jr"], .job), ("job.stop", [.user], ["job_id": "jr"], .job),
    ("job.status", [.user, .read], ["jr"], .job), ("job.result", [.user, .read], ["jr"], .job),
    ("job.logs", [.user, .read], ["job_id": "jr"], .job),
    ("jobs.query", [.user, .read], ["runner": "r"], .runner), ("jobs.query", [.user, .read], [:], .list),
    ("jobs.list", [.user, .read], [], .list),
    ("register_runner", [.register], ["name": "r", "queue": "r"], .runner),
    ("start_runner", [.register], ["r"], .runner), ("stop_runner", [.register], ["r", false], .runner),
    ("start_runner", [.register], ["r"], .runner), ("stop_all", [.register], [], .list),
    ("start_all", [.register], [], .list),
    ("get_runner_status", [.user, .register, .read], ["r"], .runner),
    ("list_runners", [.user, .register, .read], [], .list),
    ("get_all_runner_status", [.user, .register, .read], [], .list),
    ("get_all_status", [.user, .register, .read], [], .list),
    ("cluster.members", [.user, .register, .read], [], .cluster),
    ("cluster.status", [.user, .register, .read], [], .cluster),
    ("runner.move", [], ["name": "nobody", "node": "n9"], .nothing), ("node.drain", [], ["node": "n9"], .nothing),
    ("cluster.forget", [], ["node": "n9"], .nothing), ("store.confirm_clock", [], [:], .nothing),
    ("key.create", [], ["name": "x", "scopes": []], .nothing), ("key.list", [], [:], .nothing),
    ("key.revoke", [], ["name": "nobody"], .nothing),
  ]

  @Test("each method is open to its scopes, and a limited key sees and touches the jobs of its runners only")
  func matrix() async throws {
    var options = Self.twoRunners
    options.openMethods = .closed(reason: "the test")
    try await TestNode.run(options) { node async throws in
      for name in ["r", "s"] {
        var job = job("j\(name)", executor: "echo").objectValue!
        job["runner"] = .string(name)
        #expect(try await node.run(.object(job)) == ["success": ""])
      }
      var number = 0
      for scope in Scope.allCases {
        for runners in [nil, ["r"], ["s"], ["r", "s"], ["absent"]] as [[String]?] {
          if scope == .admin && runners != nil { continue }
          number += 1
          let key = try await create(node, "k\(number)", [scope.rawValue], runners: runners)
          for (method, scopes, params, about) in Self.methods {
            let what = "\(method) by \(scope) for \(runners ?? ["all"])"
            let (result, code, message) = try await answer(node, method, params, key: key)
            #expect(!message.contains(key))
            guard scope == .admin || scopes.contains(scope) else {
              #expect(code == -32001, "\(what): \(code ?? 0)")
              continue
            }
            let sees = runners?.contains("r") ?? true
            switch about {
            case .runner: #expect((code == -32001) == !sees, "\(what): \(code ?? 0)")
            case .job: #expect(code == (sees ? code : -32002) && code != -32001, "\(what): \(code ?? 0)")
            case .cluster: #expect((code == -32001) == (runners != nil), "\(what): \(code ?? 0)")
            case .nothing: #expect(code != -32001, "\(what): \(code ?? 0)")
            case .list:
              let names = try names(in: #require(result, "\(what): \(message)"))
              #expect(names == (runners ?? ["r", "s"]).filter { $0 != "absent" }, "\(what): \(names)")
            }
            if about == .job, sees { #expect(code == nil || code == -32003, "\(what): \(code ?? 0)") }
          }
        }
      }
    }
  }

  /// The runners that a list speaks of, each once.
  private func names(in list: JSON) throws -> [String] {
    let elements = try #require(list["jobs"]?.arrayValue ?? list.arrayValue)
    let names = elements.map { element in
      element.stringValue ?? element["runner"]?.stringValue ?? element["name"]?.stringValue
        ?? element.arrayValue?.first?.stringValue ?? "?"
    }
    return Set(names).sorted()
  }

  @Test("a key of several scopes may do what each of them allows")
  func severalScopes() async throws {
    try await TestNode.run { node async throws in
      let key = try await create(node, "both", ["register", "read", "read"])
      #expect(try await answer(node, "jobs.list", key: key).code == nil)
      #expect(try await answer(node, "start_all", key: key).code == nil)
      #expect(try await answer(node, "job.stop", ["job_id": "j"], key: key).code == -32001)
    }
  }

  @Test("a limited key deletes its own jobs and removes its own runners, and no others, and joins no queue of others")
  func limitedChanges() async throws {
    try await TestNode.run(Self.twoRunners) { node async throws in
      let key = try await create(node, "k", ["user", "register"], runners: ["r", "t"])
      for name in ["r", "s"] {
        var job = job("j\(name)", executor: "echo").objectValue!
        job["runner"] = .string(name)
        try await node.create(.object(job))
      }
      let foreign = try await answer(node, "job.delete", ["job_id": "js"], key: key)
      let absent = try await answer(node, "job.delete", ["job_id": "jx"], key: key)
      // A job of others is told from none by nothing but the name that was asked for.
      #expect(foreign.code == -32002 && absent.code == -32002)
      #expect(foreign.message.replacing("js", with: "jx") == absent.message)
      #expect(try await node.status("js") == "created")
      #expect(try await answer(node, "job.delete", ["job_id": "jr"], key: key).code == nil)
      #expect(try await answer(node, "remove_runner", ["s"], key: key).code == -32001)
      #expect(try await answer(node, "register_runner", ["name": "t", "queue": "s"], key: key).code == -32001)
      #expect(try await answer(node, "register_runner", ["name": "u", "queue": "t"], key: key).code == -32001)
      #expect(try await answer(node, "register_runner", ["name": "t", "queue": "r"], key: key).code == nil)
      #expect(try await answer(node, "remove_runner", ["t"], key: key).code == nil)
      #expect(try await node.call("list_runners") == ["r", "s"])
    }
  }

  @Test("pages of a limited key lead through the jobs of its runners, whatever lies between them")
  func pages() async throws {
    var options = Self.twoRunners
    options.runners.append(runner("t", queue: "t"))
    try await TestNode.run(options) { node async throws in
      for number in 0..<60 {
        var job = job("j\(number)", executor: "echo").objectValue!
        job["runner"] = .string(number.isMultiple(of: 7) ? "r" : number == 59 ? "t" : "s")
        try await node.create(.object(job))
      }
      for runners in [["r"], ["r", "t"]] {
        let key = try await create(node, "k\(runners.count)", ["read"], runners: runners)
        var (seen, cursor): ([String], JSON) = ([], .null)
        for _ in 0..<60 {
          let page = try #require(
            try await answer(node, "jobs.query", ["limit": 3, "cursor": cursor], key: key).result)
          seen += page["jobs"]?.arrayValue?.compactMap { $0["id"]?.stringValue } ?? []
          cursor = page["next"] ?? .null
          if cursor == .null { break }
        }
        let expected = (runners.count == 2 ? [59] : []) + stride(from: 56, through: 0, by: -7)
        #expect(seen == expected.map { "j\($0)" })
        let list = try await answer(node, "jobs.list", key: key).result?.arrayValue?.compactMap {
          $0["id"]?.stringValue
        }
        #expect(list == seen)
      }
    }
  }

  // MARK: A key's life

  @Test("a key is shown once, and neither kept nor repeated; a list says what is known of it")
  func shownOnce() async throws {
    let directory = TemporaryDirectory()
    var options = TestNode.Options()
    options.records = "\(directory.path)/records"
    var key = ""
    try await TestNode.run(options) { node async throws in
      key = try await create(node, "ci", ["user", "read"], runners: ["r"], expires: "2999-01-01T00:00:00Z")
      #expect(key.utf8.count == 64)
      let list = try await node.call("key.list", ["secret": .string(Key.admin)])
      #expect(!list.text.contains(key))
      let entry = try #require(list.arrayValue?.first)
      #expect(entry["name"] == "ci" && entry["state"] == "valid" && entry["node"] == "n1")
      #expect(entry["scopes"] == ["user", "read"] && entry["runners"] == ["r"])
      #expect(entry["expires_at"] == "2999-01-01T00:00:00.000Z")
    }
    let file = try Data(contentsOf: URL(filePath: options.records!))
    #expect(file.range(of: Data(key.utf8)) == nil)
    // A restart knows it.
    try await TestNode.run(options) { node async throws in
      #expect(try await answer(node, "jobs.list", key: key).code == nil)
      try await revoke(node, "ci")
      #expect(try await answer(node, "jobs.list", key: key).code == -32001)
    }
    try await TestNode.run(options) { node async throws in
      #expect(try await answer(node, "jobs.list", key: key).message.contains("revoked"))
      // The name may be used again; the old key stays revoked.
      let next = try await create(node, "ci", ["read"])
      #expect(try await answer(node, "jobs.list", key: next).code == nil)
      #expect(try await answer(node, "jobs.list", key: key).code == -32001)
      // Not for a key that is forgotten before the revoked one may be.
      try await revoke(node, "ci")
      await #expect {
        try await create(node, "ci", ["read"], expires: "2998-01-01T00:00:00Z")
      } throws: {
        "\($0)".contains("must be remembered longer")
      }
      _ = try await create(node, "other", ["read"], expires: "2998-01-01T00:00:00Z")
    }
  }

  @Test("an expired key is refused from its instant on, and its name is free again")
  func expiry() async throws {
    try await TestNode.run { node async throws in
      let soon = Timestamp(milliseconds: Timestamp.now.milliseconds + 1500)
      let key = try await create(node, "ci", ["read"], expires: "\(soon)")
      if Timestamp.now < soon {
        let early = try await answer(node, "jobs.list", key: key).code
        #expect(early == nil || Timestamp.now >= soon)
      }
      let expires = await eventually {
        (try? await answer(node, "jobs.list", key: key).message.contains("expired")) ?? false
      }
      #expect(expires && Timestamp.now >= soon)
      #expect(try await node.call("key.list", ["secret": .string(Key.admin)]).arrayValue?.first?["state"] == "expired")
      _ = try await create(node, "ci", ["read"])
    }
  }

  @Test("a key that was made closes open methods at once, and they stay closed when it is revoked")
  func closesMethods() async throws {
    var options = TestNode.Options()
    options.openMethods = .toThisMachine
    try await TestNode.run(options) { node async throws in
      #expect(try await answer(node, "list_runners", key: nil).code == nil)
      let key = try await create(node, "ci", ["read"])
      let refused = try await answer(node, "list_runners", key: nil)
      #expect(refused.code == -32001 && refused.message.contains("since a key was created"))
      #expect(try await answer(node, "list_runners", key: key).code == nil)
      try await revoke(node, "ci")
      #expect(try await answer(node, "list_runners", key: nil).code == -32001)
      #expect(try await answer(node, "list_runners", key: Key.user).code == nil)
    }
  }

  @Test("a setting that opens the methods to all is not changed by a key")
  func openToAll() async throws {
    try await TestNode.run { node async throws in
      _ = try await create(node, "ci", ["read"])
      #expect(try await answer(node, "list_runners", key: nil).code == nil)
    }
  }

  @Test("metrics are for keys of all runners that read")
  func metrics() async throws {
    var options = TestNode.Options()
    options.openMethods = .closed(reason: "the test")
    try await TestNode.run(options) { node async throws in
      let all = try await create(node, "all", ["read"])
      let some = try await create(node, "some", ["read"], runners: ["r"])
      let worker = try await create(node, "worker", ["worker"])
      try await revoke(node, "worker")
      func status(_ key: String) async throws -> Int {
        try await node.exchange("GET", "/metrics", headers: ["Authorization: Bearer \(key)"]).status
      }
      #expect(try await status(all) == 200)
      #expect(try await status(some) == 401)
      #expect(try await status(worker) == 401)
      let page = try await node.exchange("GET", "/metrics", headers: ["Authorization: Bearer \(all)"]).text
      #expect(page.contains(#"hero_created_keys{state="valid"} 2"#))
      #expect(page.contains(#"hero_created_keys{state="revoked"} 1"#))
      #expect(page.contains(#"hero_wrong_keys_total{reason="revoked"} 1"#))
    }
  }

  // MARK: Errors

  @Test("wrong parameters are refused by name, with what was expected, and no key is made")
  func wrongParameters() async throws {
    try await TestNode.run { node async throws in
      let long = String(repeating: "x", count: 129)
      let many = JSON.array((0..<9).map { .string("\($0)" + String(repeating: "y", count: 120)) })
      let cases: [(JSON, String)] = [
        (["scopes": ["user"]], "params.name"), (["name": "", "scopes": ["user"]], "params.name"),
        (["name": .string(long), "scopes": ["user"]], "params.name"),
        (["name": "a\nb", "scopes": ["user"]], "params.name"), (["name": "k"], "params.scopes"),
        (["name": "k", "scopes": []], "params.scopes"), (["name": "k", "scopes": "user"], "params.scopes"),
        (["name": "k", "scopes": ["USER"]], "params.scopes"), (["name": "k", "scopes": [1]], "params.scopes"),
        (["name": "k", "scopes": ["user"], "runners": []], "params.runners"),
        (["name": "k", "scopes": ["user"], "runners": [""]], "params.runners"),
        (["name": "k", "scopes": ["user"], "runners": "r"], "params.runners"),
        (["name": "k", "scopes": ["user"], "runners": many], "params.runners"),
        (["name": "k", "scopes": ["user", "admin"], "runners": ["r"]], "params.runners"),
        (["name": "k", "scopes": ["user"], "expires_at": "tomorrow"], "params.expires_at"),
        (["name": "k", "scopes": ["user"], "expires_at": "2001-01-01T00:00:00Z"], "params.expires_at"),
        (["name": "k", "scopes": ["user"], "runner": "r"], "params.runner"),
      ]
      for (params, field) in cases {
        let error = try await node.error("key.create", params.with("secret", value: .string(Key.admin)))
        #expect(error.code == -32602 && error.data["field"]?.stringValue == field, "\(params.text): \(error.message)")
        #expect(error.data["expected"]?.stringValue?.isEmpty == false)
      }
      #expect(try await node.call("key.list", ["secret": .string(Key.admin)]) == [])
      let absent = try await node.error("key.revoke", ["secret": .string(Key.admin), "name": "nobody"])
      #expect(absent.code == -32002 && absent.data["key"] == "nobody")
      _ = try await create(node, "k", ["user"])
      let again = try await node.error(
        "key.create", ["secret": .string(Key.admin), "name": "k", "scopes": ["read"]])
      #expect(again.code == -32004 && again.data["key"] == "k")
      try await revoke(node, "k")
      try await revoke(node, "k")
    }
  }

  @Test("there are at most so many keys, and so many names of revoked ones; the error says what to do")
  func bounds() async throws {
    try await TestNode.run { node async throws in
      func fill(_ range: Range<Int>, isRemoved: Bool) async throws {
        for number in range {
          let key = CreatedKey(
            hash: CreatedKey.hash(of: "\(number)"), scopes: [.read], runners: nil, createdAt: .now, expiresAt: nil)
          await node.records.learned(
            Record(
              kind: CreatedKey.kind, name: ExactText("k\(number)"), version: 1, author: MemberName("n1"),
              isRemoved: isRemoved, body: key.body))
        }
      }
      try await fill(0..<SupervisorAPI.maximumKeys - 1, isRemoved: false)
      _ = try await create(node, "last", ["read"])
      let more = try await node.error("key.create", ["secret": .string(Key.admin), "name": "more", "scopes": ["read"]])
      #expect(more.code == -32003 && more.message.contains("4096") && more.message.contains("revoke"))
      try await revoke(node, "last")
      try await fill(SupervisorAPI.maximumKeys..<SupervisorAPI.maximumKeyRecords, isRemoved: true)
      let names = try await node.error(
        "key.create", ["secret": .string(Key.admin), "name": "more", "scopes": ["read"]])
      #expect(names.code == -32003 && names.message.contains("expires_at"))
      _ = try await create(node, "last", ["read"])
    }
  }

  @Test("a key whose record cannot be written is not made, and the error says so")
  func unwritable() async throws {
    let directory = TemporaryDirectory()
    var options = TestNode.Options()
    options.records = "\(directory.path)/absent/records"
    try await TestNode.run(options) { node async throws in
      let error = try await node.error("key.create", ["secret": .string(Key.admin), "name": "k", "scopes": ["read"]])
      #expect(error.code == -32009 && error.message.contains("disk"))
      try FileManager.default.createDirectory(atPath: "\(directory.path)/absent", withIntermediateDirectories: true)
      let key = try await create(node, "k", ["read"])
      #expect(try await answer(node, "list_runners", key: key).code == nil)
    }
  }

  // MARK: Who did it

  @Test("the audit trail names keys, expired and revoked ones too, and never the key itself")
  func audit() async throws {
    let entries = Mutex<[String]>([])
    var options = TestNode.Options()
    options.openMethods = .closed(reason: "the test")
    let record: @Sendable (AuditEntry) -> Void = { entry in
      let subjects = entry.subjects.map { " \($0.kind)=\($0.name)" }.joined()
      entries.withLock { $0.append("\(entry.key) \(entry.method)\(subjects): \(entry.code ?? 0)") }
    }
    options.audit = AuditTrail(hasOnlyLocalKey: false, keeps: { _ in true }, record: record)
    try await TestNode.run(options) { node async throws in
      let key = try await create(node, "ci", ["register"])
      let short = try await create(
        node, "short", ["user"], expires: "\(Timestamp(milliseconds: Timestamp.now.milliseconds + 500))")
      _ = try await answer(node, "start_runner", ["r"], key: key)
      _ = try await answer(node, "jobs.list", key: key)
      let expires = await eventually { (try? await answer(node, "list_runners", key: short).code == -32001) ?? false }
      #expect(expires)
      try await revoke(node, "ci")
      _ = try await answer(node, "start_runner", ["r"], key: key)
      _ = try await node.exchange("GET", "/metrics", headers: ["Authorization: Bearer \(key)"])
      // A large request, whose key is looked at before anything is built of it.
      let large: JSON = ["secret": .string(key), "job": job("j", String(repeating: "x", count: 100_000))]
      let refusal = try await answer(node, "jobs.create", large, key: nil)
      #expect(refusal.code == -32001 && refusal.message.contains("revoked"))
      let lines = entries.withLock { $0 }
      #expect(
        lines.filter { !$0.contains("list_runners: 0") } == [
          "admin key 1 key.create named=ci: 0", "admin key 1 key.create named=short: 0",
          "key \"ci\" start_runner runner=r: 0", "key \"ci\" jobs.list: -32001",
          "key \"short\" expired list_runners: -32001", "admin key 1 key.revoke named=ci: 0",
          "key \"ci\" revoked start_runner runner=r: -32001", "key \"ci\" revoked GET /metrics: -32001",
          "key \"ci\" revoked a large request: -32001",
        ])
      for line in lines { #expect(!line.contains(key) && !line.contains(short)) }
    }
  }

  // MARK: Bytes

  private static let sample = CreatedKey(
    hash: CreatedKey.hash(of: "abc"), scopes: [.user, .read], runners: [RunnerName(trusted: "r")],
    createdAt: Timestamp(milliseconds: 0x0102), expiresAt: Timestamp(milliseconds: 0x0304))

  @Test("the body of a key's record is these bytes")
  func goldenBytes() throws {
    // SHA-256 of "abc" (FIPS 180-2, appendix B.1).
    let hash: [UInt8] = [
      0xBA, 0x78, 0x16, 0xBF, 0x8F, 0x01, 0xCF, 0xEA, 0x41, 0x41, 0x40, 0xDE, 0x5D, 0xAE, 0x22, 0x23, 0xB0, 0x03,
      0x61, 0xA3, 0x96, 0x17, 0x7A, 0x9C, 0xB4, 0x10, 0xFF, 0x61, 0xF2, 0x00, 0x15, 0xAD,
    ]
    let bytes = [1] + hash + [10, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 3, 4, 1, 1, 0x72]
    #expect(Self.sample.body == bytes)
    #expect(CreatedKey(body: bytes) == Self.sample)
    for count in bytes.indices { #expect(CreatedKey(body: Array(bytes[..<count])) == nil) }
    #expect(CreatedKey(body: bytes + [0]) == nil)
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<10_000 {
      var changed = bytes
      changed[Int.random(in: changed.indices, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
      if let key = CreatedKey(body: changed) { #expect(key.body == changed) }
    }
  }

  @Test("the largest limit fits into a record")
  func largestLimit() {
    let names = (0..<255).map { RunnerName(trusted: "\($0)") }
    let room = CreatedKey.maximumRunnerBytes
    #expect(names.reduce(0) { $0 + 1 + $1.rawValue.utf8.count } <= room)
    let long = (0..<7).map { RunnerName(trusted: "\($0)" + String(repeating: "x", count: 127)) }
    for names in [names, long] {
      let key = CreatedKey(hash: Self.sample.hash, scopes: [.user], runners: names, createdAt: .now, expiresAt: nil)
      #expect(key.body.count <= Record.maximumBodyBytes && CreatedKey(body: key.body)?.runners == names)
    }
  }

  @Test("a revoked key is never forgotten before it would have expired, and without an expiry never")
  func forgetting() {
    func record(_ expires: Timestamp?, isRemoved: Bool = true) -> Record {
      let key = CreatedKey(hash: Self.sample.hash, scopes: [.user], runners: nil, createdAt: .now, expiresAt: expires)
      return Record(
        kind: CreatedKey.kind, name: "k", version: 1, author: MemberName("a"), isRemoved: isRemoved, body: key.body)
    }
    let year: UInt64 = 365 * 24 * 3_600_000
    for (expires, date, isKept) in [
      (nil, 500 * year, true), (Timestamp(milliseconds: Int64(year)), year + 1, true),
      (Timestamp(milliseconds: Int64(year)), year + 8 * 24 * 3_600_000, false),
    ] as [(Timestamp?, UInt64, Bool)] {
      var map = RecordMap(rules: KeyDirectory.rules)
      _ = map.merge(record(expires), date: 0)
      map.reap(date: date)
      #expect(map.all.isEmpty == !isKept)
    }
    // What is no key of this version is kept: it may be one of the next.
    var map = RecordMap(rules: KeyDirectory.rules)
    _ = map.merge(
      Record(kind: CreatedKey.kind, name: "k", version: 1, author: MemberName("a"), body: [99]), date: 0)
    map.reap(date: 500 * year)
    #expect(map.all.count == 1)
    let directory = KeyDirectory()
    directory.learn(map.all[0])
    #expect(directory.hasEverHadKeys)
  }
}
