import Supervisor

extension SettingKind<SandboxSettings?> {
  /// `true` for a sandbox as it is by default, or an object that says what is different; `false` for none.
  static let sandbox = SettingKind<SandboxSettings?>(
    expected: expectation,
    read: { node, path, findings in
      if let isOn = node.asBool { return .some(isOn ? SandboxSettings() : nil) }
      let parsed = node.asString.flatMap { SettingNode.parsedText($0, source: node.source) } ?? node
      guard case .object(let members) = parsed.value else {
        findings.problem(path, "expected \(expectation), got \(node.shown)", node.source)
        return nil
      }
      var settings = SandboxSettings()
      for (key, member) in members where !member.isNull {
        let place = "\(path).\(key)"
        switch key {
        case "network": settings.hasNetwork = SettingKind<Bool>.bool.read(member, place, findings) ?? false
        case "read":
          let kind = SettingKind<[String]>.list(of: .absolutePath, what: "absolute paths")
          settings.readablePaths = kind.read(member, place, findings) ?? []
        case "tmp_bytes":
          let kind = SettingKind<Int>.int((1 << 20)...(1 << 40))
          settings.memoryBytes = kind.read(member, place, findings) ?? settings.memoryBytes
        default:
          let hint = suggestion(for: key, among: keys).map { "did you mean \"\($0)\"?" }
          findings.problem(
            place, "unknown key; \(hint ?? "known here: \(keys.joined(separator: ", "))")", member.source)
        }
      }
      return .some(settings)
    },
    show: { settings in
      guard let settings else { return .bool(false) }
      func node(_ value: SettingNode.Value) -> SettingNode { SettingNode(value, source: .builtIn) }
      return .object([
        ("network", node(.bool(settings.hasNetwork))),
        ("read", node(.list(settings.readablePaths.map { node(.string($0)) }))),
        ("tmp_bytes", node(.int(Int64(settings.memoryBytes)))),
      ])
    })

  private static let expectation = "true, false, or an object with \"network\", \"read\" or \"tmp_bytes\""
  private static let keys = ["network", "read", "tmp_bytes"]
}

extension SettingKind<String> {
  /// Without `..`, `.` or a second slash, so that it says by itself where it is.
  fileprivate static let absolutePath = simple(
    "an absolute path such as \"/opt/tool\"", show: { .string($0) },
    parse: { node in
      node.asString.flatMap { path in
        let parts = path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        let isPlain = path.hasPrefix("/") && !parts.isEmpty && !parts.contains { ["", ".", ".."].contains($0) }
        return isPlain && !path.utf8.contains(0) ? path : nil
      }
    })
}
