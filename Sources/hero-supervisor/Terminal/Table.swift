/// Rows for people: a header, columns aligned by their widest cell, two spaces between, nothing at the end of a line. A
/// cell cannot break the table, or send a terminal its own commands.
struct Table {
  enum Alignment { case left, right }

  private let header: [String]
  private let alignments: [Alignment]
  private var rows: [[String]] = []

  init(_ columns: [(title: String, alignment: Alignment)]) {
    header = columns.map(\.title)
    alignments = columns.map(\.alignment)
  }

  mutating func add(_ cells: [String]) {
    precondition(cells.count == header.count, "a row has a cell for each column")
    rows.append(cells.map { $0.printable() })
  }

  /// The lines, each with its end.
  var rendered: String {
    let lines = [header] + rows
    let widths = header.indices.map { column in lines.map { Self.width($0[column]) }.max() ?? 0 }
    var result = ""
    for line in lines {
      var text = ""
      for (column, cell) in line.enumerated() {
        let padding = String(repeating: " ", count: widths[column] - Self.width(cell))
        text += alignments[column] == .right ? padding + cell : cell + padding
        text += "  "
      }
      result += text.trimmingTrailingSpaces + "\n"
    }
    return result
  }

  /// Terminal columns that a text takes, near enough: wide East Asian characters and emoji take two, combining ones
  /// none (Unicode Standard Annex 11).
  static func width(_ text: String) -> Int {
    text.reduce(0) { sum, character in
      let first = character.unicodeScalars.first?.value ?? 0
      let isWide =
        (0x1100...0x115F).contains(first) || (0x2E80...0xA4CF).contains(first) || (0xAC00...0xD7A3).contains(first)
        || (0xF900...0xFAFF).contains(first) || (0xFE30...0xFE6F).contains(first) || (0xFF00...0xFF60).contains(first)
        || (0x1F300...0x1FAFF).contains(first) || (0x20000...0x3FFFD).contains(first)
      return sum + (isWide ? 2 : 1)
    }
  }
}

extension String {
  fileprivate var trimmingTrailingSpaces: String {
    guard let last = lastIndex(where: { $0 != " " }) else { return "" }
    return String(self[...last])
  }
}
