import Foundation
import JSONRPC
import SupervisorClient
import Testing

/// Keys in a cluster of real nodes, each with an embedded store and a data directory of its own.
@Suite("Keys in a cluster", .timeLimit(.minutes(10)))
struct KeyClusterTests {
  private func create(_ name: String, scopes: JSON, at node: String, in scene: ClusterScene) async throws -> String {
    let answer = try await scene.admin("key.create", ["name": .string(name), "scopes": scopes], at: node)
    return try #require(answer["key"]?.stringValue)
  }

  /// The code of the error with which a node refuses a key; 0 when it takes it.
  private func code(_ key: String, at node: String, in scene: ClusterScene) async throws -> Int {
    do {
      _ = try await scene.call(node, "jobs.query", ["params": ["secret": .string(key), "limit": 1]])
      return 0
    } catch ClientError.rpc(let code, _, _) {
      return code
    }
  }

  @Test("a key is known to all nodes when it is answered, and so is its revocation")
  func everywhere() async throws {
    try await ClusterScene.run { scene in
      let names = ["n1", "n2", "n3"]
      try await scene.start(names)
      for (number, maker) in names.enumerated() {
        let made = ContinuousClock.now
        let key = try await create("k\(number)", scopes: ["read"], at: maker, in: scene)
        try await scene.eventually("all take the key", within: 10) {
          for name in names where try await code(key, at: name, in: scene) != 0 { return false }
          return true
        }
        #expect(made.duration(to: .now) < .seconds(2), "within a second, on a busy machine within two")
        let revoked = ContinuousClock.now
        let other = names[(number + 1) % 3]
        _ = try await scene.admin("key.revoke", ["name": .string("k\(number)")], at: other)
        try await scene.eventually("all refuse the key", within: 10) {
          for name in names where try await code(key, at: name, in: scene) != -32001 { return false }
          return true
        }
        #expect(revoked.duration(to: .now) < .seconds(2))
      }
    }
  }

  @Test("a key for one runner gets no other runner's job of the same id, however it asks for it")
  func otherJobOfTheSameID() async throws {
    try await ClusterScene.run { scene in
      try await scene.start(["n1", "n2"])
      try await scene.register("mine", at: "n1")
      try await scene.register("theirs", at: "n2")
      #expect(try await scene.run("x", on: "theirs", "echo secret", at: "n2") == ["success": "secret\n"])
      let answer = try await scene.admin(
        "key.create", ["name": "limited", "scopes": ["user"], "runners": ["mine"]], at: "n1")
      let key = try #require(answer["key"]?.stringValue)
      func call(_ method: String, _ fields: JSONObject) async throws(ClientError) -> JSON {
        var fields = fields
        fields["secret"] = .string(key)
        return try await scene.call("n1", method, .object(fields))
      }
      func refusal(_ method: String, _ fields: JSONObject) async -> Int {
        do {
          _ = try await call(method, fields)
          return 0
        } catch { return error.code ?? 1 }
      }
      #expect(await refusal("job.result", ["job_id": "x"]) == -32002)
      // One of its own, which goes while its result is waited for; the wait begins earlier or later.
      let job: JSON = [
        "id": "x", "caller_id": "", "context_id": "", "payload": "true", "runner": "mine", "executor": "shell",
        "timeout": 0, "env_vars": [:], "created_at": "", "updated_at": "",
      ]
      for calls in 0..<40 {
        _ = try await scene.call("n1", "jobs.create", ["params": ["secret": .string(key), "job": job]])
        let waiting = Task { await refusal("job.result", ["job_id": "x"]) }
        for _ in 0..<calls { _ = await refusal("job.status", ["job_id": "x"]) }
        _ = try await scene.call("n1", "job.delete", ["params": ["secret": .string(key), "job_id": "x"]])
        #expect(await waiting.value == -32002)
      }
      #expect(await refusal("job.result", ["job_id": "x"]) == -32002)
      // Who may see all still does.
      #expect(try await scene.call("n1", "job.result", ["x"]) == ["success": "secret\n"])
    }
  }

