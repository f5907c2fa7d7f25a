import EventLoop
import Gossip
import Testing

@testable import Cluster

/// A peer that does not read, or does so slowly, neither fills the memory nor keeps others waiting.
@Suite(.timeLimit(.minutes(5))) struct BackpressureTests {
  private let big = [UInt8](repeating: 1, count: 64 << 20)

  @Test func `a call that is made later than a big one overtakes it`() async throws {
    try await withStrangers { node, connect in
      let peer = try await connect()
      try await peer.shakeHands(as: "x")
      let link = try #require(await node.cluster.links!.link(to: MemberName("x")))
      await peer.stopReading()
      let slow = Task { [big] in try? await node.cluster.send(big, to: MemberName("x"), within: nil) }
      // All buffers are full.
      try await eventually { await link.waitingBytes > Frame.pieceBytes }
      let quick = Task { try? await node.cluster.send([2], to: MemberName("x"), within: nil) }
      try await eventually { await link.calls.count == 2 }
      #expect(await link.waitingBytes < 1 << 20, "the rest of 64 MiB waits where it can be overtaken")
      await peer.startReading()
      try await eventually { await !peer.frames(.request).isEmpty }
      let (frames, all) = (await peer.frames, big.count / Frame.pieceBytes)
      let pieces = frames.prefix { $0.kind != .request }.count
      #expect(pieces < all / 2, "\(pieces) of \(all) pieces came before it")
      await peer.close()
      _ = await (slow.value, quick.value)
    }
  }

  @Test func `a call to a peer that does not read ends in its time, and nothing of it stays`() async throws {
    try await withStrangers { node, connect in
      let peer = try await connect()
      try await peer.shakeHands(as: "x")
      await peer.stopReading()
      let link = try #require(await node.cluster.links!.link(to: MemberName("x")))
      for cancels in [false, true] {
        let call = Task { [big] in
          try await node.cluster.send(big, to: MemberName("x"), within: cancels ? nil : .milliseconds(100))
        }
        if cancels {
          try await eventually { await link.calls.count == 1 }
          call.cancel()
        }
        await #expect(throws: cancels ? ClusterError.cancelled : .timedOut(MemberName("x"))) { try await call.value }
        #expect(await link.outbox.isEmpty)
        #expect(await link.waitingBytes < 1 << 20)
      }
      await peer.startReading()
      // It hears that nobody wants these calls, and the link is as good as before.
      try await eventually { await !peer.frames(.cancel).isEmpty }
      await peer.send(.ping, call: 9)
      try await peer.gets(.pong)
    }
  }

  @Test func `a peer that reads nothing is lost, and all calls to it fail`() async throws {
    try await withStrangers(limits: .with(\.stall, .milliseconds(300)).with(\.silence, .milliseconds(100))) {
      node, connect in
      let peer = try await connect()
      try await peer.shakeHands(as: "x")
      await peer.stopReading()
      let call = Task { [big] in try await node.cluster.send(big, to: MemberName("x"), within: nil) }
      await #expect(throws: ClusterError.nodeLost(MemberName("x"))) { try await call.value }
      #expect(await node.cluster.linked.isEmpty)
    }
  }

  @Test func `a silent peer is lost though nothing waits to be sent`() async throws {
    try await withStrangers(limits: .with(\.silence, .milliseconds(50))) { node, connect in
      let peer = try await connect()
      try await peer.shakeHands(as: "x")
      let call = Task { try await node.cluster.send([1], to: MemberName("x"), within: nil) }
      await #expect(throws: ClusterError.nodeLost(MemberName("x"))) { try await call.value }
      // It was asked before, since it might have been working.
      #expect(await peer.frames(.ping).count == 1)
      #expect(node.log.contains(.info, "no answer to a ping"))
    }
  }

  @Test func `a peer that answers pings may take its time`() async throws {
    try await withStrangers(limits: .with(\.silence, .seconds(1))) { node, connect in
      let peer = try await connect()
      try await peer.shakeHands(as: "x")
      let call = Task { try await node.cluster.send([1], to: MemberName("x"), within: nil) }
      var answered = 0
      while answered < 2 {
        let seen = answered
        try await eventually { await peer.frames(.ping).count > seen }
        await peer.send(.pong, call: peer.frames(.ping)[answered].call)
        answered += 1
      }
      await peer.send(.answer, call: 1, [7])
      #expect(try await call.value == [7])
    }
  }

  @Test func `a link at rest is asked now and then`() async throws {
    try await withStrangers(limits: .with(\.rest, .milliseconds(50)).with(\.silence, .milliseconds(50))) {
      node, connect in
      let peer = try await connect()
      try await peer.shakeHands(as: "x")
      try await peer.gets(.ping)
      try await peer.waitsForItsEnd()
    }
  }

  @Test func `answers for a peer that does not read are bounded`() async throws {
    try await withStrangers(limits: .with(\.answerBytes, 4 << 20)) { node, connect in
      let peer = try await connect()
      try await peer.shakeHands(as: "x")
      await peer.stopReading()
      let request = try await node.request { _ = try await $0.make(1 << 20) }
      let link = try #require(await node.cluster.links!.link(to: MemberName("x")))
      for call in UInt64(10)..<60 {
        // One after the other, as the bound is on answers that are there. The ping's answer waits with the others.
        let seen = await link.written
        await peer.send(.request, call: call, request)
        await peer.send(.ping, call: call)
        try await eventually { await link.hasServed(after: seen) }
      }
      #expect(await link.outbox.answerBytes <= (4 << 20) + (1 << 20) + 100)
      await peer.startReading()
      try await eventually { await peer.frames(.refusal).count + peer.frames(.answerStart).count == 50 }
      #expect(await peer.frames(.refusal).count > 30)
      try await eventually { await link.outbox.isEmpty }
      await peer.send(.request, call: 99, request)
      try await eventually { await peer.frames(.answerStart).contains { $0.call == 99 } }
    }
  }

  @Test func `a peer that goes on asking and never reads is cut off`() async throws {
    try await withStrangers(limits: .with(\.controlBytes, 512 << 10)) { node, connect in
      let peer = try await connect()
      try await peer.shakeHands(as: "x")
      await peer.stopReading()
      let link = try #require(await node.cluster.links!.link(to: MemberName("x")))
      // All buffers on the way are full first.
      await peer.send(.request, call: 1, try await node.request { _ = try await $0.make(64 << 20) })
      try await eventually { await link.waitingBytes > Frame.pieceBytes }
      for call in UInt64(10)..<20_000 { await peer.send(.ping, call: call) }
      try await eventually { await node.cluster.linked.isEmpty }
      #expect(node.log.contains(.info, "it reads nothing"))
    }
  }
}

extension PeerLink {
  /// Bytes on their way to the system.
  var waitingBytes: Int { stream.queuedBytes + outgoing.count }
  /// Nothing is under way, and something was said since so much was written.
  func hasServed(after written: Int) -> Bool { running == 0 && self.written + outgoing.count > written }
}
