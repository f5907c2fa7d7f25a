// To whom a node is open without a key: the rule, setting by setting, and what it makes of a request's origin.

import EventLoop
import HTTPServer
import JSONRPC
import Testing

@testable import SupervisorAPI

@Suite("Open methods", .timeLimit(.minutes(5)))
struct OpenMethodsTests {
  private typealias Openings = OpenMethods.Openings

  /// What is true of each node that listens on loopback.
  private static func openings(_ change: (inout OpenMethods.Openings) throws -> Void) rethrows -> OpenMethods.Openings {
    var openings = OpenMethods.Openings()
    openings.listeners = [loopback]
    try change(&openings)
    return openings
  }

  private static let loopback = try! SocketAddress(host: "127.0.0.1", port: 8082)

  @Test("are open to this machine while nobody has configured anything")
  func nothing() {
    #expect(OpenMethods.decide(.automatic, Self.openings { _ in }) == .toThisMachine)
    #expect(OpenMethods.decide(.always, Self.openings { _ in }) == .toAll)
    #expect(OpenMethods.decide(.never, Self.openings { _ in }) == .closed(reason: "auth.open_methods is false"))
  }

  @Test("are closed by each setting that lets others in, and the reason names it")
  func reasons() throws {
    let cases: [(String, OpenMethods.Openings)] = try [
      ("auth.admin_secrets is set", Self.openings { $0.keySettings = ["auth.admin_secrets"] }),
      ("auth.user_secrets is set", Self.openings { $0.keySettings = ["auth.user_secrets", "auth.register_secrets"] }),
      ("a key was created", Self.openings { $0.hasCreatedKeys = true }),
      ("api.allowed_hosts is set", Self.openings { $0.hasAllowedHosts = true }),
      ("api.cors_origins is set", Self.openings { $0.hasCORSOrigins = true }),
      ("api.trusted_proxies is set", Self.openings { $0.hasTrustedProxies = true }),
      ("api.tls is set", Self.openings { $0.hasTLS = true }),
      (
        "the node listens on 0.0.0.0:8082, which other machines can reach",
        Self.openings { $0.listeners = [try SocketAddress(host: "0.0.0.0", port: 8082)] }
      ),
      ("the node listens on more than one address", Self.openings { $0.listeners += [Self.loopback] }),
      (
        "executors.mine.user is another user than the node's", Self.openings { $0.executorsOfOtherUsers = ["mine"] }
      ),
    ]
    for (reason, openings) in cases {
      #expect(OpenMethods.decide(.automatic, openings) == .closed(reason: reason))
      #expect(OpenMethods.decide(.never, openings) == .closed(reason: "auth.open_methods is false"))
      #expect(OpenMethods.decide(.always, openings) == .toAll)
    }
  }

  @Test("of an unconfigured node refuse what came through a proxy, unless it has a key")
  func proxies() async throws {
    var options = TestNode.Options()
    options.openMethods = .toThisMachine
    try await TestNode.run(options) { node async throws in
      let call = #"{"jsonrpc":"2.0","id":1,"method":"list_runners"}"#
      func answer(_ fields: String...) async throws -> JSON { try await node.post(call, headers: fields).json() }
      #expect(try await answer()["result"] == ["r"])
      #expect(try await answer("X-Forwarder: 1", "X-Real: 1", "Viaduct: 1", "Forwarded-By: 1")["result"] == ["r"])
      let fields = [
        "Forwarded: for=192.0.2.1", "X-Forwarded-For: 127.0.0.1", "x-forwarded-proto: https", "X-FORWARDED-HOST: a",
        "X-Forwarded-Port: 1", "Via: 1.1 a", "X-Real-IP: 127.0.0.1", "X-Forwarded-For:",
      ]
      for field in fields {
        let error = try await answer(field)["error"]
        #expect(error?["code"] == -32001, "\(field)")
        let name = try #require(field.split(separator: ":").first)
        let reason = error?["data"]?["reason"]?.stringValue ?? ""
        #expect(reason.contains("came through a proxy (\(name))"), "\(reason)")
        #expect(try await answer(field, "Authorization: Bearer \(Key.user)")["result"] == ["r"], "\(field)")
        #expect(try await node.exchange("GET", "/metrics", headers: [field]).status == 401)
        #expect(try await node.exchange("GET", "/health", headers: [field]).status == 200)
      }
      // A name that the client has chosen is not repeated at any length.
      let long = try await node.post(call, headers: ["X-Forwarded-\(String(repeating: "a", count: 20_000)): 1"])
      #expect(try long.json()["error"]?["code"] == -32001 && long.body.count < 1000)
      let metrics = try await node.exchange("GET", "/metrics").text
      #expect(metrics.contains("\nhero_open_methods 1\n"))
      #expect(metrics.contains("\nhero_proxied_requests_refused_total \(2 * fields.count + 1)\n"), "\(metrics)")
    }
  }

  @Test("of an unconfigured node refuse a request that does not name this machine")
  func foreignNames() async throws {
    var options = TestNode.Options()
    options.openMethods = .toThisMachine
    options.http.allowedHosts = ["*"]
    try await TestNode.run(options) { node async throws in
      let call = #"{"jsonrpc":"2.0","id":1,"method":"list_runners"}"#
      func code(_ head: String...) async throws -> JSON? {
        let fields =
          head + ["Content-Type: application/json", "Content-Length: \(call.utf8.count)", "Connection: close"]
        let answer = try await node.exchange(Array((fields.joined(separator: "\r\n") + "\r\n\r\n" + call).utf8))
        return try answer.json()["error"]?["code"]
      }
      for name in ["localhost", "127.0.0.1:1", "[::1]"] {
        #expect(try await code("POST / HTTP/1.1", "Host: \(name)") == nil)
      }
      #expect(try await code("POST / HTTP/1.1", "Host: node.example") == -32001)
      #expect(try await code("POST http://node.example/ HTTP/1.1", "Host: localhost") == -32001)
      #expect(try await code("POST http://localhost/ HTTP/1.1", "Host: node.example") == -32001)
      #expect(try await code("POST / HTTP/1.0") == -32001)
    }
  }

  @Test("that the configuration opens to all ask nobody where it comes from")
  func toAll() async throws {
    try await TestNode.run { node async throws in
      let answer = try await node.post(
        #"{"jsonrpc":"2.0","id":1,"method":"list_runners"}"#, headers: ["X-Forwarded-For: 192.0.2.1"])
      #expect(try answer.json()["result"] == ["r"])
    }
  }
}
