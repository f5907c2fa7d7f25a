import Distributed
import EventLoop
import Foundation
import Gossip
import Logging
import Synchronization
import Testing

@testable import Cluster

// Several nodes in one process, each on a loop and a port of its own, with real sockets between them.

/// What the tests call from afar.
distributed actor Greeter {
  typealias ActorSystem = ClusterSystem
  nonisolated var unownedExecutor: UnownedSerialExecutor { actorSystem.loop.asUnownedSerialExecutor() }
  private(set) var waiting = 0
  private(set) var cancelled = 0
  fileprivate var held: [CheckedContinuation<Void, Never>] = []

  init(actorSystem: ActorSystem) { self.actorSystem = actorSystem }

  distributed func greet(_ name: String, times: Int) -> String {
    String(repeating: "hello \(name) ", count: times)
  }
  distributed func count(_ bytes: WireBytes) -> Int { bytes.bytes.count }
  distributed func make(_ count: Int) -> WireBytes { WireBytes([UInt8](repeating: 7, count: count)) }
  distributed func refuse(_ reason: String) throws { throw TestError(reason: reason) }
  /// Waits until its task is cancelled.
  distributed func waitForEver() async throws {
    waiting += 1
    defer { waiting -= 1 }
    do { try await actorSystem.loop.sleep(for: .seconds(3600)) } catch {
      cancelled += 1
      throw error
    }
  }
  /// Answers after that time.
  distributed func answer(afterMilliseconds milliseconds: Int) async throws -> Bool {
    waiting += 1
    defer { waiting -= 1 }
    try await actorSystem.loop.sleep(for: .milliseconds(milliseconds))
    return true
  }
  /// Waits until it is released, whoever cancels it.
  distributed func stubborn() async {
    waiting += 1
    await withCheckedContinuation { held.append($0) }
    waiting -= 1
  }
  distributed func cancellations() -> Int { cancelled }
  distributed func underWay() -> Int { waiting }
}

extension Greeter {
  /// How many calls are under way, without a call.
  nonisolated var waitingHere: Int {
    get async { await whenLocal { $0.waiting } ?? -1 }
  }
  /// Ends all `stubborn` calls.
  nonisolated func release() async {
    await whenLocal {
      for held in $0.held { held.resume() }
      $0.held = []
    }
  }
}

struct TestError: WireError, Hashable {
  let reason: String
  init(reason: String) { self.reason = reason }
  func encode(into writer: inout WireWriter) { writer.add(reason) }
  init(from reader: inout WireReader) throws(MalformedWire) { reason = try reader.value() }
}

final class TestNode: Sendable {
  let loop: EventLoop
  let cluster: ClusterNode
  let system: ClusterSystem
  let greeter: Greeter
  let address: String
  let log = LogRecorder()
  let records: RecordKeeper?
  private let recorded: Recorded
  private let hasStopped = Atomic(false)

  var name: MemberName { cluster.name }
  var port: UInt16 { try! SocketAddress(parsing: address).port }

  init(
    _ name: String, join seeds: [String] = [], directory: String, records: String? = nil,
    configure: (inout ClusterNode.Configuration) -> Void = { _ in }
  ) async throws {
    let loop = try EventLoop()
    loop.start()
    self.loop = loop
    var configuration = ClusterNode.Configuration(
      name: MemberName(name), cluster: "test", listen: try SocketAddress(host: "127.0.0.1", port: 0),
      keys: [testKey(1)], memory: "\(directory)/\(name).peers")
    configuration.settings = .local
    configuration.joinTimeout = .seconds(60)
    configuration.seeds = try seeds.map {
      let address = try SocketAddress(parsing: $0)
      return (host: address.host, port: address.port)
    }
    configure(&configuration)
    let box = SystemBox()
    let (log, recorded) = (log, Recorded())
    self.recorded = recorded
    self.records = try records.map { path in
      try RecordKeeper(
        path: path, author: MemberName(name), rules: RecordRules(), on: loop,
        logger: Logger(label: name, factory: { log.handler(label: $0) }), onChange: { _ in })
    }
    let cluster = try ClusterNode(
      configuration, records: self.records, on: loop, logger: Logger(label: name, factory: { log.handler(label: $0) }),
      server: { await box.system!.carryOut($0, from: 1) }, onEvent: { event in recorded.add(event) })
    self.cluster = cluster
    system = ClusterSystem(node: MemberName(name), loop: loop, errors: TestError.self) {
      [weak cluster] (peer, message, limit) async throws(ClusterError) in
      // Weak, as the node holds the system.
      guard let cluster else { throw .unreachable(peer, reason: "this node is gone") }
      return try await cluster.send(message, to: peer, within: limit)
    }
    box.system = system
    greeter = Greeter(actorSystem: system)
    do { try await cluster.start() } catch {
      await loop.stop()
      throw error
    }
    address = await cluster.member(MemberName(name))!.profile.address.rawValue
  }

  // @unchecked: written before the node starts.
  private final class SystemBox: @unchecked Sendable { var system: ClusterSystem? }

