/// Keeps strangers from filling the log: a line a second at most.
struct RefusalLog: Sendable {
  private var next = Duration.zero
  private var omitted = 0

  /// - Returns: `nil` when it shall not be logged, else how many were not since the last one.
  mutating func admit(at now: Duration) -> Int? {
    guard now >= next else {
      omitted += 1
      return nil
    }
    defer { omitted = 0 }
    next = now + .seconds(1)
    return omitted
  }
}
