// A registration in a cluster, where another node may claim the same runner at the same time.

import Cluster
import EventLoop
import Gossip
import SQLiteJobStore
import Testing

@testable import Supervisor

@Suite("Registrations in a cluster", .timeLimit(.minutes(5)))
struct RegistrationTests {
  @Test("a registration whose claim does not win is an error, and one that wins is none")
  func losing() async throws {
    let directory = TemporaryDirectory()
    let loop = try EventLoop()
    loop.start()
    let store = try await SQLiteJobStore.open(path: "\(directory.path)/jobs.db", loop: loop, logger: .silent)
    let me = MemberName("n1")
    let system = ClusterSystem(node: me, loop: loop, errors: SupervisorError.self) {
      (peer, _, _) throws(ClusterError) in throw .unreachable(peer, reason: "this node is alone")
    }
    let registry = RunnerRegistry(
      context: RunnerContext(
        loop: loop, store: store, executors: try Executors([]),
        settings: JobSettings(node: NodeName(trusted: "n1"), instance: store.instance),
        processes: ProcessGuard(loop: loop, command: nil, logger: .silent), launcher: try Launcher(),
        workspaces: try Workspaces(at: "\(directory.path)/work", loop: loop, logger: .silent), logger: .silent),
      system: system)
    try await registry.recover()
    let ghost = MemberName("ghost")
    // News of the other's claim is on its way from gossip to the domain for as long as this test takes.
    let cluster = try ClusterNode(
      ClusterNode.Configuration(
        name: me, cluster: "test", listen: try SocketAddress(host: "127.0.0.1", port: 0),
        keys: [[UInt8](repeating: 1, count: 32)], memory: "\(directory.path)/peers"),
      on: loop, logger: .silent, server: { _ in [] },
      onEvent: { event in
        if case .claim(let claim) = event, claim.owner == ghost { return }
        registry.happened(event)
      })
    try await cluster.start()
    await registry.join(cluster)
    await cluster.announce([
      RunnerClaim(runner: "r", queue: "r", owner: ghost, epoch: 100, revision: 1, state: .running)
    ])
    await #expect(throws: SupervisorError.self) {
      try await registry.register(RunnerName(trusted: "r"), queue: QueueName(trusted: "r"))
    }
    #expect(await cluster.claim(of: "r")?.owner == ghost)
    try await registry.register(RunnerName(trusted: "s"), queue: QueueName(trusted: "s"))
    #expect(await registry.list.map(\.rawValue) == ["s"])
    await registry.drain(for: .zero)
    await registry.end()
    await store.close()
    await loop.stop()
  }
}
