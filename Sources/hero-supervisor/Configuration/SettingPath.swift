/// Where a setting is: `runners[0].concurrency`, `executors["my.tool"].command`.
struct SettingPath: Hashable, Sendable, CustomStringConvertible {
  enum Component: Hashable, Sendable {
    case key(String)
    case index(Int)
  }

  var components: [Component] = []

  static let root = SettingPath()

  static func + (path: SettingPath, key: String) -> SettingPath {
    SettingPath(components: path.components + [.key(key)])
  }

  static func + (path: SettingPath, index: Int) -> SettingPath {
    SettingPath(components: path.components + [.index(index)])
  }

  var description: String {
    var text = ""
    for component in components {
      switch component {
      case .index(let index): text += "[\(index)]"
      case .key(let key) where key.isEmpty || key.contains { !($0.isLetter || $0.isNumber || $0 == "_" || $0 == "-") }:
        text += "[\(quoted(key))]"
      case .key(let key): text += text.isEmpty ? key : ".\(key)"
      }
    }
    return text
  }
}
