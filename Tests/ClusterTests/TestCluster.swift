import Cluster
import Distributed
import EventLoop
import Foundation
import Gossip
import Logging
import Testing

// Several nodes in one process, each on a loop and a port of its own, with real sockets between them.

/// What the tests call from afar.
distributed actor Greeter {
  typealias ActorSystem = ClusterSystem
  nonisolated var unownedExecutor: UnownedSerialExecutor { actorSystem.loop.asUnownedSerialExecutor() }
  private(set) var cancelled = 0

  init(actorSystem: ActorSystem) { self.actorSystem = actorSystem }

  distributed func greet(_ name: String, times: Int) -> String {
    String(repeating: "hello \(name) ", count: times)
  }
  distributed func count(_ bytes: WireBytes) -> Int { bytes.bytes.count }
  distributed func make(_ count: Int) -> WireBytes { WireBytes([UInt8](repeating: 7, count: count)) }
  distributed func refuse(_ reason: String) throws { throw TestError(reason: reason) }
  /// Waits until its task is cancelled.
  distributed func waitForEver() async throws {
    do { try await actorSystem.loop.sleep(for: .seconds(3600)) } catch {
      cancelled += 1
      throw error
    }
  }
  distributed func cancellations() -> Int { cancelled }
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
  let events: AsyncStream<ClusterNode.Event>
  let address: String

  var name: MemberName { cluster.name }

  init(
    _ name: String, join seeds: [String] = [], key: UInt8 = 1, cluster clusterName: String = "test",
    directory: String, protocols: ClosedRange<UInt8>? = nil
  ) async throws {
    let loop = try EventLoop()
    loop.start()
    self.loop = loop
    var configuration = ClusterNode.Configuration(
      name: MemberName(name), cluster: clusterName, listen: try SocketAddress(host: "127.0.0.1", port: 0),
      keys: [[UInt8](repeating: key, count: 32)], memory: "\(directory)/\(name).peers")
    configuration.settings = .local
    configuration.joinTimeout = .seconds(5)
    if let protocols { configuration.protocols = protocols }
    configuration.seeds = try seeds.map {
      let address = try SocketAddress(parsing: $0)
      return (host: address.host, port: address.port)
    }
    let (events, event) = AsyncStream<ClusterNode.Event>.makeStream()
    self.events = events
    let box = SystemBox()
    let cluster = try ClusterNode(
      configuration, on: loop,
      logger: ProcessInfo.processInfo.environment["HERO_TEST_LOG"] == nil
        ? Logger(label: name, factory: { _ in SwiftLogNoOpLogHandler() }) : Logger(label: name),
      server: { await box.system!.carryOut($0, from: 1) }, onEvent: { event.yield($0) })
    self.cluster = cluster
    system = ClusterSystem(node: MemberName(name), loop: loop, errors: TestError.self) {
      (peer, message, limit) async throws(ClusterError) in
      try await cluster.send(message, to: peer, within: limit)
    }
    box.system = system
    greeter = Greeter(actorSystem: system)
    try await cluster.start()
    address = await cluster.member(MemberName(name))!.profile.address.rawValue
  }

  // @unchecked: written before the node starts.
  private final class SystemBox: @unchecked Sendable { var system: ClusterSystem? }

  /// The greeter of another node, as this one sees it.
  func greeter(of other: TestNode) throws -> Greeter {
    try Greeter.resolve(id: other.greeter.id, using: system)
  }

  func stop() async {
    await cluster.close()
    await loop.stop()
  }

  /// Waits until a member has a state, as this node sees it.
  func sees(_ other: TestNode, _ states: MemberState..., within seconds: Int = 10) async throws {
    try await eventually(within: seconds) {
      guard let member = await self.cluster.member(other.name) else { return false }
      return states.contains(member.state)
    }
  }
}

/// Waits for a condition that no event announces to the test.
func eventually(
  within seconds: Int = 10, _ condition: @Sendable () async throws -> Bool,
  sourceLocation: SourceLocation = #_sourceLocation
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

/// Runs a test with a directory of its own and the nodes it makes.
func withCluster(
  _ names: [String], _ body: ([TestNode], _ directory: String) async throws -> Void
) async throws {
  let directory = FileManager.default.temporaryDirectory.appending(path: "hero-cluster-\(UUID())").path
  try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(atPath: directory) }
  var nodes: [TestNode] = []
  do {
    for name in names {
      let node = try await TestNode(name, join: nodes.prefix(1).map(\.address), directory: directory)
      nodes.append(node)
      await node.cluster.join()
    }
    try await body(nodes, directory)
  } catch {
    for node in nodes { await node.stop() }
    throw error
  }
  for node in nodes { await node.stop() }
}
