import EventLoop
import Foundation
import Gossip
import Testing

@testable import Cluster

// Who is a member keeps its name.

@Suite("Names of members", .timeLimit(.minutes(5)))
struct NameTests {
  @Test(
    "a joiner under a member's name is refused, whoever it asks, whatever it remembers; the member loses nothing",
    arguments: [0, 1, 2], [1, 1_000_000] as [UInt64])
  func refused(seed: Int, incarnation: UInt64) async throws {
    try await withCluster(["a", "b", "c"]) { nodes, directory in
      let (a, b) = (nodes[0], nodes[1])
      let before = (try await a.link(to: b), await a.cluster.member(b.name))
      let clone = "\(directory)/clone"
      try FileManager.default.createDirectory(atPath: clone, withIntermediateDirectories: true)
      // Of a copied data directory.
      try "incarnation \(incarnation)\n".write(toFile: "\(clone)/b.peers", atomically: true, encoding: .utf8)
      let impostor = try await TestNode("b", join: [nodes[seed].address], directory: clone)
      #expect(await !impostor.cluster.join())
      #expect(await impostor.cluster.hasToStop)
      #expect(
        impostor.stops == [
          "another live node at \(b.address) is named b as well, and keeps the name; give this one, at "
            + "\(impostor.address), another name"
        ])
      #expect(await impostor.cluster.members.map(\.name) == [b.name], "it has heard of nobody, and nobody of it")
      await impostor.stop()
      for node in nodes {
        #expect(node.stops == [])
        #expect(await node.cluster.member(b.name)?.profile.address.rawValue == b.address)
      }
      #expect(await a.cluster.member(b.name) == before.1)
      let link = try await a.link(to: b)
      #expect(link === before.0)
      #expect(try await a.greeter(of: b).greet("you", times: 1) == "hello you ")
    }
  }

  @Test("a member that stands still keeps its name until it has failed")
  func paused() async throws {
    // Only the network's own loss would make it fail: it is long in coming.
    var settings = GossipSettings.local
    settings.probeInterval = .seconds(3600)
    try await withCluster(["a", "b"], settings: settings) { nodes, directory in
      let (a, b) = (nodes[0], nodes[1])
      let before = await a.cluster.member(b.name)
      let elsewhere = "\(directory)/elsewhere"
      try FileManager.default.createDirectory(atPath: elsewhere, withIntermediateDirectories: true)
      let other = try await TestNode("b", join: [a.address], directory: elsewhere) {
        $0.links.nameTime = .milliseconds(200)
      }
      let goesOn = DispatchSemaphore(value: 0)
      b.loop.execute { _ = goesOn.wait(timeout: .now() + 60) }
      let join = Task { await other.cluster.join() }
      let hasAsked = await Self.hasAsked(other)
      goesOn.signal()
      #expect(hasAsked)
      #expect(await !join.value)
      #expect(await other.cluster.hasToStop)
      #expect(await other.cluster.members.map(\.name) == [b.name], "it has heard of nobody")
      await other.stop()
      #expect(b.stops == [])
      #expect(await a.cluster.member(b.name) == before)
    }
  }

  /// Waits until it has asked in vain for the member of its name.
  private static func hasAsked(_ node: TestNode) async -> Bool {
    do {
      try await eventually(within: 30) { node.log.contains(.info, "no seed answers yet") }
      return true
    } catch {
      return false
    }
  }

  /// A node of b's name that has found nobody so far.
  private func withLoneNamesake(_ body: (_ nodes: [TestNode], TestNode) async throws -> Void) async throws {
    try await withCluster(["a", "b"]) { nodes, directory in
      let elsewhere = "\(directory)/elsewhere"
      try FileManager.default.createDirectory(atPath: elsewhere, withIntermediateDirectories: true)
      let lone = try await TestNode("b", directory: elsewhere)
      #expect(await !lone.cluster.join())
      #expect(await lone.cluster.introduction?.standing == .alone)
      let result: Result<Void, any Error>
      do { result = .success(try await body(nodes, lone)) } catch { result = .failure(error) }
      await lone.stop()
      try result.get()
    }
  }

  @Test("one that has worked alone takes nothing from the member of its name when it finds the cluster")
  func loneFinds() async throws {
    try await withLoneNamesake { nodes, lone in
      let (a, b) = (nodes[0], nodes[1])
      let link = try await a.link(to: b)
      let remote = try a.greeter(of: b)
      let call = Task { try await ClusterSystem.$limit.withValue(nil) { try await remote.stubborn() } }
      try await eventually { await b.greeter.waitingHere == 1 }
      // The link may be refused before anything was asked on it.
      try await eventually {
        await lone.cluster.exchange(with: MemberAddress(a.address))
        return await lone.cluster.hasToStop
      }
      try await eventually { await a.cluster.links!.all.count == 1 }
      #expect(await link.isUsable)
      #expect(try await a.link(to: b) === link)
      await b.greeter.release()
      try await call.value
      #expect(b.stops == [] && !a.log.contains(.info, "a peer link broke"))
    }
  }

  @Test("one that has worked alone does not become a member beside the one of its name when others find it")
  func loneIsFound() async throws {
    try await withLoneNamesake { nodes, lone in
      let (a, b) = (nodes[0], nodes[1])
      let before = await a.cluster.member(b.name)
      try await eventually {
        let result = await a.cluster.exchange(with: MemberAddress(lone.address))
        if case .done = result { Issue.record("it has become a member") }
        return await lone.cluster.hasToStop
      }
      #expect(await lone.cluster.members.map(\.name) == [b.name], "it has heard of nobody, and nobody of it")
      #expect(await a.cluster.member(b.name) == before)
      #expect(b.stops == [])
    }
  }

  @Test("the name of a member that is gone may be joined under again, also from elsewhere")
  func successor() async throws {
    try await withCluster(["a", "b", "c"]) { nodes, directory in
      await nodes[1].crash()
      let other = "\(directory)/other"
      try FileManager.default.createDirectory(atPath: other, withIntermediateDirectories: true)
      let successor = try await TestNode("b", join: [nodes[0].address], directory: other)
      #expect(await successor.cluster.join())
      for node in [nodes[0], nodes[2]] {
        try await eventually {
          guard let member = await node.cluster.member(successor.name) else { return false }
          return member.state == .alive && member.profile.address.rawValue == successor.address
        }
      }
      #expect(successor.stops == [])
      await successor.stop()
    }
  }

  @Test("who has others stays, who is alone stops; of two with the same right the one with the greater address")
  func standing() throws {
    func node(_ standing: Introduction.Standing, _ address: String, startedAt: UInt64 = 0) -> Introduction {
      Introduction(
        name: MemberName("a"), profile: MemberProfile(address: MemberAddress(address), startedAt: startedAt),
        instance: 1, standing: standing)
    }
    let inOrder = [
      node(.member, "1"), node(.member, "2"), node(.alone, "1"), node(.alone, "2"), node(.joining, "1"),
      node(.joining, "2"),
    ]
    for (first, one) in inOrder.enumerated() {
      for (second, other) in inOrder.enumerated() {
        #expect(one.yields(to: other) == (first > second), "\(first) \(second)")
      }
    }
    // Clocks are asked for nothing.
    #expect(node(.joining, "1", startedAt: 5).yields(to: node(.member, "2", startedAt: 500)))
    for introduction in inOrder {
      var bytes = introduction.framed
      let read = try Introduction.take(from: &bytes)
      #expect(read == introduction)
    }
    // Versions that compare the times see the joiner as the younger one.
    let bytes = node(.joining, "1", startedAt: 5).wireBytes
    #expect(Array(bytes[10..<18]) == [0x80, 0, 0, 0, 0, 0, 0, 5])
    #expect(Array(node(.member, "1", startedAt: 5).wireBytes[10..<18]) == [0, 0, 0, 0, 0, 0, 0, 5])
  }
}
