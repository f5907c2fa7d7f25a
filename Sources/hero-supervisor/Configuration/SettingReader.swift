/// Reads one object of the configuration key by key. Each key is named once, with its kind and its default; from that
/// come the value, every error with its path, the schema, and the list that `config show` prints.
struct SettingReader {
  let node: SettingNode
  /// Where the object is, e.g. `runners[0]`.
  let path: SettingPath
  /// The same with `[]` and `*` for what the user chooses.
  let pattern: String
  let findings: ConfigurationFindings
  private var keys: [String] = []

  init(_ node: SettingNode, path: SettingPath = .root, pattern: String = "", findings: ConfigurationFindings) {
    self.node = node
    self.path = path
    self.pattern = pattern
    self.findings = findings
    if case .object = node.value { return }
    findings.problem("\(path)", "expected an object, got \(node.sort)", node.source)
  }

  /// Whether anyone set a key of this object.
  var isPresent: Bool {
    if case .object(let members) = node.value { return members.contains { !$0.node.isNull } }
    return true
  }

  /// The value of a key, or its default when it is absent or wrong.
  mutating func value<T>(_ key: String, _ kind: SettingKind<T>, default fallback: T) -> T {
    let value = read(key, kind)
    findings.inForce(path + key, kind.show(value ?? fallback), node[key]?.source ?? .builtIn)
    return value ?? fallback
  }

  /// The value of a key that may be absent.
  mutating func optional<T>(_ key: String, _ kind: SettingKind<T>) -> T? {
    let value = read(key, kind)
    findings.inForce(path + key, value.map(kind.show) ?? .null, node[key]?.source ?? .builtIn)
    return value
  }

  /// The value of a key that must be there; `nil` after a problem was reported.
  mutating func required<T>(_ key: String, _ kind: SettingKind<T>) -> T? {
    if node[key] == nil, case .object = node.value {
      findings.problem("\(path)", "needs the key \"\(key)\": \(kind.expected)", node.source)
    }
    return optional(key, kind)
  }

  /// A nested object, empty when it is absent.
  mutating func section(_ key: String) -> SettingReader {
    keys.append(key)
    let child = node[key] ?? SettingNode(.object([]), source: .builtIn)
    return SettingReader(child, path: path + key, pattern: join(pattern, key), findings: findings)
  }

  /// The objects of a list.
  mutating func elements(_ key: String, what: String) -> [SettingReader] {
    let node = structure(key, expected: "a list of \(what)", empty: .list([]), schema: { .list([$0]) })
    guard case .list(let elements) = node.value else {
      findings.problem("\(path + key)", "expected a list of \(what), got \(node.sort)", node.source)
      return []
    }
    return elements.enumerated().map { index, element in
      SettingReader(
        element, path: path + key + index, pattern: "\(join(pattern, key))[]", findings: findings)
    }
  }

  /// The members of an object whose keys the user chooses.
  mutating func entries(_ key: String, what: String) -> [(name: String, reader: SettingReader)] {
    let node = structure(key, expected: "an object of \(what)", empty: .object([]), schema: { .object([("*", $0)]) })
    guard case .object(let members) = node.value else {
      findings.problem("\(path + key)", "expected an object of \(what), got \(node.sort)", node.source)
      return []
    }
    return members.map { name, member in
      (name, SettingReader(member, path: path + key + name, pattern: "\(join(pattern, key)).*", findings: findings))
    }
  }

  /// Reports the keys that nobody asked for.
  func finish() {
    guard case .object(let members) = node.value else { return }
    for (key, member) in members where !keys.contains(key) {
      let hint = suggestion(for: key, among: keys).map { "did you mean \"\($0)\"?" }
      let known = "known here: \(keys.joined(separator: ", "))"
      findings.problem("\(path + key)", "unknown key; \(hint ?? known)", member.source)
    }
  }

  private mutating func read<T>(_ key: String, _ kind: SettingKind<T>) -> T? {
    keys.append(key)
    findings.knows(join(pattern, key), expected: kind.expected)
    return node[key].flatMap { kind.read($0, "\(path + key)", findings) }
  }

  /// A list or an object of the user's, empty when it is absent; in a layer without types it is written as JSON.
  private mutating func structure(
    _ key: String, expected: String, empty: SettingNode.Value, schema: (SettingNode) -> SettingNode.Value
  ) -> SettingNode {
    keys.append(key)
    findings.knows(join(pattern, key), expected: expected)
    if findings.describesSchema {
      return SettingNode(schema(SettingNode(.object([]), source: .builtIn)), source: .builtIn)
    }
    let node = self.node[key] ?? SettingNode(empty, source: .builtIn)
    switch node.value {
    case .list(let elements) where elements.isEmpty: findings.inForce(path + key, node.value, node.source)
    case .object(let members) where members.isEmpty: findings.inForce(path + key, node.value, node.source)
    case .text(let text): return SettingNode.parsedText(text, source: node.source) ?? node
    default: break
    }
    return node
  }

  private func join(_ pattern: String, _ key: String) -> String { pattern.isEmpty ? key : "\(pattern).\(key)" }
}
