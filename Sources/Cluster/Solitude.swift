/// Why a node finds none of the others that it was told of.
struct Solitude: Sendable {
  /// How often it is said.
  private static let interval = Duration.seconds(60)
  /// What each of them answered; `nil` when there is none to find, or one was found.
  private(set) var reason: String?
  private var next: Duration?

  mutating func take(_ reasons: [String], hasFound: Bool) {
    if hasFound { reason = nil }
    // A search that ends by its time may have heard of nobody: what was heard before stands.
    if !hasFound, !reasons.isEmpty { reason = Array(Set(reasons)).sorted().joined(separator: "; ") }
  }

  /// Whether it is to be said; the first time an interval after the first question.
  mutating func isDue(at now: Duration) -> Bool {
    defer { if next.map({ now >= $0 }) ?? true { next = now + Self.interval } }
    return next.map { now >= $0 } ?? false
  }
}
