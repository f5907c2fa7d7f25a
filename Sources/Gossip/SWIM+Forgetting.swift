import ExactText

// An operator has a member forgotten that failed or left, before its time: by a record, which reaches everybody, and those
// that are away now when they return. What is said of the member up to the incarnation that it had then is not believed
// any more. The member itself may come back: it learns of the record and goes on with a higher incarnation.

extension RecordKind {
  /// Members that are to be forgotten: the name is the member's, the body its incarnation in eight bytes.
  static let forgottenMember = RecordKind(rawValue: 1)
}

extension SWIM {
  /// For as long as any member may still know the forgotten one, in milliseconds: the 72 hours of `reapAfter`, and more.
  static let keepsForgottenFor: UInt64 = 96 * 3_600_000

  /// The rule of these records.
  static let ruleOfForgotten = RecordRule(forgottenFrom: { $0.version + keepsForgottenFor })

  /// The record that makes everybody forget a member.
  /// - Returns: its subject and its body; `nil` when the member is not known, or is present.
  public func forgetting(_ name: MemberName) -> (subject: Record.Subject, body: [UInt8])? {
    guard let member = entries[name], !member.isPresent else { return nil }
    var writer = ByteWriter()
    writer.add(member.incarnation.rawValue)
    return (Record.Subject(kind: .forgottenMember, name: ExactText(name.rawValue)), writer.bytes)
  }

  /// Whether what is said of a member in this incarnation is out of date.
  func isForgotten(_ name: MemberName, _ incarnation: Incarnation) -> Bool {
    let subject = Record.Subject(kind: .forgottenMember, name: ExactText(name.rawValue))
    guard let known = recordMap[subject].flatMap(Self.forgottenIncarnation), known.rawValue <= highestCounter else {
      return false
    }
    return incarnation <= known
  }

  /// Does what a record says, if it is one of these.
  mutating func obey(_ record: Record) {
    guard let incarnation = Self.forgottenIncarnation(record) else { return }
    let subject = MemberName(record.name.rawValue)
    if subject == name {
      // Nobody believes what this member said before.
      guard me.incarnation <= incarnation, incarnation.rawValue < highestCounter else { return }
      me.incarnation = incarnation.next()
      queue.add(news(of: me))
    } else {
      dropIfForgotten(subject)
    }
  }

  /// Forgets a member that is gone, if it is to be forgotten.
  mutating func dropIfForgotten(_ name: MemberName) {
    guard let member = entries[name], !member.isPresent, isForgotten(name, member.incarnation) else { return }
    gone.removeAll { $0 == name }
    suspicions.end(of: name)
    queue.remove(name)
    forget(name)
    lastChange = now
    directives.append(.forgotten(name))
  }

  static func forgottenIncarnation(_ record: Record) -> Incarnation? {
    guard record.kind == .forgottenMember, !record.isRemoved else { return nil }
    var reader = ByteReader(record.body)
    guard let value = try? reader.counter(), reader.isAtEnd else { return nil }
    return Incarnation(value)
  }
}
