import Glibc

/// One suspicion, and how long it lasts: the more members confirm it, the shorter (Lifeguard, §III-B, "dynamic suspicion
/// timeout"). Shortly before its end the suspect is asked once more: its refutation may have got lost on the way here.
struct Suspicion: Hashable, Sendable {
  private let start: Duration
  private let minimum: Duration
  private let maximum: Duration
  /// As many confirmations as bring the timeout down to its minimum.
  private let expected: Int
  private var accusers: Set<MemberName>
  /// How long before the end the first question is asked.
  private let lead: Duration
  private let questions: Int
  private var asked = 0
  /// What pauses of this member added, and the time that a last question needs.
  private var postponed = Duration.zero

  /// - Parameters:
  ///   - expected: confirmations by others; 0 when there are not enough others to wait for.
  ///   - lead: how long before the end the first of the questions is asked.
  init(
    by accuser: MemberName, at start: Duration, minimum: Duration, maximum: Duration, expected: Int,
    lead: Duration = .zero, questions: Int = 0
  ) {
    self.start = start
    self.minimum = minimum
    self.maximum = maximum
    self.expected = expected
    self.lead = lead
    self.questions = questions
    accusers = [accuser]
  }

  /// When the suspect counts as failed.
  var deadline: Duration {
    guard expected > 0 else { return start + minimum + postponed }
    let share = log(Double(accusers.count)) / log(Double(expected + 1))
    return start + max(minimum, maximum - (maximum - minimum) * share) + postponed
  }

  /// When something is to be done next: the suspect to be asked, or to be called failed.
  var nextEvent: Duration { hasQuestion ? deadline - lead / (questions + 1) * (questions - asked + 1) : deadline }

  var hasQuestion: Bool { asked < questions }

  mutating func ask() { asked += 1 }

  /// Another member says so too.
  /// - Returns: whether that was news, which others should hear.
  mutating func confirm(by accuser: MemberName, at now: Duration) -> Bool {
    guard accusers.count <= expected && accusers.insert(accuser).inserted else { return false }
    if hasQuestion { postpone(by: .zero, atLeastUntil: now + lead) }
    return true
  }

  /// The suspect answered, though its refutation is not here yet: it has as long again as the questions take, and is asked
  /// again.
  mutating func reprieve(at now: Duration) {
    asked = 0
    postpone(by: .zero, atLeastUntil: now + lead * 2)
  }

  /// The time in which nothing could be heard does not count.
  mutating func postpone(by pause: Duration, atLeastUntil time: Duration) {
    postponed += max(pause, time - deadline)
  }
}
