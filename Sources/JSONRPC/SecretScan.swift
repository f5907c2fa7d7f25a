// Whether a request carries a key, known from its bytes alone. Clients of the contract give their key inside the body, as
// the field `secret` of `params`; nothing is built of a large body before a valid one is found. The scan reads each byte
// once, follows the structure and nothing else: a `secret` in a payload, in variables or within a string is no key.
import Glibc

/// What a request says of its sender.
public struct SecretScan: Sendable {
  public enum Finding: Sendable {
    /// A key that `isKey` knows.
    case key
    /// One or more, none of which it knows.
    case unknownKeys
    case none
    /// A name that the parser refuses too, since it occurs twice in one object.
    case duplicate(JSONParseError)
  }

  public private(set) var finding = Finding.none
  /// The `id` of a single call; `nil` when it has none, or one that is too long or no id.
  public private(set) var id: JSON?
  /// Whether this is a single call that wants no answer.
  public private(set) var isNotification = false
  private let maximumKeys: Int
  private var unknownKeys = 0

  /// Scans a body until a valid key is found, or to its end.
  /// - Parameters:
  ///   - maximumKeys: after so many unknown ones no more are looked at.
  ///   - isKey: asked for each `secret` of `params`: by name, of the one object, of that object by position, and
  ///     of each call of a batch.
  public init(_ body: [UInt8], maximumKeys: Int = .max, isKey: (String) -> Bool) {
    self.maximumKeys = maximumKeys
    body.withUnsafeBytes { bytes in
      var cursor = Cursor(bytes)
      switch cursor.next {
      case UInt8(ascii: "{"):
        scanCall(&cursor, isKey)
        guard let range = cursor.id else {
          isNotification = cursor.isAtEndOfObject
          return
        }
        if range.count <= Self.longestID { id = try? JSON.parse(UnsafeRawBufferPointer(rebasing: bytes[range])) }
        if case .array = id { id = nil }
        if case .object = id { id = nil }
        if case .bool = id { id = nil }
      case UInt8(ascii: "["):
        cursor.enter()
        while cursor.hasElement, !isDecided {
          if cursor.next == UInt8(ascii: "{") { scanCall(&cursor, isKey) } else { cursor.skipValue() }
        }
      default: break
      }
    }
  }

  private static let longestID = 1024
  private static let longestKey = 8192

  private var isDecided: Bool {
    switch finding {
    case .key, .duplicate: true
    case .unknownKeys: unknownKeys >= maximumKeys
    case .none: false
    }
  }

  /// From the brace that begins a call; to its end, unless a key was found before.
  private mutating func scanCall(_ cursor: inout Cursor, _ isKey: (String) -> Bool) {
    cursor.enter()
    cursor.id = nil
    var hasParams = false
    while let name = cursor.nextName() {
      if cursor.isName(name, "params") {
        guard !hasParams else {
          finding = .duplicate(cursor.duplicate(name))
          return
        }
        hasParams = true
        scanParams(&cursor, isKey)
      } else {
        let start = cursor.place
        cursor.skipValue()
        if cursor.isName(name, "id") { cursor.id = start..<cursor.place }
      }
      if isDecided { return }
    }
  }

  private mutating func scanParams(_ cursor: inout Cursor, _ isKey: (String) -> Bool) {
    switch cursor.next {
    case UInt8(ascii: "{"):
      // `{"params": {…}}`, and nothing else, stands for the one object too (`Method.params`).
      guard let inner = scanFields(&cursor, isKey), !isDecided else { return }
      var nested = cursor
      nested.place = inner
      if nested.next == UInt8(ascii: "{") { _ = scanFields(&nested, isKey) }
    case UInt8(ascii: "["):
      cursor.enter()
      var isFirst = true
      while cursor.hasElement, !isDecided {
        if isFirst, cursor.next == UInt8(ascii: "{") { _ = scanFields(&cursor, isKey) } else { cursor.skipValue() }
        isFirst = false
      }
    default: cursor.skipValue()
    }
  }

  /// Looks for `secret` among the members of an object.
  /// - Returns: where the value of `params` begins, if that is the only member.
  private mutating func scanFields(_ cursor: inout Cursor, _ isKey: (String) -> Bool) -> Int? {
    cursor.enter()
    var count = 0
    var params: Int?
    var hasSecret = false
    while let name = cursor.nextName() {
      count += 1
      if cursor.isName(name, "params") { params = cursor.place }
      guard cursor.isName(name, "secret") else {
        cursor.skipValue()
        continue
      }
      guard !hasSecret else {
        finding = .duplicate(cursor.duplicate(name))
        return nil
      }
      hasSecret = true
      let value = cursor.place
      let isText = cursor.next == UInt8(ascii: "\"")
      cursor.skipValue()
      guard isText, !cursor.isCutOff, cursor.place - value <= Self.longestKey else { continue }
      guard let key = cursor.text(value + 1..<cursor.place - 1), !key.isEmpty else { continue }
      finding = isKey(key) ? .key : .unknownKeys
      unknownKeys += 1
      if isDecided { return nil }
    }
    return count == 1 ? params : nil
  }
}

/// A place in a text that may be JSON. On text that is not, it gets to the end sooner or later, and never beyond.
private struct Cursor {
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
