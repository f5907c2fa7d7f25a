import ExactText

// The members of a JSON object. Requests have a handful of them, so they are a plain list that is searched from its
// start; only a large object that is changed or compared pays for an index. One that was read is asked for a few members,
// whoever sent it and however many it has.

/// The members of a JSON object, in the order in which they were written.
///
/// Keys are equal when their bytes are (RFC 8259, section 8.3): two that only look alike to a reader are two.
public struct JSONObject: Hashable, Sendable, ExpressibleByDictionaryLiteral {
  /// Up to this many members a search from the start is as fast as an index.
  static let largestWithoutIndex = 16

  public private(set) var members: [(key: String, value: JSON)]
  /// Where each key stands in `members`; `nil` until many of them are looked for.
  private var index: [ExactText: Int]?

  public init() { members = [] }

  /// - Precondition: no key occurs twice (checked in debug builds; the first one is found).
  public init(members: [(key: String, value: JSON)]) {
    self.init(distinct: members)
    assert(Set(members.lazy.map { ExactText($0.key) }).count == members.count, "a key occurs twice")
  }

  /// For the parser, which has compared the keys already.
  init(distinct members: [(key: String, value: JSON)]) { self.members = members }

  public init(dictionaryLiteral elements: (String, JSON)...) {
    self.init(members: elements.map { (key: $0, value: $1) })
  }

  public var isEmpty: Bool { members.isEmpty }
  public var count: Int { members.count }
  public var keys: [String] { members.map(\.key) }

  /// A member's value. A new one is appended; setting `nil` removes it.
  public subscript(key: String) -> JSON? {
    get { position(of: key).map { members[$0].value } }
    set {
      if index == nil, members.count > Self.largestWithoutIndex { buildIndex() }
      switch (position(of: key), newValue) {
      case (let position?, let value?): members[position].value = value
      case (let position?, nil):
        members.remove(at: position)
        if index != nil { buildIndex() }
      case (nil, let value?):
        members.append((key, value))
        index?[ExactText(key)] = members.count - 1
      case (nil, nil): break
      }
    }
  }

  private func position(of key: String) -> Int? {
    if let index { return index[ExactText(key)] }
    for position in members.indices where members[position].key.isExactly(key) { return position }
    return nil
  }

  private mutating func buildIndex() {
    index = Dictionary(
      zip(members.lazy.map { ExactText($0.key) }, members.indices), uniquingKeysWith: { first, _ in first })
  }

  /// Objects are equal whatever the order of their members.
  public static func == (a: JSONObject, b: JSONObject) -> Bool {
    guard a.members.count == b.members.count else { return false }
    var b = b
    if b.index == nil, b.members.count > largestWithoutIndex { b.buildIndex() }
    return a.members.allSatisfy { b[$0.key] == $0.value }
  }

  public func hash(into hasher: inout Hasher) {
    var sum = 0
    for (key, value) in members {
      var member = Hasher()
      key.hashExactly(into: &member)
      member.combine(value)
      sum ^= member.finalize()
    }
    hasher.combine(sum)
  }
}