  private final class Recorded: Sendable {
    private let events = Mutex<[ClusterNode.Event]>([])
    func add(_ event: ClusterNode.Event) { events.withLock { $0.append(event) } }
    var all: [ClusterNode.Event] { events.withLock { $0 } }
  }

  /// All events so far.
  var events: [ClusterNode.Event] { recorded.all }
  /// Why it must stop, as often as it was told.
  var stops: [String] { events.compactMap { if case .mustStop(let reason) = $0 { reason } else { nil } } }

  /// The greeter of another node, as this one sees it.
  func greeter(of other: TestNode) throws -> Greeter {
    try Greeter.resolve(id: other.greeter.id, using: system)
  }

  func link(to other: TestNode) async throws -> PeerLink { try #require(await cluster.links!.link(to: other.name)) }

  /// A request of a call on this node's greeter, as it travels.
  func request(_ call: (Greeter) async throws -> Void) async throws -> [UInt8] {
    let message = Mutex<[UInt8]>([])
    let caller = ClusterSystem(node: MemberName("caller"), loop: loop, errors: TestError.self) {
      (_, bytes, _) async throws(ClusterError) in
      message.withLock { $0 = bytes }
      throw .cancelled
    }
    try? await call(try Greeter.resolve(id: greeter.id, using: caller))
    return [LinkChannel.invocation.rawValue] + message.withLock { $0 }
  }

  /// Once; nothing of it can be called afterwards.
  func stop() async {
    guard !hasStopped.exchange(true, ordering: .relaxed) else { return }
    await cluster.close()
    await records?.close()
    await loop.stop()
  }

  /// Ends as a killed process does: the system closes its sockets, and nobody is told.
  func crash() async {
    guard !hasStopped.exchange(true, ordering: .relaxed) else { return }
    let (gossip, links) = (await cluster.gossip!, await cluster.links!)
    await withCheckedContinuation { done in
      loop.execute { [self] in
        // The first of what this turn leaves behind: it does not connect to anybody again.
        Task(executorPreference: loop) {
          await self.cluster.close()
          done.resume()
        }
        gossip.assumeIsolated { $0.close() }
        links.assumeIsolated { links in
          links.stopListening()
          for link in links.all { link.assumeIsolated { $0.end(.lost("crash")) } }
        }
      }
    }
    // It may have planned to write, and a process that is gone has no timer.
    await records?.close()
    await loop.stop()
  }

  /// The handles on its loop.
  var handles: [String] {
    get async {
      await withCheckedContinuation { done in loop.execute { done.resume(returning: self.loop.liveHandles) } }
    }
  }

  /// Waits until a member has a state, as this node sees it.
  func sees(
    _ other: MemberName, _ states: MemberState..., within seconds: Int = 60,
    sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    try await eventually(within: seconds, sourceLocation: sourceLocation) {
      guard let member = await self.cluster.member(other) else { return false }
      return states.contains(member.state)
    }
  }
}

extension LinkLimits {
  static func with<Value>(_ limit: WritableKeyPath<LinkLimits, Value>, _ value: Value) -> LinkLimits {
    LinkLimits().with(limit, value)
  }
  func with<Value>(_ limit: WritableKeyPath<LinkLimits, Value>, _ value: Value) -> LinkLimits {
    var limits = self
    limits[keyPath: limit] = value
    return limits
  }
}

func testKey(_ byte: UInt8) -> [UInt8] { [UInt8](repeating: byte, count: 32) }

/// Waits for a condition that no event announces to the test; long, since the machine may be busy with something else.
func eventually(
  within seconds: Int = 60, sourceLocation: SourceLocation = #_sourceLocation,
  _ condition: @Sendable () async throws -> Bool
) async throws {
  let deadline = ContinuousClock.now + .seconds(seconds)
  while try await !condition() {
    guard ContinuousClock.now < deadline else {
      Issue.record("did not happen within \(seconds) s", sourceLocation: sourceLocation)
      throw CancellationError()
    }
    try await Task.sleep(for: .milliseconds(5))
  }
}

/// Runs a test with a directory of its own.
func withDirectory(_ body: (String) async throws -> Void) async throws {
  let directory = FileManager.default.temporaryDirectory.appending(path: "hero-cluster-\(UUID())").path
  try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(atPath: directory) }
  try await body(directory)
}

/// Runs a test with a directory of its own and nodes that have found and linked to each other.
func withCluster(
  _ names: [String], limits: LinkLimits = LinkLimits(), settings: GossipSettings = .local,
  _ body: ([TestNode], _ directory: String) async throws -> Void
) async throws {
  try await withDirectory { directory in
    var nodes: [TestNode] = []
    do {
      for name in names {
        let seeds = nodes.prefix(1).map(\.address)
        let node = try await TestNode(name, join: seeds, directory: directory) {
          $0.links = limits
          $0.settings = settings
        }
        nodes.append(node)
        await nodes.last!.cluster.join()
      }
      for node in nodes { try await eventually { await node.cluster.linked.count == names.count - 1 } }
      try await body(nodes, directory)
    } catch {
      for node in nodes { await node.stop() }
      throw error
    }
    for node in nodes { await node.stop() }
  }
}
