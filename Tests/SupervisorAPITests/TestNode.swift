// A node in the test's process, wired as hero-supervisor's composition root wires one, on a free port. It has no guard
// process and adopts no orphans: those belong to a process as a whole (`NodeProcess` has them).

import Cluster
import EventLoop
import Glibc
import Gossip
import HTTPServer
import JSONRPC
import Logging
import SQLiteJobStore
import SupervisorClient
import Testing

@testable import Supervisor
@testable import SupervisorAPI

struct TestNode {
  struct Options {
    var keys: [(scope: Scope, secret: String)] = [
      (.admin, Key.admin), (.user, Key.user), (.register, Key.register),
    ]
    var openMethods = OpenMethods.toAll
    var executors: [ExecutorConfiguration] = []
    /// Runners of the configuration; without any, one named `r` with the queue `q`.
    var runners = [runner("r", queue: "q")]
    var maxOutputBytes = 1 << 20
    var killGrace: Duration = .milliseconds(200)
    var maxRequestBytes = 10 << 20
    var maxResponseBytes = 10 << 20
    var maxBatch = 1000
    var http = HTTPServerConfiguration()
    var audit: AuditTrail?
    /// Wrong keys that are answered at once; most tests are about something else.
    var wrongKeys = 100_000
    /// Where it keeps the keys that are made at run time; in its own directory, if it is not said.
    var records: String?
    /// Where jobs have their directories; in its own directory, if it is not said.
    var work: String?
    /// Whether other users may walk through its directory to what is theirs.
    var isWalkable = false
  }

  let loop: EventLoop
  let store: SQLiteJobStore
  let registry: RunnerRegistry
  let server: HTTPServer
  let endpoint: Endpoint
  /// Without a key: methods that take a secret need it as a parameter.
  let client: SupervisorClient
  let records: RecordKeeper

  /// Starts a node, runs the scenario, stops the node, and checks that neither a handle nor a process is left.
  static func run(_ options: Options = Options(), _ scenario: (TestNode) async throws -> Void) async throws {
    let directory = TemporaryDirectory()
    if options.isWalkable { chmod(directory.path, 0o711) }
    let loop = try EventLoop()
    loop.start()
    let store = try await SQLiteJobStore.open(path: "\(directory.path)/jobs.db", loop: loop, logger: .silent)
    let settings = JobSettings(
      node: NodeName(trusted: "n1"), instance: store.instance, maxOutputBytes: options.maxOutputBytes,
      killGrace: options.killGrace,
      baseEnvironment: ["PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": directory.path])
    let registry = RunnerRegistry(
      context: RunnerContext(
        loop: loop, store: store, executors: try Executors(options.executors), settings: settings,
        processes: ProcessGuard(loop: loop, command: nil, logger: .silent), launcher: try Launcher(),
        workspaces: try Workspaces(at: options.work ?? "\(directory.path)/work", loop: loop, logger: .silent),
        logger: .silent),
      configured: options.runners)
    try await registry.recover()
    let keys = KeyDirectory()
    let records = try RecordKeeper(
      path: options.records ?? "\(directory.path)/records", author: MemberName("n1"), rules: KeyDirectory.rules,
      on: loop, logger: .silent, onChange: { keys.learn($0) })
    let server = server(options, loop, store, registry, keys, records)
    let address = try await server.listen(on: SocketAddress(host: "127.0.0.1", port: 0))
    let endpoint = Endpoint(host: "127.0.0.1", port: address.port)
    let client = SupervisorClient(endpoints: [endpoint], loop: loop)

    var failure: (any Error)?
    do {
      try await scenario(
        TestNode(
          loop: loop, store: store, registry: registry, server: server, endpoint: endpoint, client: client,
          records: records))
    } catch {
      failure = error
    }
    await registry.drain(for: .zero)
    await client.close()
    await server.shutdown(grace: .zero)
    await records.close()
    await store.close()
    #expect(Leftovers.kill(instance: store.instance) == 0, "processes were left behind")
    let handlesAreGone = await eventually { await liveHandles(of: loop).isEmpty }
    #expect(handlesAreGone, "handles are left")
    if handlesAreGone { await loop.stop() }
    if let failure { throw failure }
  }

  private static func server(
    _ options: Options, _ loop: EventLoop, _ store: SQLiteJobStore, _ registry: RunnerRegistry,
    _ keys: KeyDirectory, _ records: RecordKeeper
  ) -> HTTPServer {
    let document = SupervisorAPI.openRPCDocument
    // However long a test takes, no debt of a guesser is paid meanwhile.
    let start = ContinuousClock.now
    let authenticator = Authenticator(
      keys: options.keys, created: keys, guesses: GuessDelay(on: loop, burst: options.wrongKeys, now: { start }),
      openMethods: options.openMethods,
      logger: .silent)
    let api = SupervisorAPI(
      registry: registry, authenticator: authenticator, keys: records, maximumResponseBytes: options.maxResponseBytes,
      document: document, audit: options.audit)
    let metrics = Metrics(registry: registry) { authenticator.families }
    let dispatcher = Dispatcher(
      methods: api.methods, maximumBatch: options.maxBatch, maximumResponseBytes: options.maxResponseBytes,
      observer: { metrics.count(method: $0, code: $1) })
    let endpoint = HTTPEndpoint(
      dispatcher: dispatcher, authenticator: authenticator, metrics: metrics, document: document,
      audit: options.audit,
      unreadiness: {
        if let reason = await registry.unreadiness { return reason }
        return await store.unavailability()
      }, notice: { await registry.gate.summary })
    var limits = options.http
    limits.maxRequestBytes = options.maxRequestBytes
    limits.keyJudge = RequestKeys(
      authenticator: api.authenticator, metrics: metrics, maximumBatch: options.maxBatch, audit: options.audit)
    limits.errorBody = HTTPEndpoint.errorBody(maxRequestBytes: options.maxRequestBytes)
    return HTTPServer(loop: loop, configuration: limits, logger: .silent) { await endpoint.answer($0) }
  }

  private static func liveHandles(of loop: EventLoop) async -> [String] {
    await withCheckedContinuation { continuation in
      loop.execute { continuation.resume(returning: loop.liveHandles) }
    }
  }
}

/// A runner of the configuration.
func runner(_ name: String, queue: String, concurrency: Int = 1) -> RunnerSettings {
  RunnerSettings(name: RunnerName(trusted: name), queue: QueueName(trusted: queue), concurrency: concurrency)
}

/// The keys of a test node; long and unlike anything else, so that a search for them in answers means something.
enum Key {
  static let admin = "admin-key-5f1c9e"
  static let user = "user-key-8d27b4"
  static let register = "register-key-03aa61"
}

extension Logger {
  static let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
}

/// Whether a condition comes true within two minutes, so long since the machine may be busy with something else.
func eventually(_ condition: () async throws -> Bool) async rethrows -> Bool {
  let deadline = ContinuousClock.now + .seconds(120)
  while ContinuousClock.now < deadline {
    if try await condition() { return true }
    try? await Task.sleep(for: .milliseconds(2))
  }
  return try await condition()
}
