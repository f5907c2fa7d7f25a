import EventLoop
import Foundation
import JSONRPC
import SupervisorClient
import Testing

@testable import Supervisor

/// Several nodes as processes of their own, each with its data directory, and a client for each.
actor ClusterScene {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private nonisolated let directory = TemporaryDirectory()
  let secret = "cluster-test-key"
  private let hasKeys: Bool
  private let configuration: String
  private let network: TestNetwork?
  private var nodes: [String: NodeProcess] = [:]
  /// Where each node's cluster port was when it ran last.
  private var ports: [String: String] = [:]
  private(set) var endpoints: [String: String] = [:]
  private var clients: [String: SupervisorClient] = [:]
  private var paused: Set<String> = []

  /// Runs a test with a scene, and leaves no process.
  /// - Parameters:
  ///   - runners: of the configuration, as JSON.
  ///   - hasKeys: whether a key is configured; else each node makes its own, and is open to this machine.
  ///   - store: as well; each node has a database of its own if it is not said otherwise.
  static func run(
    runners: String = "[]", profile: String = "lan", network: TestNetwork? = nil, hasKeys: Bool = true,
    store: String = #"{"sqlite": {}}"#, _ body: @Sendable (ClusterScene) async throws -> Void
  ) async throws {
    let loop = try EventLoop()
    loop.start()
    let scene = ClusterScene(
      loop: loop, runners: runners, profile: profile, network: network, hasKeys: hasKeys, store: store)
    do {
      try await body(scene)
    } catch {
      await scene.end(showLogs: true)
      await loop.stop()
      throw error
    }
    await scene.end(showLogs: false)
    await loop.stop()
  }

  private init(
    loop: EventLoop, runners: String, profile: String, network: TestNetwork?, hasKeys: Bool, store: String
  ) {
    self.hasKeys = hasKeys
    self.loop = loop
    self.network = network
    runs = "\(directory.path)/runs"
    configuration = directory.write(
      """
      {"auth": \(hasKeys ? #"{"admin_secrets": ["\#(secret)"]}"# : "{}"), "cluster": {"name": "test", "profile": "\(profile)",
       "join_timeout_seconds": 2, "keys": ["file:keys"]},
       "jobs": {"drain_seconds": 10, "kill_grace_seconds": 0.2}, "runners": \(runners), "log": {"level": "debug"},
       "store": \(store)}
      """, to: "cluster.json")
    directory.write("\(Self.key(0))\n", to: "keys")
  }

  /// A key for tests, as it stands in a file.
  static func key(_ number: UInt8) -> String {
    String(repeating: number < 16 ? "0\(String(number, radix: 16))" : "ff", count: 32)
  }

  /// Replaces the keys of all nodes and tells them to read them again.
  func use(keys: [UInt8]) {
    directory.write(keys.map(Self.key).joined(separator: "\n"), to: "keys")
    for node in nodes.values { Glibc.kill(node.pid, SIGHUP) }
  }

  /// Where jobs leave their marks.
  nonisolated let runs: String

  /// Writes a file beside the configuration, and answers its path.
  nonisolated func write(_ text: String, to name: String) -> String { directory.write(text, to: name) }

  /// Of a node.
  nonisolated func dataDirectory(_ name: String) -> String { "\(directory.path)/\(name)" }

  // MARK: Nodes

  var running: [String] { nodes.keys.filter { !paused.contains($0) }.sorted() }
  func log(_ name: String) -> String { nodes[name]?.log ?? "" }
  func pid(_ name: String) -> Int32 { nodes[name]!.pid }

  /// What a node said last, from what the Swift runtime says of a crash on.
  private func lastWords(_ name: String) -> String {
    let log = log(name)
    guard let crash = log.range(of: "Fatal error") ?? log.range(of: "crashed") else { return String(log.suffix(3000)) }
    return log[..<crash.lowerBound].suffix(1000) + String(log[crash.lowerBound...].prefix(6000))
  }

  /// Starts a node, which joins those that run; at the port that it had before, unless it shall have a new one.
  /// - Parameters:
  ///   - other: what it is called here, when another node has that name as well.
  ///   - knowsOthers: it is told where the others are.
  ///   - arguments: further ones.
  ///   - wrapper: put before the program's name, where the scene has no network of its own.
  func start(
    _ name: String, as other: String? = nil, atNewPort: Bool = false, wait: Bool = true, knowsOthers: Bool = true,
    arguments: [String] = [], environment: [String] = [], wrapper: [String] = []
  ) async throws {
    let realName = name
    let name = other ?? name
    let seeds =
      knowsOthers ? ports.filter { $0.key != name }.sorted { $0.key < $1.key }.flatMap { ["--join", $0.value] } : []
    let host = network?.address(name)
    let listen = atNewPort ? nil : ports[name] ?? host.map { "\($0):7946" }
    nodes[name] = try NodeProcess(
      directory: "\(directory.path)/\(name)",
      arguments: ["--config", configuration, "--name", realName, "--cluster", listen ?? "127.0.0.1:0"] + seeds
        + arguments, environment: environment,
      api: host.map { "\($0):8082" } ?? "127.0.0.1:0", wrapper: network?.wrapper(name) ?? wrapper, on: loop)
    if wait { try await ready(name) }
  }

  func start(_ names: [String]) async throws {
    for name in names { try await start(name) }
    for name in names { try await sees(name, Dictionary(uniqueKeysWithValues: names.map { ($0, "alive") })) }
  }

  func ready(_ name: String) async throws {
    let node = nodes[name]!
    let endpoint = try #require(await node.ready(), "\(name) did not start: \(node.log)")
    endpoints[name] = endpoint
    ports[name] = node.log.firstMatch(of: /cluster port open.* listen=([0-9.:]+)/).map { String($0.1) }
    await clients[name]?.close()
    let own = hasKeys ? secret : try String(contentsOfFile: "\(dataDirectory(name))/admin.secret", encoding: .utf8)
    clients[name] = SupervisorClient(
      endpoints: [try Endpoint(parsing: endpoint)], secret: own.trimmingCharacters(in: .newlines), loop: loop)
  }

  func kill(_ name: String) async {
    Glibc.kill(nodes[name]!.pid, SIGKILL)
    let status = await nodes[name]!.exit()
    if status.signal != SIGKILL { Issue.record("\(name) ended by itself: \(status)\n\(lastWords(name))") }
    nodes[name] = nil
    paused.remove(name)
  }

  /// Waits for the end of a node that ends by itself: its exit status, and what it said.
  func ended(_ name: String) async -> (code: Int64, log: String) {
    let node = nodes[name]!
    let status = await node.exit()
    nodes[name] = nil
    return (status.code, node.log)
  }

  /// Asks it to stop; its exit status.
  func terminate(_ name: String) async -> Int64 {
    Glibc.kill(nodes[name]!.pid, SIGTERM)
    let status = await nodes[name]!.exit()
    if status.signal != 0 { Issue.record("\(name) was killed: \(status)\n\(lastWords(name))") }
    nodes[name] = nil
    return status.code
  }

  func pause(_ name: String) {
    Glibc.kill(nodes[name]!.pid, SIGSTOP)
    paused.insert(name)
  }

  func resume(_ name: String) {
    Glibc.kill(nodes[name]!.pid, SIGCONT)
    paused.remove(name)
  }

  private func end(showLogs: Bool) async {
    for client in clients.values { await client.close() }
    for (name, node) in nodes {
      if showLogs { print("=== \(name)\n\(node.log.suffix(4000))") }
      Glibc.kill(node.pid, SIGCONT)
      Glibc.kill(node.pid, SIGKILL)
      _ = await node.exit()
    }
    nodes = [:]
  }

  // MARK: Calls

  func call(
    _ name: String, _ method: String, _ params: JSON = .array([]), timeout: Duration = .seconds(30)
  ) async throws(ClientError) -> JSON {
    guard let client = clients[name] else { throw .cancelled }
    return try await client.call(method, params, timeout: timeout)
  }

  /// The nodes that the answer of a whole cluster is missing.
  func unreachable(_ name: String, _ method: String, _ params: JSON = .array([])) async throws -> [String] {
    try await clients[name]!.answer(to: method, params, timeout: .seconds(30)).unreachable
  }

  func register(_ runner: String, queue: String? = nil, at name: String) async throws {
    let params: JSON = [
      "params": ["secret": .string(secret), "name": .string(runner), "queue": .string(queue ?? runner)]
    ]
    #expect(try await call(name, "register_runner", params) == .null)
  }

  func run(
    _ id: String, on runner: String, _ payload: String, executor: String = "shell", at name: String
  ) async throws(ClientError) -> JSON {
    try await call(name, "job.run", job(id, on: runner, payload, executor: executor))
  }

  /// Creates and starts a job.
  func start(job id: String, on runner: String, _ payload: String, at name: String) async throws {
    try await create(id, on: runner, payload, at: name)
    try await start(id, at: name)
  }

  func create(_ id: String, on runner: String, _ payload: String, at name: String) async throws {
    _ = try await call(name, "jobs.create", job(id, on: runner, payload, executor: "shell"))
  }

  func start(_ id: String, at name: String) async throws {
    _ = try await call(name, "job.start", ["params": ["secret": .string(secret), "job_id": .string(id)]])
  }

  func admin(_ method: String, _ fields: JSONObject, at name: String) async throws(ClientError) -> JSON {
    var fields = fields
    if hasKeys { fields["secret"] = .string(secret) }
    return try await call(name, method, ["params": .object(fields)])
  }

  private func job(_ id: String, on runner: String, _ payload: String, executor: String) -> JSON {
    [
      "params": [
        "secret": .string(secret),
        "job": [
          "id": .string(id), "caller_id": "cluster", "context_id": "", "payload": .string(payload),
          "runner": .string(runner), "executor": .string(executor), "timeout": 60,
          "env_vars": ["RUNS": .string(runs)], "created_at": "", "updated_at": "",
        ],
      ]
    ]
  }

  // MARK: Views

  /// Waits until a node sees these members in these states.
  func sees(_ name: String, _ states: [String: String], within seconds: Int = patience) async throws {
    try await eventually("\(name) sees \(states)", within: seconds) {
      let members = try await self.call(name, "cluster.members").arrayValue ?? []
      return states.allSatisfy { member, state in
        members.contains { $0["name"]?.stringValue == member && $0["state"]?.stringValue == state }
      }
    }
  }

  /// Runner to owner, as a node sees it; every runner once.
  func owners(_ name: String) async throws -> [String: String] {
    var owners: [String: String] = [:]
    for status in try await call(name, "get_all_runner_status").arrayValue ?? [] {
      let runner = status["name"]?.stringValue ?? ""
      #expect(owners[runner] == nil, "\(runner) appears twice at \(name)")
      owners[runner] = status["state"] == "unavailable" ? "nobody" : status["node"]?.stringValue
    }
    return owners
  }

  /// Waits until all these nodes see the same owners, none of them gone, and no job is on its way.
  func agree(_ names: [String], within seconds: Int = patience) async throws {
    try await eventually("\(names) agree", within: seconds) {
      var views: [[String: String]] = []
      for name in names {
        views.append(try await self.owners(name))
        let handover = try await self.call(name, "cluster.status")["handover"]
        guard handover?["jobs"] == 0, handover?["in_doubt"] == 0 else { return false }
      }
      return views.allSatisfy { $0 == views[0] && $0.values.allSatisfy(names.contains) }
    }
  }

  /// For how many seconds a wait goes on: long, since the machine may be busy with something else.
  static let patience = 120

  /// Waits for a condition that no event announces to the test.
  nonisolated func eventually(
    _ what: String, within seconds: Int = patience, _ condition: @Sendable () async throws -> Bool
  ) async throws {
    let deadline = ContinuousClock.now + .seconds(seconds)
    while true {
      if (try? await condition()) == true { return }
      guard ContinuousClock.now < deadline else {
        Issue.record("not within \(seconds) s: \(what)")
        throw CancellationError()
      }
      try await loop.sleep(for: .milliseconds(20))
    }
  }

  /// How often each job ran, as the jobs themselves noted.
  nonisolated func countRuns() -> [String: Int] {
    let text = (try? String(contentsOfFile: runs, encoding: .utf8)) ?? ""
    return text.split(separator: "\n").reduce(into: [:]) { $0[String($1), default: 0] += 1 }
  }
}
