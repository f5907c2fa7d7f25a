import Glibc

// What is found in a text before it is parsed: keys (`SecretScan`), and ids as they were written (`WrittenIDs`).

/// A place in a text that may be JSON. On text that is not, it gets to the end sooner or later, and never beyond.
struct JSONCursor {
  private let bytes: UnsafeRawBufferPointer
  var place = 0
  /// Where the id of the present call stands.
  var id: Range<Int>?
  /// Whether the last `nextName` came to the brace that ends the object.
  private(set) var isAtEndOfObject = false
  /// Whether the last string had no end.
  private(set) var isCutOff = false

  init(_ bytes: UnsafeRawBufferPointer) {
    self.bytes = bytes
    skipBlanks()
  }

  /// The byte at this place; nil at the end.
  var next: UInt8? { place < bytes.count ? bytes[place] : nil }

  private mutating func skipBlanks() {
    while place < bytes.count, bytes[place].isJSONBlank { place += 1 }
  }

  /// Into an array or an object, from the bracket that begins it.
  mutating func enter() {
    place += 1
    skipBlanks()
  }

  /// Whether another element of the array follows, which is then next; else the array is left.
  var hasElement: Bool {
    mutating get {
      skipComma()
      guard let next, next != UInt8(ascii: "]") else {
        place = min(place + 1, bytes.count)
        skipBlanks()
        return false
      }
      return true
    }
  }

  private mutating func skipComma() {
    skipBlanks()
    guard next == UInt8(ascii: ",") else { return }
    place += 1
    skipBlanks()
  }

  /// The name of the object's next member, without its quotes; its value is next. nil when there is none: the object is
  /// left.
  mutating func nextName() -> Range<Int>? {
    skipComma()
    isAtEndOfObject = next == UInt8(ascii: "}")
    guard next == UInt8(ascii: "\"") else {
      place = isAtEndOfObject ? place + 1 : bytes.count
      skipBlanks()
      return nil
    }
    let start = place + 1
    skipString()
    let name = start..<max(start, place - 1)
    skipBlanks()
    guard next == UInt8(ascii: ":") else {
      place = bytes.count
      return nil
    }
    place += 1
    skipBlanks()
    return name
  }

  /// Behind a value.
  mutating func skipValue() {
    var depth = 0
    repeat {
      guard let byte = next else { return }
      switch byte {
      case UInt8(ascii: "\""): skipString()
      case UInt8(ascii: "["), UInt8(ascii: "{"):
        depth += 1
        place += 1
      case UInt8(ascii: "]"), UInt8(ascii: "}"):
        depth -= 1
        place += 1
      case UInt8(ascii: ","), UInt8(ascii: ":"): place += 1
      default: skipWord()
      }
      if depth > 0 { skipBlanks() }
    } while depth > 0
    if depth < 0 { place = bytes.count }
  }

  /// From the quote that begins a string.
  private mutating func skipString() {
    let end = bytes.endOfString(from: place + 1)
    isCutOff = end == nil
    place = end ?? bytes.count
  }

  /// A number, `true` and its like.
  private mutating func skipWord() {
    repeat { place += 1 } while place < bytes.count && !Self.endsWord(bytes[place])
  }

  private static func endsWord(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: ","), UInt8(ascii: ":"), UInt8(ascii: "]"), UInt8(ascii: "}"), UInt8(ascii: "["),
      UInt8(ascii: "{"), UInt8(ascii: "\""):
      true
    default: byte.isJSONBlank
    }
  }

  /// Whether a name is this word, whatever of it is escaped.
  func isName(_ name: Range<Int>, _ word: StaticString) -> Bool {
    let length = word.utf8CodeUnitCount
    guard name.count >= length, name.count <= 6 * length else { return false }
    let start = bytes.baseAddress! + name.lowerBound
    if name.count == length { return memcmp(start, word.utf8Start, length) == 0 }
    // Only an escape makes a name shorter than it is written.
    guard memchr(start, Int32(UInt8(ascii: "\\")), name.count) != nil, let text = text(name) else { return false }
    return text.utf8.elementsEqual(UnsafeBufferPointer(start: word.utf8Start, count: length))
  }

  /// The text of a string without its quotes; nil when it has none.
  func text(_ range: Range<Int>) -> String? {
    let quote = UInt8(ascii: "\"")
    let string = [quote] + bytes[range] + [quote]
    return (try? JSON.parse(string))?.stringValue
  }

  /// As the parser says it: it quotes a name as it was written, if it is short, and counts to the quote that ends it.
  func duplicate(_ name: Range<Int>) -> JSONParseError {
    let near = name.count <= 18 ? " near '\"\(String(decoding: bytes[name], as: UTF8.self))\"'" : ""
    return JSONParseError("duplicate object key\(near)", at: name.upperBound, of: bytes)
  }
}
