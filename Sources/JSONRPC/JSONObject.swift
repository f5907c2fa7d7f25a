// The members of a JSON object. Requests have a handful of them, so they are a plain list that is searched from its
// start; only a large object pays for an index.

/// The members of a JSON object, in the order in which they were written.
///
/// Keys are equal when Swift says that the strings are, that is by canonical equivalence: two keys that look alike to
/// a reader are one.
public struct JSONObject: Hashable, Sendable, ExpressibleByDictionaryLiteral {
  /// Up to this many members a search from the start is as fast as an index.
  static let largestWithoutIndex = 16

  public private(set) var members: [(key: String, value: JSON)]
  /// Where each key stands in `members`; `nil` while there are few.
  private var index: [String: Int]?

  public init() { members = [] }

  /// - Precondition: no key occurs twice (checked in debug builds; the first one is found).
  public init(members: [(key: String, value: JSON)]) {
    self.init(distinct: members)
    assert(Set(members.lazy.map(\.key)).count == members.count, "a key occurs twice")
  }

  /// For the parser, which has compared the keys already.
  init(distinct members: [(key: String, value: JSON)]) {
    self.members = members
    if members.count > Self.largestWithoutIndex { buildIndex() }
  }

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
      switch (position(of: key), newValue) {
      case (let position?, let value?): members[position].value = value
      case (let position?, nil):
        members.remove(at: position)
        if index != nil { buildIndex() }
      case (nil, let value?):
        members.append((key, value))
        if index != nil {
          index?[key] = members.count - 1
        } else if members.count > Self.largestWithoutIndex {
          buildIndex()
        }
      case (nil, nil): break
      }
    }
  }

  private func position(of key: String) -> Int? {
    if let index { return index[key] }
    for position in members.indices where members[position].key == key { return position }
    return nil
  }

  private mutating func buildIndex() {
    index = Dictionary(zip(members.lazy.map(\.key), members.indices), uniquingKeysWith: { first, _ in first })
  }

  /// Objects are equal whatever the order of their members.
  public static func == (a: JSONObject, b: JSONObject) -> Bool {
    a.members.count == b.members.count && a.members.allSatisfy { b[$0.key] == $0.value }
  }

  public func hash(into hasher: inout Hasher) {
    var sum = 0
    for (key, value) in members {
      var member = Hasher()
      member.combine(key)
      member.combine(value)
      sum ^= member.finalize()
    }
    hasher.combine(sum)
  }
}
