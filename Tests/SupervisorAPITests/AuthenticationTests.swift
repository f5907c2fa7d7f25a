// Who may call what: secrets as parameters, bearer keys, scopes, open methods; and that no answer repeats a key.

import JSONRPC
import Testing

@Suite("Keys and scopes", .timeLimit(.minutes(5)))
struct AuthenticationTests {
  /// Methods that take a secret, with otherwise good parameters.
  private static let secretMethods: [(method: String, scope: String, params: JSON)] = [
    ("jobs.create", "user", ["job": job("new", executor: "echo")]),
    ("job.run", "user", ["job": job("j", executor: "echo")]),
    ("job.start", "user", ["job_id": "j"]), ("job.stop", "user", ["job_id": "j"]),
    ("job.delete", "user", ["job_id": "j"]), ("register_runner", "register", ["name": "n", "queue": "q"]),
  ]

  /// Methods of the seed that take none; the scope of the bearer key that they need, `any` if any will do.
  private static let openMethods: [(method: String, scope: String, params: JSON)] = [
    ("list_runners", "any", []), ("jobs.list", "user", []), ("job.status", "user", ["j"]),
    ("job.result", "user", ["j"]),
    ("remove_runner", "register", ["nobody"]), ("start_runner", "register", ["r"]),
    ("stop_runner", "register", ["r", true]),
    ("get_runner_status", "any", ["r"]), ("get_all_runner_status", "any", []), ("start_all", "register", []),
    ("stop_all", "register", []), ("get_all_status", "any", []), ("jobs.query", "user", [[:]]),
    ("job.logs", "user", [["job_id": "j"]]),
  ]

