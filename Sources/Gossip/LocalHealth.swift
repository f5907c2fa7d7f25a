/// How much a member doubts itself: a member that misses answers which others get is probably slow itself, and gives the
/// others more time (Lifeguard, §III-A, "local health multiplier").
struct LocalHealth: Hashable, Sendable {
  let maximum: Int
  /// From 0, healthy, to `maximum`.
  private(set) var score = 0

  init(maximum: Int) { self.maximum = maximum }

  mutating func add(_ delta: Int) { score = min(maximum, max(0, score + delta)) }

  /// A time, as long as this member's condition demands.
  func scaled(_ time: Duration) -> Duration { time * (score + 1) }
}
