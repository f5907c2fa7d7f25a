import JSONRPC
import Supervisor

// Runners and jobs as an export writes them, both ways. Texts are JSON strings; what a job wrote is any bytes, and in
// base 64. Members that say nothing are left out: times that are not there, an environment without variables, standard
// output that is the result.

extension JSON {
  static func exported(_ runner: RegisteredRunner) -> JSON {
    var object: JSONObject = [
      "name": .string(runner.name.rawValue), "queue": .string(runner.queue.rawValue),
      "stopped": .bool(runner.isStopped), "epoch": .int(Int64(clamping: runner.epoch)),
    ]
    object["new_owner"] = runner.newOwner.map { .string($0.rawValue) }
    return .object(object)
  }

  static func exported(_ exported: ExportedJob) -> JSON {
    let (record, job) = (exported.record, exported.record.job)
    // One by one: `JSONObject` looks for a key before it appends it.
    var members: [(key: String, value: JSON)] = [
      ("id", .string(job.id.rawValue)), ("runner", .string(job.runner.rawValue)),
      ("executor", .string(job.executor.rawValue)), ("caller_id", .string(job.callerID)),
      ("context_id", .string(job.contextID)), ("payload", .string(job.payload)),
      ("timeout", .double(job.timeoutSeconds)),
    ]
    func add(_ key: String, _ value: JSON?) { if let value { members.append((key, value)) } }
    if !job.environment.isEmpty {
      let variables = job.environment.sorted { $0.key < $1.key }
      add("env_vars", .object(JSONObject(members: variables.map { ($0.key.rawValue, .string($0.value)) })))
    }
    add("status", .string(record.status.rawValue))
    add("attempt", .int(Int64(record.attempt)))
    add("created_at", .string("\(record.createdAt)"))
    add("updated_at", .string("\(record.updatedAt)"))
    add("started_at", record.startedAt.map { .string("\($0)") })
    add("completed_at", record.completedAt.map { .string("\($0)") })
    switch record.result {
    case .success(let text)?: add("success", .string(text))
    case .error(let text)?: add("error", .string(text))
    case nil: break
    }
    if let output = exported.output {
      if !output.stdout.elementsEqual(record.success) { add("stdout", .string(Base64.encode(output.stdout))) }
      if !output.stderr.isEmpty { add("stderr", .string(Base64.encode(output.stderr))) }
      if output.stdoutDropped > 0 { add("stdout_dropped", .int(Int64(output.stdoutDropped))) }
      if output.stderrDropped > 0 { add("stderr_dropped", .int(Int64(output.stderrDropped))) }
    }
    return .object(JSONObject(members: members))
  }
}

extension RegisteredRunner {
  init(_ fields: ExportFields) throws(ExportLineError) {
    self.init(
      name: try fields.name("name"), queue: try fields.name("queue"), isStopped: try fields.truth("stopped"),
      epoch: UInt64(try fields.integer("epoch")),
      newOwner: try fields.optional("new_owner") { fields throws(ExportLineError) in try fields.name("new_owner") })
  }
}

extension ExportedJob {
  init(_ fields: ExportFields) throws(ExportLineError) {
    let job = Job(
      id: try fields.name("id"), callerID: try fields.text("caller_id"), contextID: try fields.text("context_id"),
      payload: try fields.text("payload"), runner: try fields.name("runner"), executor: try fields.name("executor"),
      timeoutSeconds: try fields.number("timeout"), environment: try fields.variables("env_vars"))
    let status: JobStatus = try fields.word("status")
    let success = try fields.optional("success") { fields throws(ExportLineError) in try fields.text("success") }
    let error = try fields.optional("error") { fields throws(ExportLineError) in try fields.text("error") }
    let result: JobResult? =
      switch status {
      case .completed: .success(try fields.text("success"))
      case .failed, .timeout: .error(try fields.text("error"))
      case .created, .queued, .running: nil
      }
    guard (success == nil || status == .completed) && (error == nil || result == error.map { .error($0) }) else {
      throw fields.wrong("status")
    }
    let completedAt = try fields.optionalTime("completed_at")
    guard (completedAt != nil) == status.isFinal else { throw fields.wrong("completed_at") }
    let record = JobRecord(
      job: job, status: status, attempt: Int(try fields.integer("attempt")), createdAt: try fields.time("created_at"),
      updatedAt: try fields.time("updated_at"), startedAt: try fields.optionalTime("started_at"),
      completedAt: completedAt, result: result)
    var output: JobOutput?
    if status.isFinal {
      func bytes(_ key: String) throws(ExportLineError) -> [UInt8]? {
        try fields.optional(key) { fields throws(ExportLineError) in try fields.bytes(key) }
      }
      func count(_ key: String) throws(ExportLineError) -> Int {
        Int(try fields.optional(key) { fields throws(ExportLineError) in try fields.integer(key) } ?? 0)
      }
      output = JobOutput(
        stdout: try bytes("stdout") ?? Array(record.success), stderr: try bytes("stderr") ?? [],
        stdoutDropped: try count("stdout_dropped"), stderrDropped: try count("stderr_dropped"))
    }
    self.init(record: record, output: output)
  }

  /// As it can be put into a store: what ran, where it came from, waits again.
  var settled: ExportedJob {
    guard record.status == .running else { return self }
    var record = record
    record.status = .queued
    record.startedAt = nil
    record.process = nil
    return ExportedJob(record: record, output: nil)
  }
}

extension JobRecord {
  /// The result of a job that completed; nothing of another.
  fileprivate var success: String.UTF8View {
    if case .success(let text)? = result { text.utf8 } else { "".utf8 }
  }
}
