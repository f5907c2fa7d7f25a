/// The packets that were opened last, so that one that somebody recorded, and sends again, is not taken for another. What
/// is older than the filter remembers does no harm but to be answered once more: news carries incarnations, and answers
/// carry the number of a probe that is over.
struct ReplayFilter: Sendable {
  /// By their nonces, which are random. Two sets, so that the older half can be forgotten at once.
  private var recent: Set<UInt64> = []
  private var older: Set<UInt64> = []
  /// Some minutes of a node in a large cluster.
  static let generation = 8192

  /// - Returns: whether it is new.
  mutating func admit(_ nonce: UInt64) -> Bool {
    guard !recent.contains(nonce) && !older.contains(nonce) else { return false }
    if recent.count >= Self.generation { (older, recent) = (recent, []) }
    recent.insert(nonce)
    return true
  }
}
