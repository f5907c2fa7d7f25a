import JSONRPC

/// A value of the configuration before it is understood, and where it came from. The layers are merged into one tree
/// of these, so that whoever reads it can say which layer was wrong.
struct SettingNode: Sendable {
  enum Value: Sendable {
    case object([(key: String, node: SettingNode)])
    case list([SettingNode])
    case string(String)
    case int(Int64)
    case double(Double)
    case bool(Bool)
    case null
    /// From the environment or a flag, which have no types: each kind reads it in its own way.
    case text(String)
  }

  var value: Value
  var source: SettingSource

  init(_ value: Value, source: SettingSource) {
    self.value = value
    self.source = source
  }

  init(_ json: JSON, source: SettingSource) {
    self.source = source
    switch json {
    case .object(let members): value = .object(members.members.map { ($0.key, SettingNode($0.value, source: source)) })
    case .array(let elements): value = .list(elements.map { SettingNode($0, source: source) })
    case .string(let string): value = .string(string)
    case .int(let int): value = .int(int)
    case .double(let double): value = .double(double)
    case .bool(let bool): value = .bool(bool)
    case .null: value = .null
    }
  }

  /// `text` of an untyped layer read as JSON, when it is an array or an object.
  static func parsedText(_ text: String, source: SettingSource) -> SettingNode? {
    guard let first = trimmed(text).first, first == "[" || first == "{" else { return nil }
    guard let json = try? JSON.parse(Array(text.utf8)) else { return nil }
    return SettingNode(json, source: source)
  }

  var isNull: Bool {
    if case .null = value { return true }
    return false
  }

  /// The member of an object; `null` counts as absent.
  subscript(key: String) -> SettingNode? {
    guard case .object(let members) = value else { return nil }
    guard let node = members.first(where: { $0.key == key })?.node, !node.isNull else { return nil }
    return node
  }

  /// Puts a value of a higher layer at a path of keys, making the objects on the way.
  mutating func put(_ node: SettingNode, at keys: ArraySlice<String>) {
    guard let key = keys.first else {
      self = node
      return
    }
    var members: [(key: String, node: SettingNode)] = []
    if case .object(let present) = value { members = present }
    if let index = members.firstIndex(where: { $0.key == key }) {
      members[index].node.put(node, at: keys.dropFirst())
    } else {
      var child = SettingNode(.object([]), source: node.source)
      child.put(node, at: keys.dropFirst())
      members.append((key, child))
    }
    value = .object(members)
  }

  /// The value as an error message shows it; long ones are cut.
  var shown: String {
    switch value {
    case .object: "an object"
    case .list(let elements): elements.isEmpty ? "an empty list" : "a list"
    case .string(let string), .text(let string): quoted(string)
    case .int(let int): "\(int)"
    case .double(let double): "\(double)"
    case .bool(let bool): "\(bool)"
    case .null: "null"
    }
  }

  /// What sort of value it is, for keys whose values must not be shown.
  var sort: String {
    switch value {
    case .object: "an object"
    case .list: "a list"
    case .string, .text: "a string"
    case .int, .double: "a number"
    case .bool: "a boolean"
    case .null: "null"
    }
  }
}

/// A string in quotes, on one line, cut after 80 characters.
func quoted(_ string: String) -> String {
  var result = "\""
  for scalar in string.prefix(80).unicodeScalars {
    switch scalar {
    case "\"", "\\": result += "\\\(scalar)"
    case _ where scalar.isUnprintable: result += scalar.escaped
    default: result.unicodeScalars.append(scalar)
    }
  }
  return result + (string.count > 80 ? "…\"" : "\"")
}
