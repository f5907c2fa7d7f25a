// Records of any kind travel with the news; which of two wins is the kind's own rule (`RecordRule`).

extension SWIM {
  /// All records, by kind and name; removed ones too, until they may be forgotten.
  public var records: RecordMap { recordMap }

  /// This member states something. Nothing happens when another record wins over it.
  public mutating func record(_ record: Record, at time: Duration) -> [Directive] {
    proceed(to: time)
    apply(record)
    return takeDirectives()
  }

  /// What this member knew in a former run: it has nothing to tell, since others have it, or exchange it.
  public mutating func restore(_ records: [Record]) {
    for record in records {
      // One about this member holds for it as well, whosoever file it was.
      if recordMap.merge(record, date: date), record.name.rawValue.isExactly(name.rawValue) { obey(record) }
    }
  }

  mutating func apply(_ record: Record) {
    if refuses(record.version, of: "record \(record.name)", by: record.author) { return }
    if record.kind == .forgottenMember, !record.isRemoved {
      // The incarnation in its body is a counter as well.
      guard let incarnation = Self.forgottenIncarnation(record),
        !refuses(incarnation.rawValue, of: "member \(record.name) to be forgotten", by: record.author)
      else { return }
    }
    guard recordMap.merge(record, date: date) else { return }
    lastChange = now
    if !isJoining { recordQueue.add(record) }
    directives.append(.recorded(record))
    obey(record)
  }
}
