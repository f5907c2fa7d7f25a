import EventLoop
import Gossip
import Testing

@testable import Cluster

/// A peer that has the key and breaks the rules loses its link, and nothing else happens.
@Suite(.timeLimit(.minutes(5))) struct PeerRulesTests {
  /// A peer that the node knows, with whom frames can be exchanged.
  private func peer(_ name: String, _ connect: () async throws -> Stranger) async throws -> Stranger {
    let peer = try await connect()
    try await peer.shakeHands(as: name)
    await peer.send(.ping, call: 1)
    try await peer.gets(.pong)
    return peer
  }

  @Test func `one flipped bit anywhere on the wire ends the link`() async throws {
    try await withWiretap { node, wire, connect in
      // A record: its head 5, length 4, kind 1, call 8, payload 2, kind of the record 1, tag 16.
      for place in 0..<37 {
        let peer = try await peer("x") { try await connect(wire.address) }
        let bit = UInt8(1) << UInt8.random(in: 0...7)
        await wire.changeNext { record in
          #expect(record.count == 37)
          record[place] ^= bit
          // A length that has grown waits for more.
          record += [UInt8](repeating: 0, count: 70_000)
        }
        await peer.send(.request, call: 2, [1, 0])
        try await peer.waitsForItsEnd()
        #expect(await peer.frames(.answer).isEmpty)
      }
      try await eventually { await node.cluster.linked.isEmpty }
    }
  }

  @Test func `a record that is sent again ends the link`() async throws {
    try await withWiretap { node, wire, connect in
      let peer = try await peer("x") { try await connect(wire.address) }
      await wire.changeNext { $0 += $0 }
      await peer.send(.ping, call: 2)
      try await peer.waitsForItsEnd()
      // The answer to the first one may be lost with the link.
      #expect(await [[1], [1, 2]].contains(peer.frames(.pong).map(\.call)))
      try await eventually { await node.cluster.linked.isEmpty }
    }
  }

  @Test("a frame that is too long or too short, or of no known kind ends the link", arguments: 0..<5)
  func malformed(_ fault: Int) async throws {
    try await withStrangers { _, connect in
      let peer = try await peer("x", connect)
      switch fault {
      case 0: await peer.send([0xFF, 0xFF, 0xFF, 0xFF])
      case 1: await peer.send([0, 1, 0, 0x0A])  // 65,546: one more than head and piece.
      case 2: await peer.send([0, 0, 0, 8])  // One less than a head.
      case 3: await peer.send(.request, call: 2, [])  // No channel.
      default: await peer.send(.request, call: 2, [9, 1])  // An unknown one.
      }
      try await peer.waitsForItsEnd()
    }
  }

  @Test func `a request of another's call that is under way ends the link`() async throws {
    try await withStrangers { node, connect in
      let peer = try await peer("x", connect)
      let call = try await node.request { try await $0.waitForEver() }
      await peer.send(.request, call: 2, call)
      try await eventually { await node.greeter.waitingHere == 1 }
      await peer.send(.request, call: 2, call)
      try await peer.waitsForItsEnd()
      try await eventually { await node.greeter.waitingHere == 0 }
    }
  }

  @Test func `answers, cancellations and pongs that nobody waits for change nothing`() async throws {
    try await withStrangers { _, connect in
      let peer = try await peer("x", connect)
      for kind in [.answerPiece, .answer, .refusal, .cancel, .pong] as [Frame.Kind] {
        await peer.send(kind, call: 99, [1, 2, 3])
      }
      await peer.send(.ping, call: 5)
      try await eventually { await peer.frames(.pong).map(\.call) == [1, 5] }
    }
  }

  @Test func `requests that never end are bounded, refused at their first piece, and forgotten with the link`()
    async throws
  {
    try await withStrangers(limits: .with(\.requestBytes, 1 << 20).with(\.serving, 64)) { node, connect in
      let peer = try await peer("x", connect)
      // Each says that it has 64 KiB.
      let start: [UInt8] = [0, 1, 0, 0, LinkChannel.invocation.rawValue]
      for call in UInt64(10)..<50 { await peer.send(.requestStart, call: call, start) }
      try await eventually { await peer.frames(.refusal).count == 24 }
      let link = await node.cluster.links!.link(to: MemberName("x"))!
      #expect(await link.requestBytes == 1 << 20)
      // One that is cancelled makes room for another.
      await peer.send(.cancel, call: 10)
      await peer.send(.requestStart, call: 60, start)
      await peer.send(.ping, call: 2)
      try await eventually { await peer.frames(.pong).count == 2 }
      #expect(await peer.frames(.refusal).count == 24)
      // Pieces of refused ones may still be on their way.
      await peer.send(.requestPiece, call: 49, [UInt8](repeating: 0, count: 65_535))
      await peer.send(.ping, call: 3)
      try await eventually { await peer.frames(.pong).count == 3 }
      #expect(await link.arriving[49] == nil)
      for call in UInt64(100)..<300 { await peer.send(.requestStart, call: call, start) }
      try await peer.waitsForItsEnd()
    }
  }

  @Test(
    "pieces that do not fit together end the link",
    arguments: [
      [(.requestPiece, [1])], [(.requestStart, [0, 0, 0])], [(.requestStart, [0x10, 0, 0, 1])],
      [(.requestStart, [0, 0, 0, 2, 1, 1, 1])], [(.requestStart, [0, 0, 0, 2, 1, 1])],
      [(.requestStart, [0, 0, 0, 2, 1]), (.requestPiece, [1, 1])],
      [(.requestStart, [0, 0, 0, 2, 1]), (.requestStart, [0, 0, 0, 2, 1])],
      [(.requestStart, [0, 0, 0, 2, 1]), (.request, [1])],
    ] as [[(Frame.Kind, [UInt8])]])
  func pieces(_ frames: [(Frame.Kind, [UInt8])]) async throws {
    try await withStrangers { _, connect in
      let peer = try await peer("x", connect)
      for (kind, payload) in frames { await peer.send(kind, call: 9, payload) }
      try await peer.waitsForItsEnd()
    }
  }

  @Test func `cancelled calls that go on working count until they end`() async throws {
    try await withStrangers(limits: .with(\.serving, 4)) { node, connect in
      let peer = try await peer("x", connect)
      let call = try await node.request { try await $0.stubborn() }
      for number in UInt64(10)..<30 {
        await peer.send(.request, call: number, call)
        await peer.send(.cancel, call: number)
      }
      try await eventually { await peer.frames(.refusal).count == 16 }
      #expect(await node.greeter.waitingHere == 4)
      await node.greeter.release()
      try await eventually { await node.greeter.waitingHere == 0 }
      await peer.send(.request, call: 40, call)
      try await eventually { await node.greeter.waitingHere == 1 }
      await node.greeter.release()
    }
  }
}
