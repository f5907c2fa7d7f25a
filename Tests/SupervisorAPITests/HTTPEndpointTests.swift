// JSON-RPC over HTTP, and the paths for operators and browsers.

import COpenSSL
import Foundation
import JSONRPC
import Testing

@Suite("The HTTP endpoint", .timeLimit(.minutes(5)))
struct HTTPEndpointTests {
  private let call = #"{"jsonrpc":"2.0","id":"x","method":"list_runners"}"#

  @Test("a call is answered at / and /rpc, with JSON", arguments: ["/", "/rpc", "/?trace=1"])
  func paths(path: String) async throws {
    try await TestNode.run { node async throws in
      let answer = try await node.post(call, to: path)
      #expect(answer.status == 200)
      #expect(answer.headers["content-type"] == "application/json")
      #expect(try answer.json() == ["jsonrpc": "2.0", "id": "x", "result": ["r"]])
    }
  }

  @Test("notifications are carried out and answered 204, one and many")
  func notifications() async throws {
    try await TestNode.run { node async throws in
      func register(_ name: String) -> String {
        let params: JSON = ["secret": .string(Key.register), "name": .string(name), "queue": "q"]
        return (["jsonrpc": "2.0", "method": "register_runner", "params": params] as JSON).text
      }
      for body in [register("a"), "[\(register("b")),\(register("c"))]", #"{"jsonrpc":"2.0","method":"nothing"}"#] {
        let answer = try await node.post(body)
        #expect(answer.status == 204 && answer.body.isEmpty)
        #expect(answer.headers["content-type"] == nil)
      }
      #expect(Set(try await node.call("list_runners").arrayValue ?? []) == ["r", "a", "b", "c"])
    }
  }

  @Test(
    "other content types are refused before the body is read as JSON",
    arguments: [
      nil, "text/plain", "application/x-www-form-urlencoded", "application/jsonp", "text/json", "json",
      "a, application/json",
    ])
  func contentTypes(type: String?) async throws {
    try await TestNode.run { node async throws in
      let answer = try await node.post(call, contentType: type)
      #expect(answer.status == 415)
      #expect(answer.text.contains("application/json"))
    }
  }

  @Test("a body that is compressed, or coded otherwise, is refused as such, and not taken for broken JSON")
  func contentEncoding() async throws {
    try await TestNode.run { node async throws in
      for coding in ["gzip", "deflate, gzip", "identity, br", "x"] {
        let answer = try await node.post(call, headers: ["Content-Encoding: \(coding)"])
        #expect(answer.status == 415 && answer.headers["accept-encoding"] == "identity", "\(coding)")
        #expect(answer.text.contains("Content-Encoding"))
      }
      #expect(try await node.post(call, headers: ["Content-Encoding: Identity"]).status == 200)
    }
  }

  @Test(
    "the content type may have parameters and any case",
    arguments: ["application/json; charset=utf-8", "Application/JSON", "application/json;a=b"])
  func goodContentTypes(type: String) async throws {
    try await TestNode.run { node async throws in
      #expect(try await node.post(call, contentType: type).status == 200)
    }
  }

  @Test(
    "/health is alive, /ready says that the node takes work; HEAD has no body",
    arguments: [("/health", "alive\n"), ("/ready", "ready\n")])
  func probes(path: String, text: String) async throws {
    try await TestNode.run { node async throws in
      let answer = try await node.exchange("GET", path)
      #expect(answer.status == 200 && answer.text == text)
      let head = try await node.exchange("HEAD", path)
      #expect(head.status == 200 && head.body.isEmpty)
      #expect(head.headers["content-length"] == answer.headers["content-length"])
    }
  }

  @Test("a browser gets the dashboard at /, which shows nothing by itself and loads nothing from elsewhere")
  func dashboard() async throws {
    try await TestNode.run { node async throws in
      try await node.create(job("<script>", runner: "r"))
      let page = try await node.exchange("GET", "/", headers: ["Accept: text/html"])
      #expect(page.status == 200)
      #expect(page.headers["content-type"] == "text/html; charset=utf-8")
      #expect(page.text.hasPrefix("<!doctype html>") && page.text.contains("<title>Hero Supervisor</title>"))
      #expect(!page.text.contains("http://") && !page.text.contains("https://") && !page.text.contains("innerHTML"))
    }
  }

