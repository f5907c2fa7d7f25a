/// Why PostgreSQL did not do what it was asked.
enum PostgresError: Error, Hashable, Sendable, CustomStringConvertible {
  /// There is no connection; nothing was sent.
  case notConnected(String)
  /// The connection ended while an answer was due: what was sent may have been done.
  case lost(String)
  /// There was no answer in time; the connection is kept, and the server may still do what was asked.
  case unanswered(String)
  /// The server refused a statement, and nothing of its transaction was done.
  /// - Parameter state: SQLSTATE, five characters (PostgreSQL documentation, appendix A).
  case refused(state: String, message: String)

  var description: String {
    switch self {
    case .notConnected(let reason), .lost(let reason), .unanswered(let reason): reason
    case .refused(let state, let message):
      isFenced ? "a newer connection of this process writes" : "\(message) (SQLSTATE \(state))"
    }
  }

  /// Words of libpq or of a server, in one line: they go into logs and answers.
  static func inOneLine(_ words: String) -> String {
    let lines = words.split(whereSeparator: \.isNewline).map { line in
      line.split { $0.unicodeScalars.allSatisfy { $0.value <= 0x20 || $0.value == 0x7f } }.joined(separator: " ")
    }
    return lines.filter { !$0.isEmpty }.joined(separator: "; ")
  }

  var state: String? { if case .refused(let state, _) = self { state } else { nil } }

  /// Whether the same transaction may succeed at once: serialization failure, deadlock.
  var isConflict: Bool { state == "40001" || state == "40P01" || state == "55P03" }

  /// Whether the server, and not the statement, is at fault, so that it may succeed later or elsewhere: it is shutting
  /// down, starting, out of room or connections, or takes no writes (a standby).
  var isOutage: Bool {
    guard let state else { return !isUnanswered }
    return ["25006", "57P01", "57P02", "57P03", "58000", "58030", "26000", "42P05"].contains(state)
      || state.hasPrefix("53") || state.hasPrefix("08")
  }

  var isUnanswered: Bool { if case .unanswered = self { true } else { false } }

  /// Somebody else holds a lock that was waited for in vain.
  var isLockedOut: Bool { state == "55P03" }

  /// Whether it is not known if the transaction was done: the connection was lost, or the server says so (40003).
  var isDoubtful: Bool {
    switch self {
    case .lost, .unanswered: true
    case .refused(let state, _): state == "40003"
    case .notConnected: false
    }
  }

  /// Whether the statement itself is sound, and may be tried again later: cancelled, a lock not to be had, a right that is
  /// missing, an internal error.
  var isPassing: Bool { ["57014", "55P03", "42501", "XX000"].contains(state ?? "") }

  /// The fence of `Batch`, or of a migration: the session is not this process's any more, or another was first.
  var isFenced: Bool {
    if case .refused("22P02", let message) = self { message.contains(Statement.fenceName) } else { false }
  }
  /// A table or a column is not there: the schema is another.
  var isForeignSchema: Bool { state == "42P01" || state == "42703" }
}
