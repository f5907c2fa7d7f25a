import EventLoop
import TLS
import TLSFixtures
import Testing

@Suite("A TLS connection by keys", .timeLimit(.minutes(5)))
struct PreSharedKeyTests {
  private static func key(_ number: UInt8) -> PreSharedKey {
    PreSharedKey(identity: [number, 0, number], key: [UInt8](repeating: number, count: 32))
  }

  @Test("comes about between ends that have one in common, which both can name", arguments: 1...3 as ClosedRange<UInt8>)
  func common(number: UInt8) async throws {
    try await withLoop { loop in
      let server = TLSContext.server(keys: [Self.key(1), Self.key(2), Self.key(3)], protocols: ["x/1"])
      let wires = try await Wires.make(on: loop)
      let (near, far) = (
        TLSStream(connecting: wires.client, .client(key: Self.key(number), protocols: ["x/1"])),
        TLSStream(accepting: wires.server, server)
      )
      far.handshake { #expect($0 == nil) }
      try await near.handshake()
      let inbox = Inbox(far)
      near.write([1, 2, 3])
      #expect(await eventually { inbox.bytes == [1, 2, 3] })
      #expect(near.keyIdentity == [number, 0, number] && far.keyIdentity == near.keyIdentity)
      near.close()
      far.close()
    }
  }

  @Test("does not come about with another key, whether or not it has the same name")
  func another() async throws {
    try await withLoop { loop in
      let sameName = PreSharedKey(identity: Self.key(1).identity, key: [UInt8](repeating: 9, count: 32))
      for key in [Self.key(4), sameName] {
        let wires = try await Wires.make(on: loop)
        let near = TLSStream(connecting: wires.client, .client(key: key, protocols: ["x/1"]))
        let far = TLSStream(accepting: wires.server, .server(keys: [Self.key(1)], protocols: ["x/1"]))
        var outcome: TLSError??
        far.handshake { outcome = .some($0) }
        await #expect(throws: TLSError.self) { try await near.handshake() }
        #expect(await eventually { outcome != nil })
        #expect(outcome! != nil && far.keyIdentity == nil)
        far.close()
        wires.close()
      }
    }
  }

  @Test("does not come about with a server that shows a certificate instead")
  func certificate() async throws {
    try await withLoop { loop in
      let authority = TestAuthority()
      let wires = try await Wires.make(on: loop)
      let far = TLSStream(accepting: wires.server, try .server(authority.node().identity, protocols: ["x/1"]))
      far.handshake { #expect($0 != nil) }
      let near = TLSStream(connecting: wires.client, .client(key: Self.key(1), protocols: ["x/1"]))
      await #expect(throws: TLSError.self) { try await near.handshake() }
      far.close()
      wires.close()
    }
  }
}
