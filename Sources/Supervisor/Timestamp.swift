#if canImport(Glibc)
  import Glibc
#endif

/// An instant in UTC with millisecond resolution, written as RFC 3339: `2026-11-24T02:02:19.123Z`.
public struct Timestamp: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// Milliseconds since 1970-01-01T00:00:00Z.
  public let milliseconds: Int64

  public init(milliseconds: Int64) { self.milliseconds = milliseconds }

  /// The clock of this machine (`CLOCK_REALTIME`).
  public static var now: Timestamp {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Timestamp(milliseconds: Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000)
  }

  public static func < (a: Timestamp, b: Timestamp) -> Bool { a.milliseconds < b.milliseconds }

  public var description: String {
    var days = milliseconds / 86_400_000
    var rest = milliseconds % 86_400_000
    if rest < 0 {
      rest += 86_400_000
      days -= 1
    }
    // Days to a date of the proleptic Gregorian calendar, by eras of 400 years that begin on 1 March.
    let shifted = days + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
    let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)

    return String(unsafeUninitializedCapacity: 24) { text in
      func write(_ value: Int64, at start: Int, digits: Int) {
        var value = value
        for index in stride(from: start + digits - 1, through: start, by: -1) {
          text[index] = UInt8(ascii: "0") + UInt8(value % 10)
          value /= 10
        }
      }
      write(year, at: 0, digits: 4)
      text[4] = UInt8(ascii: "-")
      write(month, at: 5, digits: 2)
      text[7] = UInt8(ascii: "-")
      write(day, at: 8, digits: 2)
      text[10] = UInt8(ascii: "T")
      write(rest / 3_600_000, at: 11, digits: 2)
      text[13] = UInt8(ascii: ":")
      write(rest / 60_000 % 60, at: 14, digits: 2)
      text[16] = UInt8(ascii: ":")
      write(rest / 1000 % 60, at: 17, digits: 2)
      text[19] = UInt8(ascii: ".")
      write(rest % 1000, at: 20, digits: 3)
      text[23] = UInt8(ascii: "Z")
      return 24
    }
  }
}

extension Timestamp {
  /// Reads RFC 3339 (section 5.6): `2026-11-24T02:02:19Z`, with a fraction and an offset if need be. Digits beyond
  /// milliseconds are ignored.
  public init?(rfc3339 text: String) {
    let bytes = Array(text.utf8)
    guard bytes.count >= 20 else { return nil }
    func number(_ range: Range<Int>) -> Int64? {
      var value: Int64 = 0
      for byte in bytes[range] {
        guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
        value = value * 10 + Int64(byte - UInt8(ascii: "0"))
      }
      return value
    }
    func isAt(_ index: Int, _ characters: String) -> Bool { characters.utf8.contains(bytes[index]) }
    guard isAt(4, "-"), isAt(7, "-"), isAt(10, "Tt "), isAt(13, ":"), isAt(16, ":"), let year = number(0..<4),
      let month = number(5..<7), let day = number(8..<10), let hour = number(11..<13), let minute = number(14..<16),
      let second = number(17..<19), (1...12).contains(month), (1...Self.days(in: month, of: year)).contains(day),
      hour < 24, minute < 60, second <= 60
    else { return nil }
    var index = 19
    var fraction: Int64 = 0
    if isAt(index, ".") {
      var scale: Int64 = 100
      index += 1
      let first = index
      while index < bytes.count, let digit = number(index..<index + 1) {
        fraction += digit * scale
        scale /= 10
        index += 1
      }
      guard index > first else { return nil }
    }
    guard index < bytes.count else { return nil }
    var offsetMinutes: Int64 = 0
    if isAt(index, "Zz") {
      guard index + 1 == bytes.count else { return nil }
    } else {
      guard isAt(index, "+-"), index + 6 == bytes.count, isAt(index + 3, ":"),
        let hours = number(index + 1..<index + 3), let minutes = number(index + 4..<index + 6), hours < 24, minutes < 60
      else { return nil }
      offsetMinutes = (isAt(index, "-") ? -1 : 1) * (hours * 60 + minutes)
    }
    // A date to days, by eras of 400 years that begin on 1 March.
    let shiftedYear = month <= 2 ? year - 1 : year
    let era = (shiftedYear >= 0 ? shiftedYear : shiftedYear - 399) / 400
    let yearOfEra = shiftedYear - era * 400
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    let days = era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    let seconds = days * 86_400 + hour * 3600 + (minute - offsetMinutes) * 60 + second
    // An offset may lead out of the years that have four digits.
    guard (-62_167_219_200..<253_402_300_800).contains(seconds) else { return nil }
    self.init(milliseconds: seconds * 1000 + fraction)
  }

  /// How many days a month has (RFC 3339, section 5.7).
  private static func days(in month: Int64, of year: Int64) -> Int64 {
    switch month {
    case 2: year.isMultiple(of: 4) && (!year.isMultiple(of: 100) || year.isMultiple(of: 400)) ? 29 : 28
    case 4, 6, 9, 11: 30
    default: 31
    }
  }
}
