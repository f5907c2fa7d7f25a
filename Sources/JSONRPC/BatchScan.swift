// How many calls a batch has, known from its bytes alone.

enum BatchScan {
  /// The elements of the array that a text is: one more than the commas that are not inside of an element. Exact for
  /// what is JSON; of other text it only says what a parser would have begun to build.
  /// - Returns: `nil` when the text is no array.
  static func calls(in text: [UInt8]) -> Int? {
    text.withUnsafeBytes { bytes -> Int? in
      var place = 0
      while place < bytes.count, isBlank(bytes[place]) { place += 1 }
      guard place < bytes.count, bytes[place] == UInt8(ascii: "[") else { return nil }
      place += 1
      var depth = 1
      var commas = 0
      var hasElement = false
      while place < bytes.count, depth > 0 {
        let byte = bytes[place]
        place += 1
        switch byte {
        case UInt8(ascii: "\""):
          hasElement = true
          place = endOfString(bytes, from: place)
        case UInt8(ascii: "["), UInt8(ascii: "{"):
          hasElement = true
          depth += 1
        case UInt8(ascii: "]"), UInt8(ascii: "}"): depth -= 1
        case UInt8(ascii: ","):
          hasElement = true
          if depth == 1 { commas += 1 }
        default: hasElement = hasElement || !isBlank(byte)
        }
      }
      return hasElement ? commas + 1 : 0
    }
  }

  /// Behind the quote that ends a string.
  private static func endOfString(_ bytes: UnsafeRawBufferPointer, from start: Int) -> Int {
    var place = start
    while place < bytes.count {
      let byte = bytes[place]
      place += byte == UInt8(ascii: "\\") ? 2 : 1
      if byte == UInt8(ascii: "\"") { break }
    }
    return place
  }

  /// White space of RFC 8259, section 2.
  private static func isBlank(_ byte: UInt8) -> Bool {
    byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09
  }
}
