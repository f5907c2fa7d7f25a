import Supervisor

/// One member of the section `executors`.
struct ExecutorReading {
  /// Names that the node itself provides; a configured executor of such a name replaces it.
  static let builtIn = ["shell", "python", "echo"]

  var configuration: ExecutorConfiguration
  /// Variables that a job gets from the node's own environment, where they are set.
  var passedVariables: [VariableName]

  init?(name: String, reader: SettingReader) {
    var reader = reader
    let findings = reader.findings
    let path = "\(reader.path)"
    let source = reader.node.source
    var executorName: ExecutorName?
    do throws(InvalidName) { executorName = try ExecutorName(name) } catch {
      findings.problem(path, "an executor's name \(error.reason)", source)
    }

    let command: [String]? = reader.required(
      "command", .list(of: .argument, atLeast: 1, what: "strings (the program and its arguments)"))
    let problemsBefore = findings.problems.count
    let payload: PayloadPassing = reader.value("payload", .word, default: .stdin)
    let payloadIsClear = findings.problems.count == problemsBefore
    let wrapper = reader.value("wrapper", .list(of: .argument, what: "strings"), default: [])
    let environment = reader.value("env", .variables, default: [:])
    passedVariables = reader.value("pass_env", .list(of: .variableName, what: "names of variables"), default: [])
    let user = reader.optional("user", .string("the name of a user"))
    let allowsNewPrivileges = reader.optional("allow_new_privileges", .bool)
    let limits = Self.limits(reader.section("limits"))
    let sandbox = reader.value("sandbox", .sandbox, default: nil)
    reader.finish()

    if let command, payloadIsClear { Self.checkPlaceholders(command, payload, "\(path).command", findings, source) }
    if wrapper.contains(where: { $0.contains("{payload}") || $0.contains("{payload_file}") }) {
      findings.problem("\(path).wrapper", "{payload} and {payload_file} belong into \"command\"", source)
    }
    if sandbox != nil, !wrapper.isEmpty {
      findings.problem("\(path).sandbox", "a sandbox has no place for a \"wrapper\"; choose one of the two", source)
    }
    if sandbox != nil, allowsNewPrivileges == true {
      findings.problem("\(path).sandbox", "excludes \"allow_new_privileges\": true", source)
    }
    if command?.first?.isEmpty == true { findings.problem("\(path).command[0]", "must name a program", source) }
    guard let executorName, let command else { return nil }
    configuration = ExecutorConfiguration(
      name: executorName, command: command, payload: payload, wrapper: wrapper, environment: environment, user: user,
      limits: limits, allowsNewPrivileges: allowsNewPrivileges, sandbox: sandbox)
  }

  private static func limits(_ section: SettingReader) -> ResourceLimits {
    var section = section
    defer { section.finish() }
    return ResourceLimits(
      memoryBytes: section.optional("memory_bytes", .int((1 << 20)...(.max))),
      cpuSeconds: section.optional("cpu_seconds", .int(1...(.max))),
      openFiles: section.optional("open_files", .int(8...(1 << 30))),
      processes: section.optional("processes", .int(1...(1 << 22))),
      group: ControlGroups.Limits(
        memoryBytes: section.optional("memory_max_bytes", .int((1 << 20)...(.max))),
        processors: section.optional("cpu_max", .fraction(0.01...10_000)),
        processes: section.optional("processes_max", .int(1...(1 << 22)))))
  }

  /// The way of passing the payload and the placeholders in the command must agree.
  private static func checkPlaceholders(
    _ command: [String], _ payload: PayloadPassing, _ path: String, _ findings: ConfigurationFindings,
    _ source: SettingSource
  ) {
    let used = ["{payload_file}", "{payload}"].filter { placeholder in command.contains { $0.contains(placeholder) } }
    let wanted: String? =
      switch payload {
      case .stdin: nil
      case .file: "{payload_file}"
      case .argument: "{payload}"
      }
    if let wanted, !used.contains(wanted) {
      findings.problem(path, "with \"payload\": \"\(payload.rawValue)\" it must contain \(wanted)", source)
    }
    for other in used where other != wanted {
      let needed = other == "{payload}" ? "argument" : "file"
      findings.problem(
        path, "\(other) needs \"payload\": \"\(needed)\", but it is \"\(payload.rawValue)\"", source)
    }
  }
}

extension SettingKind<VariableName> {
  /// The name of an environment variable.
  static let variableName = simple(
    "the name of a variable", show: { .string($0.rawValue) },
    parse: { node in node.asString.flatMap { try? VariableName($0) } })
}

extension SettingKind<[VariableName: String]> {
  /// Environment variables and their values, which may be secret and are never shown.
  static let variables = SettingKind(
    expected: "an object of variables and their values", isSecret: true,
    read: { node, path, findings in
      guard case .object(let members) = node.value else {
        findings.problem(path, "expected an object of variables and their values, got \(node.sort)", node.source)
        return nil
      }
      var variables: [VariableName: String] = [:]
      for (name, member) in members {
        guard let variable = try? VariableName(name) else {
          findings.problem(
            path, "\(quoted(name)) cannot be the name of a variable: expected \(VariableName.expectation)",
            member.source)
          continue
        }
        if let value = member.asString, !value.utf8.contains(0) {
          variables[variable] = value
        } else {
          findings.problem("\(path).\(name)", "expected a string without NUL, got \(member.sort)", member.source)
        }
      }
      return variables
    },
    show: { variables in
      .object(
        variables.keys.sorted().map { ($0.rawValue, SettingNode(SettingNode.Value.string("***"), source: .builtIn)) })
    })
}
