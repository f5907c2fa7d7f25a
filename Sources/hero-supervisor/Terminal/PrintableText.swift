// Names, errors and output come from others, and go to terminals and logs. What a terminal obeys, what turns text around,
// and what cannot be seen is written the way JSON writes it, so that it is seen and does nothing.

extension Unicode.Scalar {
  /// Whether it must not be printed as it is: controls (C0, DEL, C1), line and paragraph separators, formats such as
  /// bidirectional overrides, and whatever has no width of its own to be seen by (Unicode Standard Annex 44,
  /// General_Category and Default_Ignorable_Code_Point).
  var isUnprintable: Bool {
    if value < 0x7F { return value < 0x20 }
    switch properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator: return true
    default: return properties.isDefaultIgnorableCodePoint
    }
  }

  /// `\n`, `\u001b`, `\u202e`; beyond U+FFFF the two surrogates (RFC 8259, section 7).
  var escaped: String {
    switch self {
    case "\n": "\\n"
    case "\r": "\\r"
    case "\t": "\\t"
    default:
      UTF16.encode(self)!.map { unit in
        let digits = String(unit, radix: 16)
        return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      }.joined()
    }
  }
}

extension String {
  /// Fit for a terminal or a line of a log.
  /// - Parameter keepingLines: whether line breaks and tabs stay.
  func printable(keepingLines: Bool = false) -> String {
    // Nearly all text is this: one look at its bytes.
    let kept: [UInt8] = keepingLines ? [UInt8(ascii: "\n"), UInt8(ascii: "\t")] : []
    if utf8.allSatisfy({ (0x20..<0x7F).contains($0) || kept.contains($0) }) { return self }
    var result = ""
    for scalar in unicodeScalars {
      if scalar.isUnprintable && !(keepingLines && (scalar == "\n" || scalar == "\t")) {
        result += scalar.escaped
      } else {
        result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  /// As `printable`, each further line set in, so that none of them looks like a message of its own.
  var printableBelow: String {
    printable(keepingLines: true).split(separator: "\n", omittingEmptySubsequences: false).joined(separator: "\n  ")
  }
}
