import Testing

@testable import Gossip

@SimulationThread @Suite("Keys", .timeLimit(.minutes(5)))
struct KeyringTests {
  private let old = Keyring.makeKey()
  private let new = Keyring.makeKey()
  private let packet = Array("a packet".utf8)

  private func ring(_ keys: [UInt8]..., cluster: String = "hero") throws -> Keyring {
    try Keyring(keys: keys, cluster: cluster)
  }

  @Test("what one member seals another opens, each time in another form")
  func roundTrip() throws {
    let keys = try ring(old)
    let sealed = keys.seal(packet)
    #expect(sealed.count == packet.count + Keyring.overhead)
    #expect(keys.open(sealed) == packet)
    #expect(keys.seal(packet) != sealed)
    #expect(!sealed.indices.contains { sealed[$0...].starts(with: packet) })
  }

  @Test("a change of keys in three steps never parts two members")
  func rotation() throws {
    let steps = try [ring(old), ring(old, new), ring(new, old), ring(new)]
    for (before, after) in zip(steps, steps.dropFirst()) {
      #expect(after.open(before.seal(packet)) == packet)
      #expect(before.open(after.seal(packet)) == packet)
    }
    #expect(steps[3].open(steps[0].seal(packet)) == nil)
  }

  @Test("another key, another cluster, a changed bit anywhere or a cut packet does not open")
  func refused() throws {
    let keys = try ring(old)
    let sealed = keys.seal(packet)
    #expect(try ring(new).open(sealed) == nil)
    #expect(try ring(old, cluster: "other").open(sealed) == nil)
    for index in sealed.indices {
      var changed = sealed
      changed[index] ^= 1
      #expect(keys.open(changed) == nil)
      #expect(keys.open(Array(sealed[..<index])) == nil)
    }
    #expect(keys.open(packet) == nil)
  }

  @Test("keys are derived for each use and cluster, and are none of the ring's own")
  func derivation() throws {
    let keys = try ring(old, new)
    let all = try [
      keys.derivedKey(0, label: "a"), keys.derivedKey(1, label: "a"), keys.derivedKey(0, label: "b"),
      ring(old, cluster: "other").derivedKey(0, label: "a"), old, new,
    ]
    #expect(Set(all).count == all.count && all.allSatisfy { $0.count == Keyring.keyBytes })
    #expect(try ring(new, old).derivedKey(1, label: "a") == all[0], "wherever the key stands")
  }

  @Test("keys of another length are refused, without being repeated")
  func invalidKeys() {
    #expect(throws: Keyring.InvalidKey(reason: "key 2 has 16 bytes, expected 32")) {
      try Keyring(keys: [old, Array(repeating: 7, count: 16)], cluster: "hero")
    }
    #expect(throws: Keyring.InvalidKey.self) { try Keyring(keys: [], cluster: "hero") }
  }
}
