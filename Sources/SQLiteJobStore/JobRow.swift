import Foundation
import GRDB
import JSONRPC
import Supervisor

// A job record as columns, both ways.
//
// GRDB hands text to SQLite as a C string, which ends at the first NUL. So what a client wrote goes in and out as bytes:
// payload, environment and result are blobs, and `caller_id` and `context_id`, which are compared, become text inside
// SQLite. Names cannot contain control characters (`Name`), nor can a boot id, which the kernel wrote.

extension JobStatus {
  /// As the column `status` has it; the schema's partial index counts on 1 and 2 being the unfinished states of a queue.
  var number: Int {
    switch self {
    case .created: 0
    case .queued: 1
    case .running: 2
    case .completed: 3
    case .failed: 4
    case .timeout: 5
    }
  }

  init(number: Int) {
    guard let status = Self.allCases.first(where: { $0.number == number }) else {
      preconditionFailure("no status has number \(number)")
    }
    self = status
  }
}

enum JobRow {
  /// A parameter that is bound as `bytes` and becomes text, whatever it contains.
  static let text = "CAST(? AS TEXT)"
  static func bytes(_ text: String) -> Data { Data(text.utf8) }

  static let insert = insert(into: "jobs", ", ended", ", ?")
  /// A transfer that is kept already stays as it is: its id is used once.
  static let insertIncoming = insert(into: "incoming", ", transfer, giver", ", ?, ?") + " ON CONFLICT DO NOTHING"

  private static func insert(into table: String, _ columns: String, _ values: String) -> String {
    """
    INSERT INTO \(table) (id, runner, executor, caller_id, context_id, payload, timeout, environment, status, attempt,
      created_at, updated_at, started_at, completed_at, queue_order, result, pid, start_ticks, boot_id\(columns))
    VALUES (?, ?, ?, \(text), \(text), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?\(values))
    """
  }

  static let update = """
    UPDATE jobs SET status = ?, attempt = ?, updated_at = ?, started_at = ?, completed_at = ?,
      queue_order = ?, result = ?, pid = ?, start_ticks = ?, boot_id = ?, ended = ? WHERE id = ?
    """

  static let insertOutput = """
    INSERT OR REPLACE INTO outputs (seq, stdout, stderr, stdout_dropped, stderr_dropped)
    SELECT seq, ?, ?, ?, ? FROM jobs WHERE id = ?
    """

  /// - Parameter time: of the store's clock.
  static func insertArguments(_ record: JobRecord, at time: Int64) -> StatementArguments {
    arguments(record) + [ended(record, at: time)]
  }

  private static func ended(_ record: JobRecord, at time: Int64) -> Int64 { record.status.isFinal ? time : 0 }

  private static func arguments(_ record: JobRecord) -> StatementArguments {
    let job = record.job
    return [
      job.id.rawValue, job.runner.rawValue, job.executor.rawValue, bytes(job.callerID),
      bytes(job.contextID), bytes(job.payload), job.timeoutSeconds, encode(job.environment), record.status.number,
      record.attempt,
      record.createdAt.milliseconds, record.updatedAt.milliseconds, record.startedAt?.milliseconds,
      record.completedAt?.milliseconds, record.position, encode(record.result), record.process?.pid,
      record.process.map { Int64(bitPattern: $0.startTicks) }, record.process?.bootID,
    ]
  }

  static func incomingArguments(_ job: IncomingJob) -> StatementArguments {
    arguments(job.record) + [job.transfer.rawValue, job.giver.rawValue]
  }

  /// - Parameter time: of the store's clock.
  static func updateArguments(_ record: JobRecord, at time: Int64) -> StatementArguments {
    [
      record.status.number, record.attempt, record.updatedAt.milliseconds, record.startedAt?.milliseconds,
      record.completedAt?.milliseconds, record.position, encode(record.result), record.process?.pid,
      record.process.map { Int64(bitPattern: $0.startTicks) }, record.process?.bootID, ended(record, at: time),
      record.job.id.rawValue,
    ]
  }

