import Logging
import Supervisor

/// One event as one line of text or of JSON. Fields stand in the order of their names, and nothing that a client sent
/// can end the line, forge another, or reach a terminal: what is unprintable is escaped.
struct LogLine {
  var time: Timestamp
  var level: Logger.Level
  var message: String
  var fields: Logger.Metadata

  /// The line with its end.
  func bytes(_ format: LogConfiguration.Format) -> [UInt8] {
    switch format {
    case .text: text
    case .json: json
    }
  }

  /// `2026-11-24T02:02:19.123Z info  job finished job=j-1 runner=default`
  private var text: [UInt8] {
    var line = "\(time) \(level.rawValue)"
    for _ in level.rawValue.utf8.count..<max(6, level.rawValue.utf8.count + 1) { line += " " }
    Self.appendEscaped(message, to: &line, quotes: false)
    for (key, value) in fields.sorted(by: { $0.key < $1.key }) {
      line += " "
      Self.appendEscaped(key, to: &line, quotes: false)
      line += "="
      let value = value.description
      if Self.needsQuotes(value) {
        line += "\""
        Self.appendEscaped(value, to: &line, quotes: true)
        line += "\""
      } else {
        line += value
      }
    }
    return Array((line + "\n").utf8)
  }

  /// `{"time":"…","level":"info","message":"job finished","job":"j-1"}`
  private var json: [UInt8] {
    var line = "{\"time\":\"\(time)\",\"level\":\"\(level.rawValue)\",\"message\":"
    Self.appendJSON(message, to: &line)
    for (key, value) in fields.sorted(by: { $0.key < $1.key }) {
      line += ","
      // The three names of the line itself are taken.
      Self.appendJSON(["time", "level", "message"].contains(key) ? "\(key)_" : key, to: &line)
      line += ":"
      Self.appendJSON(value, to: &line)
    }
    return Array((line + "}\n").utf8)
  }

  private static func appendJSON(_ value: Logger.MetadataValue, to line: inout String) {
    switch value {
    case .string(let string): appendJSON(string, to: &line)
    case .stringConvertible(let value):
      switch value {
      case is Int, is Int64, is Int32, is UInt64, is UInt32, is UInt16, is Bool: line += value.description
      case let number as Double where number.isFinite: line += number.description
      default: appendJSON(value.description, to: &line)
      }
    case .array(let elements):
      line += "["
      for (index, element) in elements.enumerated() {
        if index > 0 { line += "," }
        appendJSON(element, to: &line)
      }
      line += "]"
    case .dictionary(let members):
      line += "{"
      for (index, member) in members.sorted(by: { $0.key < $1.key }).enumerated() {
        if index > 0 { line += "," }
        appendJSON(member.key, to: &line)
        line += ":"
        appendJSON(member.value, to: &line)
      }
      line += "}"
    }
  }

  private static func appendJSON(_ string: String, to line: inout String) {
    line += "\""
    for scalar in string.unicodeScalars {
      switch scalar {
      case "\"": line += "\\\""
      case "\\": line += "\\\\"
      case _ where scalar.isUnprintable: line += scalar.escaped
      default: line.unicodeScalars.append(scalar)
      }
    }
    line += "\""
  }

  private static func appendEscaped(_ string: String, to line: inout String, quotes: Bool) {
    for scalar in string.unicodeScalars {
      switch scalar {
      case "\\" where quotes: line += "\\\\"
      case "\"" where quotes: line += "\\\""
      case _ where scalar.isUnprintable: line += scalar.escaped
      default: line.unicodeScalars.append(scalar)
      }
    }
  }

  private static func needsQuotes(_ value: String) -> Bool {
    value.isEmpty
      || value.unicodeScalars.contains { $0 == " " || $0 == "\"" || $0 == "=" || $0 == "\\" || $0.isUnprintable }
  }
}
