import ExactText
import Glibc
import Supervisor

// How retention knows how long ago a job ended. The date does not say it: a clock may be set, a board may boot in 1970, and
// then a job that ended a second ago looks ten days old. So a store counts time by itself, in a file that outlives each
// process: by the clock that runs from boot, which nobody sets, and across a boot by the date, but for an hour at most.

/// The time that a store has counted, and whether the date has moved along with it.
///
/// A value: readings of the machine's clocks come in as arguments. Its time never goes back, and never runs faster than
/// the machine's, but for `tolerance` with each boot.
struct StoreClock: Hashable, Sendable {
  /// The clocks of a machine at one instant, in milliseconds.
  struct Reading: Hashable, Sendable {
    /// Since 1970: `CLOCK_REALTIME`.
    var date: Int64
    /// Since the boot, with the time that the machine slept: `CLOCK_BOOTTIME` (clock_gettime(2)).
    var sinceBoot: Int64
    /// `/proc/sys/kernel/random/boot_id` (random(4)).
    var bootID: String
  }

  /// The date has leapt, and nobody has confirmed it.
  struct Leap: Hashable, Sendable {
    /// By how much the date is ahead of where it was expected; negative when it is behind.
    var milliseconds: Int64
    /// The store's time since which the date has been steady.
    var since: Int64
  }

  /// What becomes of a reading for whoever is to be told.
  enum Event: Hashable, Sendable {
    case leapt(Leap)
    /// The date is back where it was expected.
    case returned
    /// The date has been steady for a day.
    case confirmed
  }

  /// How far the date may leap unnoticed, in milliseconds, and how much time a boot may add.
  static let tolerance: Int64 = 3_600_000
  /// For how long a date that has leapt must be steady to be the right one.
  static let confirmation: Int64 = 86_400_000

  /// Milliseconds; its origin means nothing.
  private(set) var time: Int64
  private var last: Reading?
  /// The date less `time`, as it was confirmed last.
  private var offset: Int64
  private(set) var leap: Leap?

  /// Begins to count. Before the first reading nothing is known of the date.
  /// - Parameter time: no earlier than any that the store has noted.
  init(at time: Int64) {
    self.time = time
    offset = 0
  }

  /// Lets the time that a reading shows pass.
  mutating func advance(to reading: Reading) -> Event? {
    defer { last = reading }
    guard let last else {
      offset = reading.date - time
      return nil
    }
    time += Self.elapsed(from: last, to: reading)
    return judge(reading.date - time)
  }

  /// The date is right, says an operator.
  /// - Returns: whether there was any doubt.
  mutating func confirm() -> Bool {
    guard let leap else { return false }
    offset += leap.milliseconds
    self.leap = nil
    return true
  }

  private static func elapsed(from last: Reading, to reading: Reading) -> Int64 {
    if reading.bootID.isExactly(last.bootID) && reading.sinceBoot >= last.sinceBoot {
      return reading.sinceBoot - last.sinceBoot
    }
    // How long the machine was off is known by the date alone.
    let (gap, isTooMuch) = reading.date.subtractingReportingOverflow(last.date)
    return !isTooMuch && (0...tolerance).contains(gap) ? gap : 0
  }

  private mutating func judge(_ newOffset: Int64) -> Event? {
    let difference = newOffset - offset
    if abs(difference) <= Self.tolerance {
      // Small steps, as time servers make them, add up to nothing.
      offset = newOffset
      defer { leap = nil }
      return leap == nil ? nil : .returned
    }
    guard let leap, abs(difference - leap.milliseconds) <= Self.tolerance else {
      let leap = Leap(milliseconds: difference, since: time)
      self.leap = leap
      return .leapt(leap)
    }
    self.leap!.milliseconds = difference
    guard time - leap.since >= Self.confirmation else { return nil }
    _ = confirm()
    return .confirmed
  }
}

extension StoreClock.Reading {
  /// - Parameter bootID: as this process has read it once.
  static func now(bootID: String) -> Self {
    var time = timespec()
    clock_gettime(CLOCK_BOOTTIME, &time)
    return Self(
      date: Timestamp.now.milliseconds, sinceBoot: Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000,
      bootID: bootID)
  }
}

extension StoreClock {
  /// As it stands in the file: numbers and the boot's name with spaces between.
  var text: String {
    let reading = last.map { "\($0.date) \($0.sinceBoot) \($0.bootID)" } ?? "- - -"
    return "\(time) \(offset) \(reading) " + (leap.map { "\($0.milliseconds) \($0.since)" } ?? "- -")
  }

  /// - Returns: `nil` when the text is none of `text`.
  init?(_ text: String) {
    let words = text.split(separator: " ", omittingEmptySubsequences: false)
    // Wide enough for every clock, and narrow enough for sums.
    func number(_ index: Int) -> Int64? { Int64(words[index]).flatMap { $0.magnitude < 1 << 60 ? $0 : nil } }
    guard words.count == 7, let time = number(0), let offset = number(1) else { return nil }
    self.init(at: time)
    self.offset = offset
    if let date = number(2), let sinceBoot = number(3) {
      last = Reading(date: date, sinceBoot: sinceBoot, bootID: String(words[4]))
    }
    if let milliseconds = number(5), let since = number(6) { leap = Leap(milliseconds: milliseconds, since: since) }
  }

  /// As the file has it.
  /// - Parameter ended: when the store's last finished job ended, in the store's time.
  init(_ text: String?, atLeast ended: Int64) {
    self = text.flatMap(Self.init) ?? StoreClock(at: ended)
    guard time < ended else { return }
    // Written before that job's end, when the clocks showed as much less: what passed until then is counted once.
    last?.date &+= ended - time
    last?.sinceBoot &+= ended - time
    time = ended
  }
}
