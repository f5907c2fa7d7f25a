import Supervisor

/// What a setting takes: how to say it, how to read it, and how to show it. The kinds are the only places where a
/// value of the configuration is judged by itself.
struct SettingKind<Value: Sendable>: Sendable {
  /// Completes "expected …".
  let expected: String
  /// Whether values must not be shown, neither in errors nor by `config show`.
  var isSecret = false
  /// Reads a value; reports what is wrong at `path` and answers `nil`.
  let read: @Sendable (SettingNode, _ path: String, ConfigurationFindings) -> Value?
  /// The value as `config show` prints it.
  let show: @Sendable (Value) -> SettingNode.Value
}

extension SettingKind {
  /// A kind whose wrong values all get the same answer: "expected …, got …".
  static func simple(
    _ expected: String, show: @escaping @Sendable (Value) -> SettingNode.Value,
    parse: @escaping @Sendable (SettingNode) -> Value?
  ) -> SettingKind {
    SettingKind(
      expected: expected,
      read: { node, path, findings in
        if let value = parse(node) { return value }
        findings.problem(path, "expected \(expected), got \(node.shown)", node.source)
        return nil
      }, show: show)
  }
}

extension SettingNode {
  /// A string of the file, or the text of another layer.
  var asString: String? {
    switch value {
    case .string(let string), .text(let string): string
    default: nil
    }
  }

  var asInt: Int? {
    switch value {
    case .int(let int): Int(int)
    case .double(let double): Int(exactly: double)
    case .text(let text): Int(trimmed(text))
    default: nil
    }
  }

  var asDouble: Double? {
    switch value {
    case .int(let int): Double(int)
    case .double(let double): double
    case .text(let text): Double(trimmed(text))
    default: nil
    }
  }

  var asBool: Bool? {
    switch value {
    case .bool(let bool): bool
    case .text("true"): true
    case .text("false"): false
    default: nil
    }
  }
}

extension SettingKind<String> {
  static func string(_ what: String = "a non-empty string") -> SettingKind {
    simple(what, show: { .string($0) }, parse: { node in node.asString.flatMap { $0.isEmpty ? nil : $0 } })
  }

  /// A text on one line that travels in every packet, of so many bytes.
  static func label(_ bytes: ClosedRange<Int>) -> SettingKind {
    simple(
      "a string of \(bytes.lowerBound) to \(bytes.upperBound) bytes without control characters", show: { .string($0) },
      parse: { node in
        node.asString.flatMap { text in
          bytes.contains(text.utf8.count) && text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F } ? text : nil
        }
      })
  }

  /// An argument of a command, which may be empty.
  static let argument = simple("a string", show: { .string($0) }, parse: { $0.asString })
}

extension SettingKind<Int> {
  static func int(_ range: ClosedRange<Int>) -> SettingKind {
    let expected =
      range.upperBound == .max
      ? "a whole number of at least \(range.lowerBound)"
      : "a whole number from \(range.lowerBound) to \(range.upperBound)"
    return simple(
      expected, show: { .int(Int64($0)) },
      parse: { node in
        node.asInt.flatMap { range.contains($0) ? $0 : nil }
      })
  }
}

extension SettingKind<Bool> {
  static let bool = simple("true or false", show: { .bool($0) }, parse: { $0.asBool })
}

extension SettingKind<Double> {
  static func number(_ range: ClosedRange<Int>) -> SettingKind {
    let show: @Sendable (Double) -> SettingNode.Value = { number in
      Int64(exactly: number).map { .int($0) } ?? .double(number)
    }
    return simple(
      "a number from \(range.lowerBound) to \(range.upperBound)", show: show,
      parse: { node in
        node.asDouble.flatMap { $0 >= Double(range.lowerBound) && $0 <= Double(range.upperBound) ? $0 : nil }
      })
  }
}

extension SettingKind<Double> {
  static func fraction(_ range: ClosedRange<Double>) -> SettingKind {
    simple(
      "a number from \(range.lowerBound) to \(Int(range.upperBound))", show: { .double($0) },
      parse: { node in node.asDouble.flatMap { range.contains($0) ? $0 : nil } })
  }
}

