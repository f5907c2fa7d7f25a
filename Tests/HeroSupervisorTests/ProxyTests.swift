import JSONRPC
import Testing

/// The recipes in `deploy/`, with the real servers: whoever comes through one of them has a key, or gets nothing.
@Suite("A proxy before a node", .timeLimit(.minutes(5)))
struct ProxyTests {
  private static let adminKey = "key-of-the-admin-7d1c"
  private static let userKey = "key-of-a-user-52be0a"

  @Test("lets in who has a key: nginx", .enabled(if: Proxy.Kind.nginx.isInstalled, "nginx or curl is not installed"))
  func nginx() async throws { try await check(.nginx) }

  @Test(
    "lets in who has a key: HAProxy", .enabled(if: Proxy.Kind.haproxy.isInstalled, "HAProxy or curl is not installed"))
  func haproxy() async throws { try await check(.haproxy) }

  @Test("lets in who has a key: Caddy", .enabled(if: Proxy.Kind.caddy.isInstalled, "Caddy or curl is not installed"))
  func caddy() async throws { try await check(.caddy) }

  private func check(_ kind: Proxy.Kind) async throws {
    try await checkConfigured(kind)
    try await checkUnconfigured(kind)
  }

  /// As the recipe says.
  private func checkConfigured(_ kind: Proxy.Kind) async throws {
    let node = try CommandLineTool(["node", "--api", "127.0.0.1:0", "--name", "n1", "--config", "cluster.json"])
    node.write(
      """
      {"api": {"allowed_hosts": ["hero.example", "localhost"], "trusted_proxies": ["127.0.0.1"]},
       "auth": {"admin_secrets": ["\(Self.adminKey)"], "user_secrets": ["\(Self.userKey)"]}, "runners": [{"name": "r"}]}
      """, to: "cluster.json")
    try node.start()
    let proxy = try await Proxy(kind, before: try await node.endpoint())
    let name = "hero.example"

    let methods = try await methods(through: proxy, at: name)
    #expect(methods.count >= 25)
    let stranger = try await proxy.call(methods, at: name)
    for method in methods where method != "rpc.discover" {
      #expect(stranger[method]?["error"]?["code"] == -32001, "\(method)")
    }
    for method in ["list_runners", "job.status", "jobs.list", "stop_all"] {
      #expect(stranger[method]?["error"]?["data"]?["reason"] == "auth.admin_secrets is set", "\(method)")
    }
    #expect(try await proxy.ask("/metrics", at: name).status == 401)
    #expect(try await proxy.ask("/ready", at: name).text == "ready\n")

    let user = try await proxy.call(["list_runners", "jobs.list", "stop_all"], at: name, key: Self.userKey)
    #expect(user["list_runners"]?["result"] == ["r"] && user["jobs.list"]?["result"] == [])
    #expect(user["stop_all"]?["error"]?["code"] == -32001)
    #expect(try await proxy.ask("/metrics", at: name, key: Self.userKey).status == 200)
    await end(proxy, node)
  }

  private func checkUnconfigured(_ kind: Proxy.Kind) async throws {
    let node = try CommandLineTool(["node", "--api", "127.0.0.1:0", "--name", "n1"])
    try node.start()
    let endpoint = try await node.endpoint()
    let proxy = try await Proxy(kind, before: endpoint)

    // The proxy's own name is not served, and a loopback name does not make it this machine.
    #expect(try await proxy.ask("/", at: "hero.example").status == 403)
    let methods = try await methods(through: proxy, at: "localhost")
    let stranger = try await proxy.call(methods, at: "localhost")
    for method in methods where method != "rpc.discover" {
      #expect(stranger[method]?["error"]?["code"] == -32001, "\(method)")
    }
    let reason = stranger["list_runners"]?["error"]?["data"]?["reason"]?.stringValue ?? ""
    #expect(reason.lowercased().contains("came through a proxy (x-forwarded-"), "\(reason)")
    #expect(try await proxy.ask("/metrics", at: "localhost").status == 401)
    // Said once, not for each of them.
    let lines = node.errorSoFar.split(separator: "\n").filter {
      $0.contains("refused a request that came through a proxy")
    }
    #expect(lines.count == 1 && lines[0].lowercased().contains("field=x-forwarded-"), "\(node.errorSoFar)")

    // Who asks the node itself, on this machine, is answered.
    let direct = try await CommandLineTool.run("rpc", "jobs.list", environment: ["HERO_ENDPOINTS": endpoint])
    #expect(direct.status == 0, "\(direct.error)")
    await end(proxy, node)
  }

  private func end(_ proxy: Proxy, _ node: CommandLineTool) async {
    await proxy.stop()
    node.terminate()
    let outcome = await node.outcome()
    #expect(outcome.status == 0, "\(outcome.error)")
  }

  /// What `rpc.discover` names, which needs no key.
  private func methods(through proxy: Proxy, at host: String) async throws -> [String] {
    let document = try await proxy.call(["rpc.discover"], at: host)["rpc.discover"]
    return try #require(document?["result"]?["methods"]?.arrayValue).compactMap { $0["name"]?.stringValue }
  }
}