  /// `nil` when the result says it all.
  static func outputArguments(_ record: JobRecord, _ output: JobOutput) -> StatementArguments? {
    let isResult = isSuccess(record.result, of: output.stdout)
    if isResult && output.stderr.isEmpty && output.stdoutDropped + output.stderrDropped == 0 { return nil }
    return [
      isResult ? nil : Data(output.stdout), Data(output.stderr), output.stdoutDropped, output.stderrDropped,
      record.job.id.rawValue,
    ]
  }

  private static func isSuccess(_ result: JobResult?, of stdout: [UInt8]) -> Bool {
    if case .success(let text)? = result { return text.utf8.elementsEqual(stdout) }
    return stdout.isEmpty
  }

  /// A row of `outputs`; `stdout` is `nil` when the result says it.
  typealias KeptOutput = (stdout: Data?, stderr: Data, stdoutDropped: Int, stderrDropped: Int)

  static func keptOutput(_ row: Row) -> KeptOutput {
    (row["stdout"], row["stderr"], row["stdout_dropped"], row["stderr_dropped"])
  }

  static func output(_ kept: KeptOutput?, of record: JobRecord) -> JobOutput {
    var result: [UInt8] = []
    if case .success(let text)? = record.result { result = Array(text.utf8) }
    guard let kept else { return JobOutput(stdout: result) }
    return JobOutput(
      stdout: kept.stdout.map { [UInt8]($0) } ?? result, stderr: [UInt8](kept.stderr),
      stdoutDropped: kept.stdoutDropped, stderrDropped: kept.stderrDropped)
  }

  private static func encode(_ environment: [VariableName: String]) -> Data? {
    if environment.isEmpty { return nil }
    return Data(
      JSON.object(JSONObject(members: environment.map { (key: $0.key.rawValue, value: .string($0.value)) }))
        .serialized())
  }

  private static func encode(_ result: JobResult?) -> Data? {
    switch result {
    case nil: nil
    case .success(let text), .error(let text): bytes(text)
    }
  }

  static let columns = listColumns(.all)

  /// What a list does not show stays on the disk.
  static func listColumns(_ parts: JobParts) -> String {
    func column(_ name: String, _ part: JobParts, or empty: String = "NULL") -> String {
      parts.contains(part) ? name : "\(empty) AS \(name)"
    }
    return """
      seq, id, runner, executor, CAST(caller_id AS BLOB) AS caller_id, CAST(context_id AS BLOB) AS context_id,
      \(column("payload", .payload, or: "x''")), timeout, \(column("environment", .environment)), status, attempt,
      created_at, updated_at, started_at, completed_at, \(column("result", .result)), pid, start_ticks, boot_id,
      queue_order
      """
  }

  static func record(_ row: Row) throws -> JobRecord {
    let status = JobStatus(number: row["status"])
    func text(_ column: String) -> String { String(decoding: row[column] as Data, as: UTF8.self) }
    let result = (row["result"] as Data?).map { String(decoding: $0, as: UTF8.self) }
    let environment = try (row["environment"] as Data?).map { try JSON.parse(Array($0)) }
    let job = Job(
      id: JobID(trusted: row["id"]), callerID: text("caller_id"), contextID: text("context_id"),
      payload: text("payload"), runner: RunnerName(trusted: row["runner"]),
      executor: ExecutorName(trusted: row["executor"]), timeoutSeconds: row["timeout"],
      environment: Dictionary(
        uniqueKeysWithValues: (environment?.objectValue?.members ?? []).map {
          (VariableName(trusted: $0.key), $0.value.stringValue ?? "")
        }))
    return JobRecord(
      job: job, status: status, attempt: row["attempt"], createdAt: Timestamp(milliseconds: row["created_at"]),
      updatedAt: Timestamp(milliseconds: row["updated_at"]),
      startedAt: (row["started_at"] as Int64?).map(Timestamp.init(milliseconds:)),
      completedAt: (row["completed_at"] as Int64?).map(Timestamp.init(milliseconds:)),
      result: result.flatMap { status == .completed ? .success($0) : status.isFinal ? .error($0) : nil },
      process: process(row), position: row["queue_order"])
  }

  static func process(_ row: Row) -> ProcessIdentity? {
    guard let pid = row["pid"] as Int32? else { return nil }
    return ProcessIdentity(
      pid: pid, startTicks: UInt64(bitPattern: row["start_ticks"] as Int64), bootID: row["boot_id"])
  }
}
