/// Which layer a setting comes from. A flag beats the environment, which beats the file, which beats the default.
enum SettingSource: Hashable, Comparable, Sendable, CustomStringConvertible {
  case builtIn
  case file(String)
  case environment(String)
  case flag(String)

  var description: String {
    switch self {
    case .builtIn: "default"
    case .file(let path): path
    case .environment(let name): "environment variable \(name)"
    case .flag(let name): "flag \(name)"
    }
  }

  /// Higher beats lower.
  var rank: Int {
    switch self {
    case .builtIn: 0
    case .file: 1
    case .environment: 2
    case .flag: 3
    }
  }

  static func < (a: SettingSource, b: SettingSource) -> Bool { a.rank < b.rank }
}
