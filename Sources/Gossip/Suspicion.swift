import Glibc

/// One suspicion, and how long it lasts: the more members confirm it, the shorter (Lifeguard, §III-B, "dynamic suspicion
/// timeout").
struct Suspicion: Hashable, Sendable {
  private let start: Duration
  private let minimum: Duration
  private let maximum: Duration
  /// As many confirmations as bring the timeout down to its minimum.
  private let expected: Int
  private var accusers: Set<MemberName>
  /// What pauses of this member added.
  private var postponed = Duration.zero

  /// - Parameters:
  ///   - expected: confirmations by others; 0 when there are not enough others to wait for.
  init(by accuser: MemberName, at start: Duration, minimum: Duration, maximum: Duration, expected: Int) {
    self.start = start
    self.minimum = minimum
    self.maximum = maximum
    self.expected = expected
    accusers = [accuser]
  }

  /// Another member says so too.
  /// - Returns: whether that was news, which others should hear.
  mutating func confirm(by accuser: MemberName) -> Bool {
    accusers.count <= expected && accusers.insert(accuser).inserted
  }

  /// When the suspect counts as failed.
  var deadline: Duration {
    guard expected > 0 else { return start + minimum + postponed }
    let share = log(Double(accusers.count)) / log(Double(expected + 1))
    return start + max(minimum, maximum - (maximum - minimum) * share) + postponed
  }

  /// The time in which nothing could be heard does not count.
  mutating func postpone(by pause: Duration, atLeastUntil time: Duration) {
    postponed += max(pause, time - deadline)
  }
}