  /// The error code of an answer, `nil` for a result; a bearer key besides, if given.
  private func code(
    _ node: TestNode, _ method: String, _ params: JSON, bearer: String? = nil
  ) async throws -> Int64? {
    let request: JSON = ["jsonrpc": "2.0", "id": 1, "method": .string(method), "params": params]
    let answer = try await node.post(request.text, headers: bearer.map { ["Authorization: \($0)"] } ?? [])
    for key in [Key.admin, Key.user, Key.register, "guess-77"] {
      #expect(!answer.text.contains(key), "\(method) repeats a key: \(answer.text)")
    }
    let json = try answer.json()
    if json["error"] == nil { #expect(json["result"] != nil) }
    return json["error"]?["code"]?.intValue
  }

  @Test("methods that take a secret refuse a wrong, missing or empty one, and one of another scope")
  func secrets() async throws {
    try await TestNode.run { node async throws in
      #expect(try await node.run(job("j", executor: "echo")) == ["success": ""])
      for (method, scope, params) in Self.secretMethods {
        let foreign = scope == "user" ? Key.register : Key.user
        for secret: JSON? in [nil, "", .null, "guess-77", .string(foreign), .string(Key.admin + " "), "\u{0}"] {
          let given = params.with("secret", value: secret)
          #expect(try await code(node, method, given) == -32001, "\(method) \(secret?.text ?? "none")")
          #expect(try await code(node, method, [given]) == -32001, "\(method) \(secret?.text ?? "none")")
        }
        // Of another type it is a wrong parameter, not a guess.
        for secret: JSON in [1, ["guess-77"], ["secret": "guess-77"], true] {
          #expect(try await code(node, method, params.with("secret", value: secret)) == -32602)
        }
      }
      #expect(try await node.call("list_runners") == ["r"])
      #expect(try await node.call("jobs.list").arrayValue?.count == 1)
    }
  }

  @Test("the key of the scope and an admin key open a method, as a parameter or as a bearer key")
  func scopes() async throws {
    try await TestNode.run { node async throws in
      for (method, scope, params) in Self.secretMethods {
        let own = scope == "user" ? Key.user : Key.register
        for key in [own, Key.admin] {
          #expect(try await code(node, method, params.with("secret", value: .string(key))) != -32001, "\(method)")
          for bearer in ["Bearer \(key)", "bearer \(key)", "BEARER   \(key)"] {
            #expect(try await code(node, method, params, bearer: bearer) != -32001, "\(method) \(bearer)")
          }
        }
        for bearer in ["Bearer guess-77", "Basic \(own)", "Bearer", "Bearer ", own, "Bearer \(own)x"] {
          #expect(try await code(node, method, params, bearer: bearer) == -32001, "\(method) \(bearer)")
        }
        // A wrong secret is not mended by the header.
        let wrong = params.with("secret", value: "guess-77")
        #expect(try await code(node, method, wrong, bearer: "Bearer \(own)") == -32001)
      }
    }
  }

  @Test("without open methods the seed's other methods need a bearer key of their scope")
  func closedMethods() async throws {
    var options = TestNode.Options()
    options.hasOpenMethods = false
    try await TestNode.run(options) { node async throws in
      #expect(try await node.run(job("j", executor: "echo")) == ["success": ""])
      for (method, scope, params) in Self.openMethods {
        for bearer in [nil, "Bearer guess-77", "Basic \(Key.admin)", "Bearer "] {
          #expect(try await code(node, method, params, bearer: bearer) == -32001, "\(method) \(bearer ?? "no key")")
        }
        for (name, key) in [("admin", Key.admin), ("user", Key.user), ("register", Key.register)] {
          let isAllowed = scope == "any" || name == "admin" || name == scope
          let code = try await code(node, method, params, bearer: "Bearer \(key)")
          #expect((code == -32001) != isAllowed, "\(method) with the key of scope \(name): \(code ?? 0)")
        }
      }
      // What the API is, is no secret.
      #expect(try await code(node, "rpc.discover", []) == nil)
    }
  }

  @Test("open methods need no key, but a wrong one is refused all the same")
  func openMethods() async throws {
    try await TestNode.run { node async throws in
      #expect(try await node.run(job("j", executor: "echo")) == ["success": ""])
      for (method, _, params) in Self.openMethods {
        #expect(try await code(node, method, params) != -32001, "\(method)")
        #expect(try await code(node, method, params, bearer: "Bearer guess-77") == -32001, "\(method)")
      }
    }
  }

  @Test("our own methods take the secret as a parameter as well", arguments: ["jobs.query", "job.logs"])
  func secretOfOurMethods(method: String) async throws {
    var options = TestNode.Options()
    options.hasOpenMethods = false
    try await TestNode.run(options) { node async throws in
      #expect(try await node.run(job("j", executor: "echo")) == ["success": ""])
      let params: JSON = method == "job.logs" ? ["job_id": "j"] : [:]
      for key in [Key.admin, Key.user] {
        #expect(try await code(node, method, params.with("secret", value: .string(key))) == nil)
      }
      for key in [Key.register, "guess-77", ""] {
        #expect(try await code(node, method, params.with("secret", value: .string(key))) == -32001)
      }
    }
  }

  @Test("an unauthorized call says what is missing, in an object")
  func reasons() async throws {
    try await TestNode.run { node async throws in
      let params: JSON = ["job_id": "j"]
      let missing = try await node.error("job.stop", params)
      #expect(missing.message.contains("params.secret") && missing.message.contains("Authorization: Bearer"))
      let unknown = try await node.error("job.stop", params.with("secret", value: "guess-77"))
      #expect(unknown.message.contains("not known"))
      let scope = try await node.error("job.stop", params.with("secret", value: .string(Key.register)))
      #expect(scope.message.contains("\"user\""))
      for error in [missing, unknown, scope] {
        #expect(error.code == -32001 && error.data["reason"]?.stringValue?.isEmpty == false)
      }
      // A caller without a key does not learn which jobs there are.
      try await node.create(job("there"))
      let there = try await node.error("job.delete", ["secret": "guess-77", "job_id": "there"])
      let absent = try await node.error("job.delete", ["secret": "guess-77", "job_id": "absent"])
      #expect(there.code == absent.code && there.message == absent.message && there.data == absent.data)
    }
  }
}
