// How many calls a batch has, and how much there is to build, known from its bytes alone.

struct BatchScan {
  /// The elements of the array that a text is: one more than the commas that are not inside of an element. Exact for
  /// what is JSON; of other text it only says what a parser would have begun to build. `nil` when the text is no array.
  let calls: Int?
  /// The values of any depth, members and elements, that a parser would build; 0 for a small text that is no array, which
  /// has few.
  let values: Int

  init(_ text: [UInt8]) {
    (calls, values) = text.withUnsafeBytes(Self.count)
  }

  private static func count(_ bytes: UnsafeRawBufferPointer) -> (calls: Int?, values: Int) {
    guard let start = bytes.firstIndex(where: { !$0.isJSONBlank }) else { return (nil, 0) }
    let isArray = bytes[start] == UInt8(ascii: "[")
    guard isArray || bytes[start] == UInt8(ascii: "{") && bytes.count > Cost.free else { return (nil, 0) }
    var place = start + 1
    var depth = 1
    var values = 2
    var commas = 0
    var hasElement = false
    while place < bytes.count, depth > 0 {
      let byte = bytes[place]
      place += 1
      switch byte {
      case UInt8(ascii: "\""):
        hasElement = true
        place = bytes.endOfString(from: place) ?? bytes.count
      case UInt8(ascii: "["), UInt8(ascii: "{"):
        hasElement = true
        depth += 1
        values += 1
      case UInt8(ascii: "]"), UInt8(ascii: "}"): depth -= 1
      case UInt8(ascii: ","):
        hasElement = true
        values += 1
        if depth == 1 { commas += 1 }
      default: hasElement = hasElement || !byte.isJSONBlank
      }
    }
    return (isArray ? (hasElement ? commas + 1 : 0) : nil, values)
  }
}
