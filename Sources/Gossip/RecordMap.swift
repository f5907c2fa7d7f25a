/// All records, one a subject: the one that wins. Nodes that hold the same have the same digest.
public struct RecordMap: Sendable {
  /// More are not kept of a kind: a member that floods others must not take their memory. Well above what the kinds allow
  /// themselves.
  public static let maximumOfKind = 32_768
  /// Of all kinds together that this program does not know: they take no room from those that it does.
  public static let maximumOfUnknownKinds = 4096

  private var entries: [Record.Subject: Record] = [:]
  private var counts: [RecordKind: Int] = [:]
  private var unknown = 0
  private let rules: RecordRules
  /// 0 when there is no record; the order in which they came makes no difference.
  private(set) var digest: UInt64 = 0

  public init(rules: RecordRules = RecordRules()) { self.rules = rules }

  public subscript(subject: Record.Subject) -> Record? { entries[subject] }

  /// By kind and name.
  public var all: [Record] { entries.values.sorted { $0.subject < $1.subject } }

  /// Those of one kind, by name; removed ones too.
  public func all(of kind: RecordKind) -> [Record] { all.filter { $0.kind == kind } }

  /// Takes a record that wins over what is known.
  /// - Parameter date: of now, in milliseconds since 1970; what may be forgotten by then is not learned again.
  /// - Returns: whether it was news.
  public mutating func merge(_ record: Record, date: UInt64) -> Bool {
    let rule = rules[record.kind]
    if let end = rule.forgottenFrom(record), end <= date { return false }
    if let known = entries[record.subject] {
      guard known != record, rule.overrides(record, known) else { return false }
      digest &-= Self.hash(known)
    } else {
      let isKnown = rules.knows(record.kind)
      guard isKnown ? counts[record.kind, default: 0] < Self.maximumOfKind : unknown < Self.maximumOfUnknownKinds else {
        return false
      }
      counts[record.kind, default: 0] += 1
      if !isKnown { unknown += 1 }
    }
    entries[record.subject] = record
    digest &+= Self.hash(record)
    return true
  }

  /// Forgets what may be forgotten.
  public mutating func reap(date: UInt64) {
    for (subject, record) in entries {
      guard let end = rules[record.kind].forgottenFrom(record), end <= date else { continue }
      entries[subject] = nil
      counts[record.kind]! -= 1
      if !rules.knows(record.kind) { unknown -= 1 }
      digest &-= Self.hash(record)
    }
  }

  private static func hash(_ record: Record) -> UInt64 {
    var writer = ByteWriter()
    record.encode(into: &writer)
    var hash = StableHash()
    hash.add(writer.bytes)
    return hash.value
  }
}
