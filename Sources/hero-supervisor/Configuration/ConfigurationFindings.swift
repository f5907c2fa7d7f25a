/// One thing that is wrong, or that an operator should look at: where, what, and which layer said it.
struct ConfigurationProblem: Hashable, Sendable, CustomStringConvertible {
  /// The JSON path, e.g. `runners[0].concurrency`; empty for the file as a whole.
  var path: String
  var message: String
  var source: SettingSource

  var description: String {
    let origin = source == .builtIn ? "" : " (\(source))"
    return path.isEmpty ? "\(message)\(origin)" : "\(path): \(message)\(origin)"
  }
}

/// All problems of a configuration at once, so that an operator mends a file in one go.
struct ConfigurationError: Error, Sendable {
  var problems: [ConfigurationProblem]
  var warnings: [ConfigurationProblem] = []
}

/// A setting that the schema knows.
struct KnownSetting: Sendable {
  /// The path with `[]` for each list and `*` for each name that the user chooses: `executors.*.command`.
  var pattern: String
  /// What it takes, e.g. "a number from 0 to 3600".
  var expected: String

  /// The environment variable that sets it, by one rule: `HERO_`, then the path in capitals with `_` between its
  /// parts. Members of lists have none; the list has one, which takes JSON.
  var environmentName: String? {
    guard !pattern.contains("*"), !pattern.contains("[") else { return nil }
    return "HERO_" + pattern.uppercased().map { $0 == "." ? "_" : String($0) }.joined()
  }
}

/// A setting as it is in force.
struct EffectiveSetting: Sendable {
  var path: SettingPath
  /// Never a secret.
  var shown: SettingNode.Value
  var source: SettingSource
}

/// What reading a configuration gathers beside its values. A class, since all readers of one pass write into it.
final class ConfigurationFindings {
  /// With `true` every list has one element and no value is missed: what remains is the schema.
  let describesSchema: Bool
  private(set) var problems: [ConfigurationProblem] = []
  private(set) var warnings: [ConfigurationProblem] = []
  private(set) var known: [KnownSetting] = []
  private(set) var effective: [EffectiveSetting] = []

  init(describesSchema: Bool = false) { self.describesSchema = describesSchema }

  func problem(_ path: String, _ message: String, _ source: SettingSource) {
    guard !describesSchema else { return }
    problems.append(ConfigurationProblem(path: path, message: message, source: source))
  }

  func warning(_ path: String, _ message: String, _ source: SettingSource) {
    guard !describesSchema else { return }
    warnings.append(ConfigurationProblem(path: path, message: message, source: source))
  }

  func knows(_ pattern: String, expected: String) {
    if !known.contains(where: { $0.pattern == pattern }) {
      known.append(KnownSetting(pattern: pattern, expected: expected))
    }
  }

  func inForce(_ path: SettingPath, _ shown: SettingNode.Value, _ source: SettingSource) {
    effective.append(EffectiveSetting(path: path, shown: shown, source: source))
  }

  /// The layer that set the setting at `path`.
  func source(of path: String) -> SettingSource {
    effective.last { $0.path.description == path }?.source ?? .builtIn
  }
}
