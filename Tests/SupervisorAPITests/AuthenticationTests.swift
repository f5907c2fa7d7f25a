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

  /// Methods whose contract has none; the scope of the key that they need, `any` if any will do; their parameters by
  /// position and by name.
  private static let openMethods: [(method: String, scope: String, params: JSON, named: JSON)] = [
    ("list_runners", "any", [], [:]), ("jobs.list", "user", [], [:]),
    ("job.status", "user", ["j"], ["job_id": "j"]), ("job.result", "user", ["j"], ["job_id": "j"]),
    ("remove_runner", "register", ["nobody"], ["actor_id": "nobody"]),
    ("start_runner", "register", ["r"], ["actor_id": "r"]),
    ("stop_runner", "register", ["r", true], ["actor_id": "r", "force": true]),
    ("get_runner_status", "any", ["r"], ["actor_id": "r"]), ("get_all_runner_status", "any", [], [:]),
    ("start_all", "register", [], [:]), ("stop_all", "register", [], ["force": true]),
    ("get_all_status", "any", [], [:]), ("jobs.query", "user", [[:]], [:]),
    ("job.logs", "user", [["job_id": "j"]], ["job_id": "j"]), ("cluster.members", "any", [], [:]),
    ("cluster.status", "any", [], [:]),
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

  @Test(
    "what is nearly a key is none: shorter or longer at either end, or changed there, as a parameter or as a bearer")
  func nearKeys() async throws {
    func near(_ key: String) -> [String] {
      let (first, last) = (key.first!, key.last!)
      let (other, another) = (first == "x" ? "y" : "x", last == "x" ? "y" : "x")
      return [
        String(key.dropLast()), String(key.dropFirst()), String(first), key + "x", key + String(last), "x" + key,
        key + key,
        other + String(key.dropFirst()), String(key.dropLast()) + another, key.uppercased(),
        String(key.dropLast()) + "\u{301}",
      ]
    }
    var options = TestNode.Options()
    options.openMethods = .closed(reason: "the test")
    try await TestNode.run(options) { node async throws in
      for key in [Key.admin, Key.user, Key.register] {
        #expect(try await code(node, "list_runners", ["secret": .string(key)]) == nil)
        for guess in near(key) where guess != key {
          #expect(try await code(node, "list_runners", ["secret": .string(guess)]) == -32001, "\(guess)")
          guard guess.utf8.allSatisfy({ $0 < 0x80 }) else { continue }
          #expect(try await code(node, "list_runners", [], bearer: "Bearer \(guess)") == -32001, "\(guess)")
        }
      }
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

  private static var closed: TestNode.Options {
    var options = TestNode.Options()
    options.openMethods = .closed(reason: "auth.user_secrets is set")
    return options
  }

  @Test("closed methods need a key of their scope, as a bearer key or as the parameter secret by name")
  func closedMethods() async throws {
    try await TestNode.run(Self.closed) { node async throws in
      #expect(try await node.run(job("j", executor: "echo")) == ["success": ""])
      for (method, scope, params, named) in Self.openMethods {
        for bearer in [nil, "Bearer guess-77", "Basic \(Key.admin)", "Bearer "] {
          #expect(try await code(node, method, params, bearer: bearer) == -32001, "\(method) \(bearer ?? "no key")")
        }
        for secret: JSON in ["", .null, "guess-77"] {
          #expect(
            try await code(node, method, named.with("secret", value: secret)) == -32001, "\(method) \(secret.text)")
        }
        #expect(try await code(node, method, named.with("secret", value: 1)) == -32602, "\(method)")
        for (name, key) in [("admin", Key.admin), ("user", Key.user), ("register", Key.register)] {
          let isAllowed = scope == "any" || name == "admin" || name == scope
          for code in [
            try await code(node, method, params, bearer: "Bearer \(key)"),
            try await code(node, method, named.with("secret", value: .string(key))),
          ] {
            #expect((code == -32001) != isAllowed, "\(method) with the key of scope \(name): \(code ?? 0)")
            #expect(code != -32602, "\(method)")
          }
        }
      }
      // What the API is, is no secret.
      #expect(try await code(node, "rpc.discover", []) == nil)
      #expect(try await code(node, "rpc.discover", ["secret": "guess-77"]) == nil)
    }
  }

  @Test("positions are the contract's: a secret by position is a value too many")
  func positions() async throws {
    try await TestNode.run(Self.closed) { node async throws in
      let key = JSON.string(Key.admin)
      #expect(try await code(node, "list_runners", [key]) == -32602)
      #expect(try await code(node, "job.status", ["j", key]) == -32602)
    }
  }

  @Test("a refusal names the setting that closed the methods")
  func closingReason() async throws {
    try await TestNode.run(Self.closed) { node async throws in
      let error = try await node.error("list_runners")
      #expect(error.code == -32001 && error.data["reason"] == "auth.user_secrets is set")
      #expect(error.message.contains("since auth.user_secrets is set"))
    }
  }

  @Test("open methods need no key, but a wrong one is refused all the same")
  func openMethods() async throws {
    try await TestNode.run { node async throws in
      #expect(try await node.run(job("j", executor: "echo")) == ["success": ""])
      for (method, _, params, named) in Self.openMethods {
        #expect(try await code(node, method, params) != -32001, "\(method)")
        #expect(try await code(node, method, params, bearer: "Bearer guess-77") == -32001, "\(method)")
        #expect(try await code(node, method, named.with("secret", value: "guess-77")) == -32001, "\(method)")
      }
    }
  }

  @Test("/metrics is open as those methods are, and takes any key; the other pages need none")
  func pages() async throws {
    try await TestNode.run(Self.closed) { node async throws in
      for bearer in [nil, "Bearer guess-77", "Basic \(Key.admin)"] {
        let page = try await node.exchange("GET", "/metrics", headers: bearer.map { ["Authorization: \($0)"] } ?? [])
        #expect(page.status == 401 && page.headers["www-authenticate"] == "Bearer")
        #expect(!page.text.contains("hero_"))
      }
      #expect(try await node.exchange("GET", "/metrics").text.contains("auth.user_secrets is set"))
      for key in [Key.admin, Key.user, Key.register] {
        let page = try await node.exchange("GET", "/metrics", headers: ["Authorization: Bearer \(key)"])
        #expect(page.status == 200 && page.text.contains("\nhero_open_methods 0\n"))
      }
      for path in ["/health", "/ready", "/openrpc.json", "/"] {
        #expect(try await node.exchange("GET", path).status == 200)
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
