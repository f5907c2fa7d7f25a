/// Who of several members a queue belongs to when nobody decides: each member has a weight for each queue, the same
/// wherever it is computed, and the highest wins. A member that goes moves only its own queues, and they spread evenly
/// over the others (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998: highest random
/// weight).
public enum Rendezvous {
  /// Part of the protocol: every member, whatever its version, must compute the same.
  public static func weight(_ queue: String, _ member: MemberName) -> UInt64 {
    var hash = StableHash()
    hash.add(queue.utf8)
    // No byte of UTF-8, so that no two pairs give the same bytes.
    hash.add(CollectionOfOne(0xFF))
    hash.add(member.rawValue.utf8)
    return hash.value
  }

  /// - Returns: `nil` when there is nobody.
  public static func winner(of queue: String, among members: [MemberName]) -> MemberName? {
    members.max { a, b in
      let (weightOfA, weightOfB) = (weight(queue, a), weight(queue, b))
      return weightOfA == weightOfB ? a < b : weightOfA < weightOfB
    }
  }
}

/// A hash that is the same on every machine and in every version: FNV-1a, with the finish of SplitMix64, since FNV alone
/// leaves the high bits of similar strings alike.
struct StableHash {
  private var state: UInt64 = 0xCBF2_9CE4_8422_2325

  mutating func add(_ bytes: some Sequence<UInt8>) {
    for byte in bytes { state = (state ^ UInt64(byte)) &* 0x100_0000_01B3 }
  }

  var value: UInt64 {
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
