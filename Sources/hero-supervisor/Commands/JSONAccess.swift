import JSONRPC

/// Looking into what a node answered. What is missing or of another sort is empty, not a crash.
extension JSON {
  /// The elements of an array; none for anything else.
  var elements: [JSON] { arrayValue ?? [] }

  /// The value as a cell of a table.
  var cell: String {
    switch self {
    case .string(let string): string
    case .null: "-"
    default: text
    }
  }
}
