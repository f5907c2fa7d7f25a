import ExactText

// Small facts that every node keeps: a key, a member that an operator had forgotten. What a kind means, and which of two
// records wins, is known to who made the kind (`RecordRule`); here they are only carried and kept.

/// What sort of fact a record is. Kinds of later versions are carried like all others.
public struct RecordKind: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }
}

/// One fact, as one node last stated it. Of all statements about one (kind, name) the same one wins at every node, in
/// whatever order they arrive.
public struct Record: Hashable, Sendable {
  /// Longest name, in bytes.
  public static let maximumNameBytes = 128
  public static let maximumBodyBytes = 1024

  public let kind: RecordKind
  /// 1 to 128 bytes.
  public let name: ExactText
  /// Grows with each statement about the name; at least the date of the statement, in milliseconds since 1970, so that one
  /// that was made after all others were forgotten wins over an old copy of them.
  public let version: UInt64
  /// The node that made the statement.
  public let author: MemberName
  /// The fact is no more. Such a record is kept so that an older one does not bring the fact back.
  public let isRemoved: Bool
  /// At most 1 KiB, in a form that the kind defines.
  public let body: [UInt8]

  /// - Precondition: name and body are as long as they may be.
  public init(
    kind: RecordKind, name: ExactText, version: UInt64, author: MemberName, isRemoved: Bool = false, body: [UInt8]
  ) {
    precondition((1...Self.maximumNameBytes).contains(name.rawValue.utf8.count), "a name has 1 to 128 bytes")
    precondition(body.count <= Self.maximumBodyBytes, "a body has at most 1 KiB")
    self.kind = kind
    self.name = name
    self.version = version
    self.author = author
    self.isRemoved = isRemoved
    self.body = body
  }

  /// What a record is about: of two records with the same subject one wins.
  public struct Subject: Hashable, Comparable, Sendable {
    public let kind: RecordKind
    public let name: ExactText

    public init(kind: RecordKind, name: ExactText) {
      self.kind = kind
      self.name = name
    }

    public static func < (a: Subject, b: Subject) -> Bool {
      a.kind == b.kind ? a.name < b.name : a.kind.rawValue < b.kind.rawValue
    }
  }

  public var subject: Subject { Subject(kind: kind, name: name) }

  /// The order of most kinds: the higher version; of one version a removal, then the greater body, then the greater author.
  /// A total order, else two nodes could disagree for ever.
  public func isNewer(than other: Record) -> Bool {
    if version != other.version { return version > other.version }
    if isRemoved != other.isRemoved { return isRemoved }
    if body != other.body { return other.body.lexicographicallyPrecedes(body) }
    return other.author < author
  }
}

/// What a kind of record says of itself.
public struct RecordRule: Sendable {
  /// Whether the first of two different records about one subject wins. Of any two exactly one must win, at all nodes.
  let overrides: @Sendable (Record, Record) -> Bool
  /// From when on the record may be forgotten, in milliseconds since 1970; `nil` for never. The same at all nodes.
  let forgottenFrom: @Sendable (Record) -> UInt64?

  public init(
    overrides: @escaping @Sendable (Record, Record) -> Bool = { $0.isNewer(than: $1) },
    forgottenFrom: @escaping @Sendable (Record) -> UInt64? = { _ in nil }
  ) {
    self.overrides = overrides
    self.forgottenFrom = forgottenFrom
  }
}

/// The rules of all kinds that this program knows.
public struct RecordRules: Sendable {
  private var rules: [RecordKind: RecordRule]
  private let standard = RecordRule()

  /// - Parameter rules: of the kinds that are not gossip's own.
  public init(_ rules: [RecordKind: RecordRule] = [:]) {
    self.rules = rules
    self.rules[.forgottenMember] = SWIM.ruleOfForgotten
  }

  subscript(kind: RecordKind) -> RecordRule { rules[kind] ?? standard }

  /// Whether this program knows what such a record is about.
  func knows(_ kind: RecordKind) -> Bool { rules[kind] != nil }
}
