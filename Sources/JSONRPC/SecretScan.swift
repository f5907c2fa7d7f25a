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
  public private(set) var id: RequestID?
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
      var cursor = JSONCursor(bytes)
      switch cursor.next {
      case UInt8(ascii: "{"):
        scanCall(&cursor, isKey)
        guard let range = cursor.id else {
          isNotification = cursor.isAtEndOfObject
          return
        }
        if range.count <= Self.longestID { id = Self.id(UnsafeRawBufferPointer(rebasing: bytes[range])) }
      case UInt8(ascii: "["):
        cursor.enter()
        while cursor.hasElement, !isDecided {
          if cursor.next == UInt8(ascii: "{") { scanCall(&cursor, isKey) } else { cursor.skipValue() }
        }
      default: break
      }
    }
  }

  private static let longestID = 65536

  private static func id(_ text: UnsafeRawBufferPointer) -> RequestID? {
    if WrittenIDs.isNumber(text[...]) { return .number(Array(text)) }
    switch try? JSON.parse(text) {
    case .null?: return .null
    case .string(let string)?: return .value(.string(string))
    default: return nil
    }
  }
  private static let longestKey = 8192

  private var isDecided: Bool {
    switch finding {
    case .key, .duplicate: true
    case .unknownKeys: unknownKeys >= maximumKeys
    case .none: false
    }
  }

  /// From the brace that begins a call; to its end, unless a key was found before.
  private mutating func scanCall(_ cursor: inout JSONCursor, _ isKey: (String) -> Bool) {
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

  private mutating func scanParams(_ cursor: inout JSONCursor, _ isKey: (String) -> Bool) {
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
  private mutating func scanFields(_ cursor: inout JSONCursor, _ isKey: (String) -> Bool) -> Int? {
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