  @Test("a key that is made at one node closes the open methods of all, at once, and after a restart")
  func closing() async throws {
    try await ClusterScene.run(hasKeys: false) { scene in
      let names = ["n1", "n2"]
      try await scene.start(names)
      for name in names { #expect(try await codeWithoutKey(at: name, in: scene) == 0) }
      let key = try await create("ci", scopes: ["read"], at: "n1", in: scene)
      for name in names {
        #expect(try await codeWithoutKey(at: name, in: scene) == -32001)
        #expect(try await code(key, at: name, in: scene) == 0)
      }
      _ = try await scene.admin("key.revoke", ["name": "ci"], at: "n2")
      await scene.kill("n1")
      try await scene.start("n1", knowsOthers: false)
      #expect(try await codeWithoutKey(at: "n1", in: scene) == -32001)
      #expect(await scene.log("n1").contains("the API needs a key for everything reason=\"a key was created\""))
      #expect(await !scene.log("n1").contains("the API needs no key"))
    }
  }

  private func codeWithoutKey(at node: String, in scene: ClusterScene) async throws -> Int {
    let endpoint = try #require(await scene.endpoints[node])
    let client = SupervisorClient(endpoints: [try Endpoint(parsing: endpoint)], loop: scene.loop)
    var code = 0
    do { _ = try await client.call("list_runners", .array([]), timeout: .seconds(30)) } catch ClientError.rpc(
      let refused, _, _)
    {
      code = refused
    }
    await client.close()
    return code
  }

  @Test("what was answered outlives kill -9 of all nodes at once")
  func killed() async throws {
    try await ClusterScene.run { scene in
      try await scene.start(["n1", "n2"])
      let key = try await create("kept", scopes: ["read"], at: "n1", in: scene)
      let gone = try await create("gone", scopes: ["read"], at: "n1", in: scene)
      _ = try await scene.admin("key.revoke", ["name": "gone"], at: "n1")
      await scene.kill("n1")
      await scene.kill("n2")
      // Alone: only its own disk can tell it.
      try await scene.start("n1", knowsOthers: false)
      #expect(try await code(key, at: "n1", in: scene) == 0)
      #expect(try await code(gone, at: "n1", in: scene) == -32001)
    }
  }

  @Test("a node that returns with the disk of before the revocation brings the key back nowhere, and refuses it itself")
  func oldDisk() async throws {
    try await ClusterScene.run { scene in
      try await scene.start(["n1", "n2", "n3"])
      let key = try await create("ci", scopes: ["read"], at: "n2", in: scene)
      try await scene.eventually("it is on the disk of n3") {
        FileManager.default.contents(atPath: scene.dataDirectory("n3") + "/records") != nil
      }
      await scene.kill("n3")
      let (directory, copy) = (scene.dataDirectory("n3"), scene.dataDirectory("n3.copy"))
      // A socket cannot be copied.
      try? FileManager.default.removeItem(atPath: directory + "/api.sock")
      try FileManager.default.copyItem(atPath: directory, toPath: copy)
      let old = try #require(FileManager.default.contents(atPath: directory + "/records"))
      try await scene.start("n3")
      try await scene.sees("n3", ["n1": "alive", "n2": "alive"])
      _ = try await scene.admin("key.revoke", ["name": "ci"], at: "n1")
      await scene.kill("n3")
      try FileManager.default.removeItem(atPath: directory)
      try FileManager.default.moveItem(atPath: copy, toPath: directory)
      // By itself it still takes the key: that is the disk of then.
      try await scene.start("n3")
      try await scene.eventually("n3 refuses the key") { try await code(key, at: "n3", in: scene) == -32001 }
      for name in ["n1", "n2"] { #expect(try await code(key, at: name, in: scene) == -32001) }
      try await scene.eventually("n3 has it on its disk") {
        FileManager.default.contents(atPath: directory + "/records") != old
      }
    }
  }

  @Test("a damaged file of records stops the start, and says what to do")
  func damaged() async throws {
    try await ClusterScene.run { scene in
      try await scene.start("n1")
      _ = try await create("ci", scopes: ["read"], at: "n1", in: scene)
      await scene.kill("n1")
      let path = scene.dataDirectory("n1") + "/records"
      var bytes = try #require(FileManager.default.contents(atPath: path))
      bytes[bytes.count / 2] ^= 1
      try bytes.write(to: URL(filePath: path))
      try await scene.start("n1", wait: false)
      let end = await scene.ended("n1")
      #expect(end.code == 1 && end.log.contains("records: it is damaged") && end.log.contains("restore the file"))
    }
  }
}