  @Test("the dashboard's policy allows its own script and style by their hashes, and nothing else")
  func dashboardPolicy() async throws {
    try await TestNode.run { node async throws in
      let page = try await node.exchange("GET", "/")
      func hash(_ element: String) throws -> String {
        let parts = page.text.components(separatedBy: "<\(element)>")
        #expect(parts.count == 2, "one <\(element)>")
        return Self.sha256(try #require(parts.last?.components(separatedBy: "</\(element)>").first))
      }
      #expect(
        page.headers["content-security-policy"] == "default-src 'none'; script-src 'sha256-\(try hash("script"))'; "
          + "style-src 'sha256-\(try hash("style"))'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
          + "frame-ancestors 'none'")
      // What such a policy keeps from working.
      #expect(page.text.firstMatch(of: /<[^>]*\s(?:style|on[a-z]+|src|href|action)\s*=/) == nil)
    }
  }

  /// RFC 6234, and base64.
  private static func sha256(_ text: String) -> String {
    var digest = [UInt8](repeating: 0, count: 32)
    let bytes = Array(text.utf8)
    EVP_Digest(bytes, bytes.count, &digest, nil, EVP_sha256(), nil)
    return Data(digest).base64EncodedString()
  }

  @Test("every answer keeps browsers from storing, guessing and framing it")
  func caution() async throws {
    var options = TestNode.Options()
    options.openMethods = .closed(reason: "a test")
    options.maxRequestBytes = 1000
    try await TestNode.run(options) { node async throws in
      let answers = [
        try await node.post(call), try await node.post("[]"), try await node.post(call, contentType: "text/plain"),
        try await node.post(#"{"jsonrpc":"2.0","method":"nothing"}"#),
        try await node.post(String(repeating: " ", count: 1001)), try await node.exchange("GET", "/"),
        try await node.exchange("HEAD", "/"), try await node.exchange("GET", "/metrics"),
        try await node.exchange("GET", "/openrpc.json"), try await node.exchange("GET", "/ready"),
        try await node.exchange("GET", "/nothing"), try await node.exchange("GET", "/rpc"),
        try await node.exchange("OPTIONS", "/"), try await node.exchange("PUT", "/"),
        try await node.exchange(Array("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".utf8)),
        try await node.exchange(Array("nonsense\r\n\r\n".utf8)),
      ]
      #expect(
        answers.map(\.status) == [200, 200, 415, 204, 413, 200, 200, 401, 200, 200, 404, 405, 204, 405, 403, 501])
      for answer in answers {
        #expect(answer.headers["cache-control"] == "no-store", "\(answer)")
        #expect(answer.headers["x-content-type-options"] == "nosniff", "\(answer)")
        #expect(answer.headers["referrer-policy"] == "no-referrer", "\(answer)")
        let policy = answer.headers["content-security-policy"] ?? ""
        let isPage = answer.headers["content-type"]?.hasPrefix("text/html") == true
        #expect(isPage || policy == "default-src 'none'; frame-ancestors 'none'", "\(answer)")
        #expect(policy.contains("frame-ancestors 'none'"), "\(answer)")
      }
    }
  }

  @Test(
    "another method on a path is 405 and names those that would do, another path is 404",
    arguments: [
      ("GET", "/rpc", "POST"), ("POST", "/health", "GET, HEAD"), ("POST", "/metrics", "GET, HEAD"),
      ("POST", "/openrpc.json", "GET, HEAD"), ("GET", "/nothing", nil), ("POST", "/rpc/", nil),
      ("GET", "/health/x", nil),
    ] as [(String, String, String?)])
  func wrongMethodsAndPaths(method: String, path: String, allowed: String?) async throws {
    try await TestNode.run { node async throws in
      let fields = method == "POST" ? ["Content-Type: application/json", "Content-Length: \(call.utf8.count)"] : []
      let answer = try await node.exchange(method, path, headers: fields, body: method == "POST" ? call : "")
      #expect(answer.status == (allowed == nil ? 404 : 405))
      #expect(answer.headers["allow"] == allowed)
    }
  }

  @Test("a batch of slow and fast calls takes as long as the slowest")
  func batch() async throws {
    let directory = TemporaryDirectory()
    try await TestNode.run { node async throws in
      let slow = job("slow", "while [ ! -e \(directory.path)/go ]; do sleep 0.01; done; echo slow")
      // The second member lets the first one end, which is only possible when both run.
      try await node.register("other", queue: "other")
      let outcomes = try await node.client.batch([
        ("job.run", ["secret": .string(Key.user), "job": slow]),
        ("job.run", ["secret": .string(Key.user), "job": job("fast", "touch \(directory.path)/go", runner: "other")]),
        ("job.status", ["nobody"]),
      ])
      #expect(outcomes[0] == .success(["success": "slow\n"]))
      #expect(outcomes[1] == .success(["success": ""]))
      guard case .failure(.rpc(code: -32002, _, _)) = outcomes[2] else {
        Issue.record("\(outcomes[2])")
        return
      }
    }
  }
}
