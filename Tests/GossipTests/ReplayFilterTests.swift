import Testing

@testable import Gossip

@Suite("Packets that were opened before", .timeLimit(.minutes(5)))
struct ReplayFilterTests {
  @Test("a nonce is new once, as long as it is remembered, and memory is bounded")
  func bounded() {
    var filter = ReplayFilter()
    let count = UInt64(ReplayFilter.generation)
    var admitted: [Bool] = []
    for nonce in 0..<(3 * count) { admitted.append(filter.admit(nonce)) }
    #expect(admitted.allSatisfy { $0 })
    let recent = filter.admit(3 * count - 1)
    let older = filter.admit(2 * count - 1)
    #expect(!recent && !older)
    // What is older than two generations is forgotten.
    let forgotten = filter.admit(0)
    #expect(forgotten)
  }

  @Test("a cluster's name of more than 255 bytes is refused")
  func name() throws {
    let key = [UInt8](repeating: 1, count: 32)
    #expect(throws: Keyring.InvalidKey.self) { try Keyring(keys: [key], cluster: String(repeating: "x", count: 256)) }
    let keyring = try Keyring(keys: [key], cluster: String(repeating: "x", count: 255))
    #expect(keyring.derivedKey(0, label: "use").count == 32)
  }
}
