import EventLoop
import Foundation
import Gossip
import Testing

@testable import Cluster

/// Who is a member, as the nodes of one cluster see it, over real sockets.
@Suite(.timeLimit(.minutes(5))) struct MembershipTests {
  // MARK: The end of a member

  @Test func `why a link failed is known only of members that are there and have none`() async throws {
    try await withCluster(["a", "b"]) { nodes, _ in
      let a = nodes[0].cluster
      for name in [nodes[1].name, MemberName("gone")] { await a.noteFailure(of: name) }
      await a.lookAtLinks()
      #expect(await a.dialFailures == [:])
    }
  }

  @Test("a crash is known to all survivors of five by its links, before anybody has probed it", arguments: [0, 2, 4])
  func crash(of number: Int) async throws {
    var settings = GossipSettings.lan
    settings.probeInterval = .seconds(3600)
    try await withCluster(["a", "b", "c", "d", "e"], settings: settings) { nodes, _ in
      await nodes[number].crash()
      let survivors = nodes.filter { $0.name != nodes[number].name }
      for node in survivors { try await node.sees(nodes[number].name, .failed) }
      for node in survivors {
        let others = survivors.filter { $0.name != node.name }
        for other in others { #expect(await node.cluster.member(other.name)?.state == .alive) }
        #expect(await Set(node.cluster.linked) == Set(others.map(\.name)))
      }
    }
  }

  @Test func `a node that does nothing any more fails after a while, and is found again when it goes on`() async throws
  {
    var settings = GossipSettings.local
    settings.probeInterval = .milliseconds(200)
    settings.probeTimeout = .milliseconds(60)
    try await withCluster(["a", "b", "c"], settings: settings) { nodes, _ in
      let silent = nodes[2]
      let (mayGoOn, goOn) = (
        DispatchSemaphore(value: 0), Task { for node in nodes.prefix(2) { try await node.sees(silent.name, .failed) } }
      )
      silent.loop.execute { mayGoOn.wait() }
      let result = await goOn.result
      mayGoOn.signal()
      try result.get()
      for node in nodes.prefix(2) { try await node.sees(silent.name, .alive) }
      // It blames nobody for the time in which it did not listen.
      #expect(!silent.events.contains { if case .member(let member) = $0 { member.state == .failed } else { false } })
      try await eventually { await silent.cluster.linked.count == 2 }
    }
  }

  @Test func `who leaves is not looked for`() async throws {
    try await withCluster(["a", "b", "c"]) { nodes, _ in
      await nodes[1].cluster.leave()
      // Peers with a link know it before that returns.
      for node in [nodes[0], nodes[2]] { #expect(await node.cluster.member(nodes[1].name)?.state == .left) }
      await nodes[1].stop()
      try await eventually { await nodes[0].cluster.linked == [nodes[2].name] }
      #expect(!nodes[0].log.contains(.info, "a peer link broke"))
    }
  }

  // MARK: Names

  @Test func `of two nodes with one name the one that joins stops, and only that`() async throws {
    try await withCluster(["a", "b"]) { nodes, directory in
      let other = FileManager.default.temporaryDirectory.appending(path: "hero-cluster-\(UUID())").path
      try FileManager.default.createDirectory(atPath: other, withIntermediateDirectories: true)
      defer { try? FileManager.default.removeItem(atPath: other) }
      let joiner = try await TestNode("b", join: [nodes[0].address], directory: other)
      await joiner.cluster.join()
      try await eventually { joiner.stops.count == 1 }
      #expect(joiner.stops[0].contains("another live node at \(nodes[1].address) is named b as well"))
      await joiner.stop()
      // Whoever saw the joiner one finds its way back.
      try await eventually { (try? await nodes[0].greeter(of: nodes[1]).greet("x", times: 1)) == "hello x " }
      #expect(nodes.allSatisfy { $0.stops.isEmpty })
    }
  }

  // MARK: Keys

  @Test func `a key is replaced in three steps while calls go on`() async throws {
    try await withCluster(["a", "b", "c"]) { nodes, directory in
      let (old, new) = (testKey(1), testKey(2))
      func works() async throws {
        for node in nodes {
          for other in nodes where other.name != node.name {
            #expect(try await node.greeter(of: other).greet("x", times: 1) == "hello x ")
            // A new link, besides the one that is there.
            guard case .success = await node.cluster.links!.dial(MemberAddress(other.address)) else {
              Issue.record("\(node.name) cannot reach \(other.name)")
              continue
            }
          }
        }
      }
      for keys in [[old, new], [new, old], [new]] {
        for node in nodes {
          try await node.cluster.use(keys: keys)
          try await works()
        }
      }
      let foreign = await nodes[0].cluster.statistics.foreignPackets
      // Gossip goes on under the new key; nobody is suspected.
      let packets = await nodes[0].cluster.statistics.receivedPackets
      try await eventually { await nodes[0].cluster.statistics.receivedPackets >= packets + 10 }
      #expect(await nodes[0].cluster.statistics.foreignPackets == foreign && foreign == 0)
      for node in nodes { #expect(await node.cluster.members.allSatisfy { $0.state == .alive }) }
      let late = try await TestNode("late", join: [nodes[0].address], directory: directory) {
        $0.keys = [old]
        $0.joinTimeout = .milliseconds(100)
      }
      #expect(await !late.cluster.join())
      await late.stop()
      await #expect(throws: Keyring.InvalidKey.self) { try await nodes[0].cluster.use(keys: [[1]]) }
    }
  }

  @Test func `a key that is taken out ends the links that were made with it, and those with another key stay`()
    async throws
  {
    try await withDirectory { directory in
      let (old, new) = (testKey(1), testKey(2))
      let node = try await TestNode("n", directory: directory) { $0.keys = [new, old] }
      let loop = try EventLoop()
      loop.start()
      let late = try await Stranger(connectingTo: node.address, on: loop)
      let early = try await Stranger(connectingTo: node.address, on: loop)
      try await late.shakeHands(as: "late", key: old)
      try await early.shakeHands(as: "early", key: new)
      try await eventually { await node.cluster.linked.count == 2 }
      let start = ContinuousClock.now
      try await node.cluster.use(keys: [new])
      try await late.waitsForItsEnd()
      #expect(ContinuousClock.now - start < .seconds(1))
      #expect(await node.cluster.linked == [MemberName("early")])
      await early.send(.ping, call: 1)
      try await early.gets(.pong)
      await #expect(throws: (any Error).self) {
        try await Stranger(connectingTo: node.address, on: loop).shakeHands(as: "late", key: old)
      }
      await early.close()
      await late.close()
      await node.stop()
      await loop.stop()
    }
  }

  @Test func `a change of keys moves links to the new key before the old one goes, and loses no call`() async throws {
    try await withCluster(["a", "b"]) { nodes, _ in
      let (old, new) = (testKey(1), testKey(2))
      let remote = try nodes[0].greeter(of: nodes[1])
      #expect(try await remote.greet("x", times: 1) == "hello x ")
      let waiting = Task { try await ClusterSystem.$limit.withValue(nil) { try await remote.stubborn() } }
      try await eventually { await nodes[1].greeter.waitingHere == 1 }
      let first = await nodes[0].cluster.links!.link(to: nodes[1].name)!
      for node in nodes { try await node.cluster.use(keys: [old, new]) }
      #expect(await nodes[0].cluster.links!.link(to: nodes[1].name) === first)
      for node in nodes { try await node.cluster.use(keys: [new, old]) }
      try await eventually {
        guard let link = await nodes[0].cluster.links!.link(to: nodes[1].name) else { return false }
        return !Self.isSameKey(link.proof, first.proof)
      }
      await nodes[1].greeter.release()
      try await waiting.value
      try await eventually { await first.hasEnded }
      for node in nodes { try await node.cluster.use(keys: [new]) }
      #expect(try await remote.greet("x", times: 1) == "hello x ")
      for node in nodes { #expect(!node.log.contains(.info, "a peer link broke")) }
    }
  }

  // MARK: Versions

  @Test func `nodes meet that speak one version in common`() async throws {
    try await withCluster(["a"]) { nodes, directory in
      let b = try await TestNode("b", join: [nodes[0].address], directory: directory) { $0.protocols = 3...4 }
      #expect(await b.cluster.join())
      #expect(try await b.greeter(of: nodes[0]).greet("x", times: 1) == "hello x ")
      #expect(try await nodes[0].link(to: b).version == 4)
      await b.stop()
    }
  }

  @Test func `nodes with no version in common do not meet, and both say why`() async throws {
    try await withCluster(["a"]) { nodes, directory in
      let b = try await TestNode("b", join: [nodes[0].address], directory: directory) {
        $0.protocols = 5...5
        $0.joinTimeout = .milliseconds(100)
      }
      #expect(await !b.cluster.join())
      #expect(b.log.contains(.warning, "it speaks versions 4 to 4 of the protocol, this node 5 to 5"))
      try await eventually {
        nodes[0].log.contains(.warning, "it speaks versions 5 to 5 of the protocol, this node 4 to 4")
      }
      for node in [nodes[0], b] {
        #expect(await node.cluster.members.count == 1)
        #expect(await node.cluster.linked.isEmpty)
      }
      await b.stop()
    }
  }

  // MARK: News

  @Test func `what is announced is known to linked peers before that returns`() async throws {
    try await withCluster(["a", "b", "c"]) { nodes, _ in
      for epoch in UInt64(1)...20 {
        let claim = RunnerClaim(
          runner: "r", queue: "q", owner: nodes[0].name, epoch: epoch, revision: 0, state: .running)
        await nodes[0].cluster.announce([claim])
        for node in nodes { #expect(await node.cluster.claim(of: "r") == claim) }
      }
      for node in nodes {
        #expect(node.events.contains { if case .claim(let claim) = $0 { claim.epoch == 20 } else { false } })
      }
    }
  }

  @Test func `peers hear that a node drains`() async throws {
    try await withCluster(["a", "b"]) { nodes, _ in
      for isDraining in [true, false] {
        await nodes[0].cluster.setDraining(isDraining)
        try await eventually { await nodes[1].cluster.member(nodes[0].name)?.profile.isDraining == isDraining }
      }
    }
  }

  private static func isSameKey(_ one: LinkProof, _ other: LinkProof) -> Bool {
    if case (.key(let one), .key(let other)) = (one, other) { return one == other }
    return false
  }
}

extension ClusterNode {
  fileprivate func noteFailure(of peer: MemberName) { dialFailures[peer] = "connection refused" }
}
