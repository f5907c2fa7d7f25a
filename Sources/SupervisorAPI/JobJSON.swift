import ExactText
import JSONRPC
import Supervisor

// Jobs as the contract writes them, both ways.

extension Params {
  /// A name of the domain.
  func name<N: Name>(_ field: String, as type: N.Type = N.self) throws(JSONRPCError) -> N {
    let text = try string(field)
    do { return try N(text) } catch {
      throw JSONRPCError(
        code: -32602, message: "Invalid params: \(self.field(field)) \(error.reason)",
        data: ["field": .string(self.field(field)), "expected": .string(error.reason)])
    }
  }

  func optionalName<N: Name>(_ field: String, as type: N.Type = N.self) throws(JSONRPCError) -> N? {
    optional(field) == nil ? nil : try name(field)
  }

  /// The `Job` in the field `job`; all ten fields of the schema are required, its timestamps are the node's to set.
  func job() throws(JSONRPCError) -> Job {
    let job = try params("job")
    _ = try job.string("created_at")
    _ = try job.string("updated_at")
    let executor: ExecutorName = try job.name("executor")
    return Job(
      id: try job.name("id"), callerID: try job.label("caller_id"), contextID: try job.label("context_id"),
      payload: try job.payload(for: executor), runner: try job.name("runner"), executor: executor,
      timeoutSeconds: try job.timeout(), environment: try job.environment())
  }

  /// A shell takes a byte order mark for the beginning of the first command's name, and nobody sees why it is not found.
  /// Python, and whatever else an executor may be, knows what it is.
  private func payload(for executor: ExecutorName) throws(JSONRPCError) -> String {
    let payload = try string("payload")
    if executor == .shell, payload.utf8.beginsWithByteOrderMark {
      throw .invalidParams(field: field("payload"), expected: "a script without a byte order mark before it")
    }
    return payload
  }

  /// Any text that the environment of a process and a column of the store can hold.
  private func label(_ name: String) throws(JSONRPCError) -> String {
    let text = try string(name)
    if text.utf8.contains(0) { throw .invalidParams(field: field(name), expected: "a string without NUL") }
    return text
  }

  /// Seconds from 0; a bound that no clock of ours overflows.
  private func timeout() throws(JSONRPCError) -> Double {
    let expected = "a number of seconds from 0 to 31536000"
    let value = try required("timeout", expected)
    guard let seconds = value.doubleValue, seconds >= 0, seconds <= 31_536_000 else {
      throw .invalidParams(field: field("timeout"), expected: expected, got: value)
    }
    return seconds
  }

  private func environment() throws(JSONRPCError) -> [VariableName: String] {
    let variables = try params("env_vars")
    guard variables.object.count <= Job.maximumVariables else {
      throw .invalidParams(field: variables.path, expected: "at most \(Job.maximumVariables) variables")
    }
    var environment: [VariableName: String] = [:]
    environment.reserveCapacity(variables.object.count)
    for (key, value) in variables.object.members {
      guard let name = try? VariableName(key) else {
        throw .invalidParams(field: variables.field(key), expected: VariableName.expectation)
      }
      guard case .string(let text) = value else {
        throw .invalidParams(field: variables.field(key), expected: "a string", got: value)
      }
      environment[name] = text
    }
    return environment
  }
}

extension JSON {
  /// The contract's `Job`.
  static func job(_ record: JobRecord) -> JSON {
    .object(JSONObject(members: JobField.contract.map { ($0.rawValue, job(record, $0) ?? .null) }))
  }

  /// One field of a job, the contract's or ours; `nil` for the result that there is none of yet.
  static func job(_ record: JobRecord, _ field: JobField) -> JSON? {
    let job = record.job
    return switch field {
    case .id: .string(job.id.rawValue)
    case .callerID: .string(job.callerID)
    case .contextID: .string(job.contextID)
    case .payload: .string(job.payload)
    case .runner: .string(job.runner.rawValue)
    case .executor: .string(job.executor.rawValue)
    case .timeout: number(job.timeoutSeconds)
    case .environment: environment(job.environment)
    case .createdAt: time(record.createdAt)
    case .updatedAt: time(record.updatedAt)
    case .status: .string(record.status.rawValue)
    case .attempt: .int(Int64(record.attempt))
    case .startedAt: time(record.startedAt)
    case .completedAt: time(record.completedAt)
    case .result: record.result.map(result)
    }
  }

  private static func environment(_ variables: [VariableName: String]) -> JSON {
    .object(
      JSONObject(
        members: variables.sorted { $0.key < $1.key }.map { (key: $0.key.rawValue, value: .string($0.value)) }))
  }

  /// The answer of `job.status`.
  /// - Parameter onHold: why its queue starts nothing at present.
  static func jobStatus(_ job: JobSummary, onHold: String?) -> JSON {
    var object: JSONObject = [
      "job_id": .string(job.id.rawValue), "status": .string(job.status.rawValue), "created_at": time(job.createdAt),
      "started_at": time(job.startedAt), "completed_at": time(job.completedAt),
    ]
    if let onHold { object["on_hold"] = .string(onHold) }
    return .object(object)
  }

  /// The answer of `job.run` and `job.result`.
  static func result(_ result: JobResult) -> JSON {
    switch result {
    case .success(let output): ["success": .string(output)]
    case .error(let reason): ["error": .string(reason)]
    }
  }

  static func time(_ time: Timestamp?) -> JSON { time.map { .string($0.description) } ?? .null }

  /// Whole seconds as an integer, as clients write them.
  private static func number(_ seconds: Double) -> JSON {
    seconds == seconds.rounded() ? .int(Int64(seconds)) : .double(seconds)
  }
}
