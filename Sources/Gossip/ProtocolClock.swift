/// The time of the protocol: that of the machine, without the stretches in which this process did not run. A member that
/// was stopped for half a minute has not waited half a minute for anybody's answer.
struct ProtocolClock: Sendable {
  /// A timer that comes later than this has waited for the processor, not for the network.
  static let slack = Duration.milliseconds(100)

  /// What was left out so far.
  private(set) var skipped = Duration.zero

  /// - Parameters:
  ///   - machine: the machine's monotonic time.
  ///   - deadline: when this member wanted to do something next, in the protocol's time.
  /// - Returns: the protocol's time.
  mutating func time(at machine: Duration, deadline: Duration) -> Duration {
    let latest = deadline + Self.slack
    if machine - skipped > latest { skipped = machine - latest }
    return machine - skipped
  }
}
