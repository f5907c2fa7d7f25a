import ArgumentParser

/// How long, as people write it at a prompt: `90`, `2.5`, `30s`, `5m`, `12h`, `90d`. Without a unit it is seconds.
struct TimeSpan: ExpressibleByArgument, Sendable {
  /// What an option that takes one says of a text that is none.
  static let expectation = "a number of seconds, or one with s, m, h or d, such as 5m"

  let seconds: Double

  init(seconds: Double) { self.seconds = seconds }

  init?(argument: String) {
    var digits = Substring(argument)
    var unit = 1.0
    if let last = argument.utf8.last, let known = Self.units[last] {
      unit = known
      digits = digits.dropLast()
    }
    // Decimal only: `Double` also reads "nan", "0x10" and "inf".
    guard digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || ".eE+-".utf8.contains($0) }),
      let number = Double(digits), number >= 0, (number * unit).isFinite
    else { return nil }
    seconds = number * unit
  }

  private static let units: [UInt8: Double] = [
    UInt8(ascii: "s"): 1, UInt8(ascii: "m"): 60, UInt8(ascii: "h"): 3600, UInt8(ascii: "d"): 86_400,
  ]
}
