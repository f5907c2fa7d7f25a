import JSONRPC

/// The configuration in force, as `config show` prints it. It is made from what the kinds of the settings allow to be
/// shown, so no secret can be in it.
struct ConfigurationPresentation {
  private let loaded: ConfigurationLoader.Loaded

  init(_ loaded: ConfigurationLoader.Loaded) { self.loaded = loaded }

  /// One line a setting: path, value, source.
  var table: String {
    var table = Table([("SETTING", .left), ("VALUE", .left), ("SOURCE", .left)])
    for (path, value, source) in rows { table.add([path, value.text, source]) }
    return table.rendered
  }

  /// `{"node": …, "configuration": {…}, "sources": {"api.listen": "default", …}}`
  var json: JSON {
    let configuration = loaded.configuration
    let file = configuration.file.map { JSON.string($0) } ?? .null
    return [
      "node": [
        "name": .string(configuration.nodeName.rawValue), "data_directory": .string(configuration.dataDirectory),
        "file": file,
      ],
      "configuration": Self.tree(settings.map { ($0.path.components[...], JSON($0.shown)) }),
      "sources": .object(JSONObject(members: settings.map { ("\($0.path)", JSON.string("\($0.source)")) })),
    ]
  }

  private var rows: [(String, JSON, String)] {
    let configuration = loaded.configuration
    return [
      ("(node name)", .string(configuration.nodeName.rawValue), ""),
      ("(data directory)", .string(configuration.dataDirectory), ""),
    ] + settings.map { ("\($0.path)", JSON($0.shown), "\($0.source)") }
  }

  /// Settings in force; of the two stores only the chosen one.
  private var settings: [EffectiveSetting] {
    let unused: SettingPath
    switch loaded.configuration.store {
    case .sqlite: unused = .root + "store" + "postgres"
    case .postgres: unused = .root + "store" + "sqlite"
    }
    return loaded.effective.filter { !$0.path.components.starts(with: unused.components) }
  }

  /// The settings as one document; those with a common beginning stand beside each other.
  private static func tree(_ settings: [(path: ArraySlice<SettingPath.Component>, value: JSON)]) -> JSON {
    guard let first = settings.first?.path.first else { return settings.first?.value ?? .null }
    var groups: [(SettingPath.Component, [(path: ArraySlice<SettingPath.Component>, value: JSON)])] = []
    for (path, value) in settings {
      guard let head = path.first else { continue }
      if groups.last?.0 != head { groups.append((head, [])) }
      groups[groups.count - 1].1.append((path.dropFirst(), value))
    }
    if case .index = first { return .array(groups.map { tree($0.1) }) }
    return .object(
      JSONObject(
        members:
          groups.map { component, members in
            guard case .key(let key) = component else { preconditionFailure("a list has indexes only") }
            return (key, tree(members))
          }))
  }
}

extension JSON {
  /// A shown value as JSON.
  fileprivate init(_ value: SettingNode.Value) {
    switch value {
    case .object(let members): self = .object(JSONObject(members: members.map { ($0.key, JSON($0.node.value)) }))
    case .list(let elements): self = .array(elements.map { JSON($0.value) })
    case .string(let string), .text(let string): self = .string(string)
    case .int(let int): self = .int(int)
    case .double(let double): self = .double(double)
    case .bool(let bool): self = .bool(bool)
    case .null: self = .null
    }
  }
}