extension SettingKind<HostPort> {
  /// An address to listen on: numeric or `localhost`; port 0 is any free one.
  static let listenAddress = simple(
    "an address of this machine as IP:PORT, such as \"127.0.0.1:8082\" or \"[::]:8082\"", show: { .string("\($0)") },
    parse: { node in node.asString.flatMap(HostPort.init).flatMap { $0.isLocalAddress ? $0 : nil } })

  /// An address of another node, or how others reach this one.
  static let peerAddress = simple(
    "an address as HOST:PORT, such as \"10.0.0.1:7946\"", show: { .string("\($0)") },
    parse: { node in node.asString.flatMap(HostPort.init).flatMap { $0.port == 0 ? nil : $0 } })
}

extension SettingKind where Value: Name {
  /// A name of the domain.
  static var name: SettingKind {
    SettingKind(
      expected: "a name of 1 to \(Value.maximumBytes) bytes",
      read: { node, path, findings in
        guard let string = node.asString else {
          findings.problem(path, "expected a name (a string), got \(node.shown)", node.source)
          return nil
        }
        do throws(InvalidName) { return try Value(string) } catch {
          findings.problem(path, "\(error.reason), got \(quoted(string))", node.source)
          return nil
        }
      }, show: { .string($0.rawValue) })
  }
}

extension SettingKind where Value: CaseIterable & RawRepresentable, Value.RawValue == String {
  /// One of a few words.
  static var word: SettingKind { word(Array(Value.allCases)) { $0.rawValue } }
}

extension SettingKind {
  /// One of a few words, each with its value.
  static func word(_ cases: [Value], _ spell: @escaping @Sendable (Value) -> String) -> SettingKind {
    let words = cases.map(spell)
    let expected = words.dropLast().map { "\"\($0)\"" }.joined(separator: ", ") + " or \"\(words.last ?? "")\""
    return SettingKind(
      expected: expected,
      read: { node, path, findings in
        if let string = node.asString, let index = words.firstIndex(of: string) { return cases[index] }
        let hint = node.asString.flatMap { suggestion(for: $0, among: words) }.map { "; did you mean \"\($0)\"?" } ?? ""
        findings.problem(path, "expected \(expected), got \(node.shown)\(hint)", node.source)
        return nil
      }, show: { .string(spell($0)) })
  }

  /// A list. In the environment and in flags its elements are separated by commas, or it is written as JSON.
  static func list<Element>(of kind: SettingKind<Element>, atLeast minimum: Int = 0, what: String) -> SettingKind
  where Value == [Element] {
    let expected = minimum > 0 ? "a non-empty list of \(what)" : "a list of \(what)"
    return SettingKind(
      expected: expected, isSecret: kind.isSecret,
      read: { node, path, findings in
        var node = node
        if case .text(let text) = node.value {
          let parts = text.split(separator: ",").map { SettingNode(.text(trimmed($0)), source: node.source) }
          node = SettingNode.parsedText(text, source: node.source) ?? SettingNode(.list(parts), source: node.source)
        }
        guard case .list(let elements) = node.value, elements.count >= minimum else {
          let got = kind.isSecret ? node.sort : node.shown
          findings.problem(path, "expected \(expected), got \(got)", node.source)
          return nil
        }
        let values = elements.enumerated().map { kind.read($1, "\(path)[\($0)]", findings) }
        return values.contains { $0 == nil } ? nil : values.compactMap { $0 }
      }, show: { values in .list(values.map { SettingNode(kind.show($0), source: .builtIn) }) })
  }
}

extension SettingKind<SecretReference> {
  /// A literal secret, `env:NAME` or `file:PATH`.
  static let secret = SettingKind(
    expected: "a secret (the literal, \"env:NAME\" or \"file:PATH\")", isSecret: true,
    read: { node, path, findings in
      guard let string = node.asString else {
        findings.problem(path, "expected a secret as a string, got \(node.sort)", node.source)
        return nil
      }
      let reference = SecretReference(string)
      switch reference {
      case .literal(let secret) where secret.reveal().isEmpty: findings.problem(path, "must not be empty", node.source)
      case .environment(""): findings.problem(path, "expected a variable's name after env:", node.source)
      case .file(""): findings.problem(path, "expected a path after file:", node.source)
      default: return reference
      }
      return nil
    }, show: { .string("\($0)") })
}
