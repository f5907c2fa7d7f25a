// No counter may leap further than time allows. Incarnations, epochs, revisions and versions all grow by one at a time, in
// steps that each take a packet, a write to a disk or a person: far fewer than one a millisecond. Revisions and versions
// start from the date in milliseconds, the others from 1. So none of them can honestly be higher than the milliseconds
// since 1970, and a bound that grows by one each millisecond always leaves room above whatever it let in: what a member
// that lies has stated can be overridden a millisecond later, and for ever after.
//
// A bound against what is known already would be narrower, but what is known differs between members, and so would what
// they believe.

extension SWIM {
  /// Clocks may be wrong, by so many milliseconds: even one that starts at 1970 must not make its node refuse what is true. A
  /// century more or less is nothing to a counter of 63 bits.
  static let clockTolerance: UInt64 = 100 * 365 * 86_400_000

  /// The highest counter that is believed now.
  var highestCounter: UInt64 { min(date + Self.clockTolerance, News.maximumCounter) }

  /// A statement that was refused since one of its counters is higher than it can be.
  public struct Leap: Hashable, Sendable {
    /// What it was about, for the log: `member n1`, `runner r`, `record k`.
    public let subject: String
    public let value: UInt64
    /// Who made the statement, by its own words.
    public let source: MemberName
  }

  /// Whether a statement is refused. All that comes in, and all that this member states itself, goes by here.
  mutating func refuses(_ counters: UInt64..., of subject: @autoclosure () -> String, by source: MemberName) -> Bool {
    guard let value = counters.first(where: { $0 > highestCounter }) else { return false }
    refusedLeaps += 1
    directives.append(.leapRefused(Leap(subject: subject(), value: value, source: source)))
    return true
  }
}
