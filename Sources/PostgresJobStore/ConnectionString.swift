import CLibPQ

// libpq quotes what it cannot read: with a password that holds a "%", a space or an "@" that is the password, in the log
// and on the terminal. So its words about a connection string are never shown, only what kind of words they were.

/// What is wrong with a connection string, said without any part of it.
public enum ConnectionString {
  /// Looks at a string without connecting.
  /// - Returns: why it is no connection string (libpq documentation, "Connection Strings"), to stand after a colon; `nil`
  ///   when it is one.
  public static func problem(with text: String) -> String? {
    if text.utf8.contains(0) { return "it contains NUL" }
    var complaint: UnsafeMutablePointer<CChar>?
    guard let options = PQconninfoParse(text, &complaint) else {
      defer { PQfreemem(complaint) }
      return complaint.map { words(for: String(cString: $0)) } ?? "out of memory"
    }
    defer { PQconninfoFree(options) }
    return problem(inURL: text) ?? problem(with: options)
  }

  /// What libpq says of a connection that it could not make. What it says before it tried quotes values of the string,
  /// and is cut where the first of them begins.
  static func shown(_ message: String) -> String {
    let lines = message.split(whereSeparator: \.isNewline).map(withoutRefusedValue)
    let line = PostgresError.inOneLine(lines.joined(separator: "\n"))
    if ["connection to server", "could not translate host name"].contains(where: line.hasPrefix) { return line }
    let words = line.prefix { $0 != "\"" && $0 != ":" }
    return "the connection string: libpq says \"\(words.trimmingTrailingSpaces)\" of an option"
  }

  /// Some values are looked at with each host only: `connection to server … failed: invalid integer value "…" for …`.
  private static func withoutRefusedValue(_ line: Substring) -> Substring {
    guard let start = line.firstRange(of: "failed: invalid ")?.upperBound else { return line }
    return line[..<(line[start...].firstIndex(of: "\"") ?? line.endIndex)] + "of an option"
  }

  /// A complaint of `PQconninfoParse` in words of ours, chosen by how it begins.
  private static func words(for complaint: String) -> String {
    let quoting = "a value with a space is written in single quotes, in a URL with %20"
    let known: [(beginning: String, words: String)] = [
      (
        "invalid percent-encoded token",
        "a \"%\" in it is not followed by two hexadecimal digits; the sign itself is written %25"
      ),
      ("forbidden value %00", "it contains %00"),
      ("invalid connection option", "it has an option that libpq does not know; \(quoting)"),
      ("invalid URI query parameter", "it has an option that libpq does not know; \(quoting)"),
      ("missing \"=\"", "a word in it has no \"=\"; \(quoting)"),
      ("unterminated quoted string", "a quotation mark in it is not closed"),
      ("missing key/value separator", "what follows its \"?\" must be NAME=VALUE, separated by \"&\""),
      ("extra key/value separator", "what follows its \"?\" must be NAME=VALUE, separated by \"&\""),
      ("unexpected character", "its host or port is malformed"),
      ("end of string reached", "the \"]\" of an IPv6 address is missing"),
      ("IPv6 host address", "the IPv6 address between \"[\" and \"]\" is missing"),
    ]
    return known.first { complaint.hasPrefix($0.beginning) }?.words ?? "libpq cannot read it"
  }

  /// A password with a bare "@" or "/" is read as a part of the host or of the database's name, and these are shown.
  private static func problem(inURL text: String) -> String? {
    guard let scheme = ["postgresql://", "postgres://"].first(where: text.hasPrefix) else { return nil }
    var rest = text.utf8.dropFirst(scheme.utf8.count)
    if let end = rest.firstIndex(where: { $0 == UInt8(ascii: "@") || $0 == UInt8(ascii: "/") }),
      rest[end] != UInt8(ascii: "/")
    {
      rest = rest[rest.index(after: end)...]
    }
    guard rest.prefix(while: { $0 != UInt8(ascii: "?") }).contains(UInt8(ascii: "@")) else { return nil }
    return "it has an \"@\" after the host began; in a name or a password write %40 for \"@\" and %2F for \"/\""
  }

  private static func problem(with options: UnsafeMutablePointer<PQconninfoOption>) -> String? {
    var option = options
    while let keyword = option.pointee.keyword {
      if let value = option.pointee.val.map({ String(cString: $0) }) {
        switch String(cString: keyword) {
        case "port" where !value.split(separator: ",", omittingEmptySubsequences: false).allSatisfy(isPort):
          return "its port is no number from 1 to 65535; in a URL write %2F for a \"/\" in the password"
        case "dbname" where value.contains("://"): return "the database's name in it is a URL"
        default: break
        }
      }
      option += 1
    }
    return nil
  }

  private static func isPort(_ text: Substring) -> Bool {
    text.isEmpty || text.utf8.allSatisfy { (0x30...0x39).contains($0) } && (1...65535).contains(Int(text) ?? 0)
  }
}

extension Substring {
  fileprivate var trimmingTrailingSpaces: Substring {
    lastIndex { $0 != " " }.map { self[...$0] } ?? ""
  }
}
