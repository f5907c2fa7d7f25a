// Numbers of a JSON text: integers of 64 bits, and doubles.

extension JSONScanner {
  /// A number (RFC 8259, section 6). Without fraction and exponent it is an integer.
  mutating func number() throws(JSONParseError) -> JSON {
    let first = at
    let isNegative = skip(UInt8(ascii: "-"))
    guard isDigit(peek) else { throw failure("expected a digit after \"-\", found \(found)") }
    if peek == UInt8(ascii: "0"), at + 1 < end, isDigit((at + 1).load(as: UInt8.self)) {
      throw failure("a number must not start with 0", at: first)
    }
    var digits = Digits()
    while isDigit(peek) { digits.append(next()) }
    switch peek {
    case UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"):
      return .double(try real(from: first, isNegative, digits))
    default: break
    }
    let limit = UInt64(Int64.max) + (isNegative ? 1 : 0)
    guard digits.isExact, digits.value <= limit else {
      throw failure("number out of range: an integer must fit into 64 bits", at: first)
    }
    return .int(isNegative ? Int64(truncatingIfNeeded: 0 &- digits.value) : Int64(digits.value))
  }

  private mutating func real(
    from first: UnsafeRawPointer, _ isNegative: Bool, _ integerDigits: Digits
  ) throws(JSONParseError) -> Double {
    var digits = integerDigits
    var scale = 0
    if skip(UInt8(ascii: ".")) {
      guard isDigit(peek) else { throw failure("expected a digit after \".\", found \(found)") }
      while isDigit(peek) {
        digits.append(next())
        scale -= 1
      }
    }
    if peek | 0x20 == UInt8(ascii: "e") {
      at += 1
      let isBelowZero = peek == UInt8(ascii: "-")
      if isBelowZero || peek == UInt8(ascii: "+") { at += 1 }
      guard isDigit(peek) else { throw failure("expected a digit in the exponent, found \(found)") }
      var exponent = 0
      while isDigit(peek) { exponent = min(exponent * 10 + Int(next()), 1 << 32) }
      scale += isBelowZero ? -exponent : exponent
    }
    // Both factors are exact, so one rounding gives the nearest double (Clinger, 1990).
    if digits.isExact, digits.value <= 1 << 53, abs(scale) < Self.powersOfTen.count {
      let magnitude = Double(digits.value)
      let value = scale < 0 ? magnitude / Self.powersOfTen[-scale] : magnitude * Self.powersOfTen[scale]
      return isNegative ? -value : value
    }
    let text = String(decoding: UnsafeRawBufferPointer(start: first, count: at - first), as: UTF8.self)
    guard let value = Double(text), value.isFinite else {
      throw failure("number out of range: it must fit into a double", at: first)
    }
    return value
  }

  private static let powersOfTen: [Double] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
  ]

  @inline(__always) private func isDigit(_ byte: UInt8) -> Bool { byte &- UInt8(ascii: "0") < 10 }

  /// The value of the next byte, a digit.
  @inline(__always) private mutating func next() -> UInt8 {
    defer { at += 1 }
    return at.load(as: UInt8.self) &- UInt8(ascii: "0")
  }
}

/// Decimal digits as an integer.
private struct Digits {
  private(set) var value: UInt64 = 0
  /// False once the digits no longer fit into `value`.
  private(set) var isExact = true

  @inline(__always) mutating func append(_ digit: UInt8) {
    let (product, overflow) = value.multipliedReportingOverflow(by: 10)
    let (sum, carry) = product.addingReportingOverflow(UInt64(digit))
    value = sum
    if overflow || carry { isExact = false }
  }
}
