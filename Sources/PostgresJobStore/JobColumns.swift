import JSONRPC
import Supervisor

// A job record as columns, both ways.

extension JobStatus {
  /// As the column `status` has it; the schema's partial indexes count on these numbers.
  var number: Int64 {
    switch self {
    case .created: 0
    case .queued: 1
    case .running: 2
    case .completed: 3
    case .failed: 4
    case .timeout: 5
    }
  }

  /// A state that only a newer node knows is shown as the nearest that says that the job is none of this node's business.
  init(number: Int64) { self = Self.allCases.first { $0.number == number } ?? .failed }
}

enum JobColumns {
  /// Without the output, for a table named `j`.
  static let all = list(.all)

  /// The same columns; what a list does not show stays in the database.
  static func list(_ parts: JobParts) -> String {
    func column(_ name: String, _ part: JobParts, or empty: String = "NULL::bytea") -> String {
      parts.contains(part) ? "j.\(name)" : "\(empty) AS \(name)"
    }
    return """
      j.id, j.runner, j.executor, j.caller_id, j.context_id, \(column("payload", .payload, or: "''::bytea")), j.timeout, \
      \(column("environment", .environment)), j.status, j.attempt, j.created_at, j.updated_at, j.started_at, \
      j.completed_at, \(column("result", .result)), j.pid, j.start_ticks, j.boot_id, j.seq, j.step, j.queue_order
      """
  }
  /// Where `all` ends, for what a query adds.
  static let count = 21

  static func record(_ row: QueryResult.Row) -> JobRecord {
    let status = JobStatus(number: row.int(8)!)
    let result = row.data(14).map { String(decoding: $0, as: UTF8.self) }
    let environment = row.data(7).flatMap { try? JSON.parse($0) }?.objectValue?.members ?? []
    let job = Job(
      id: JobID(trusted: row.text(0)!), callerID: row.text(3)!, contextID: row.text(4)!, payload: row.text(5)!,
      runner: RunnerName(trusted: row.text(1)!), executor: ExecutorName(trusted: row.text(2)!),
      timeoutSeconds: row.double(6)!,
      environment: Dictionary(
        uniqueKeysWithValues: environment.map { (VariableName(trusted: $0.key), $0.value.stringValue ?? "") }))
    return JobRecord(
      job: job, status: status, attempt: Int(row.int(9)!), createdAt: Timestamp(milliseconds: row.time(10)!),
      updatedAt: Timestamp(milliseconds: row.time(11)!), startedAt: row.time(12).map(Timestamp.init(milliseconds:)),
      completedAt: row.time(13).map(Timestamp.init(milliseconds:)),
      result: result.flatMap { status == .completed ? .success($0) : status.isFinal ? .error($0) : nil },
      process: process(row, at: 15), position: row.int(20))
  }

  /// A record as it was created: with the place and the times that the database gave it.
  static func created(_ record: JobRecord, _ row: QueryResult.Row) -> JobRecord {
    func time(_ column: Int) -> Timestamp? { row.time(column).map(Timestamp.init(milliseconds:)) }
    return JobRecord(
      job: record.job, status: record.status, attempt: record.attempt, createdAt: time(2)!, updatedAt: time(3)!,
      startedAt: time(4), completedAt: time(5), result: record.result, process: record.process, position: row.int(1))
  }

  /// Three columns from here on.
  static func process(_ row: QueryResult.Row, at column: Int) -> ProcessIdentity? {
    guard let pid = row.int(column), let ticks = row.int(column + 1) else { return nil }
    return ProcessIdentity(
      pid: Int32(pid), startTicks: UInt64(bitPattern: ticks), bootID: row.text(column + 2) ?? "")
  }

  /// Four columns from here on.
  /// - Parameter success: the result of a job that completed, which says its standard output when that is not stored.
  static func output(_ row: QueryResult.Row, at column: Int, success: [UInt8]?) -> JobOutput {
    JobOutput(
      stdout: row.data(column) ?? success ?? [], stderr: row.data(column + 1) ?? [],
      stdoutDropped: Int(row.int(column + 2) ?? 0), stderrDropped: Int(row.int(column + 3) ?? 0))
  }

  static func position(_ row: QueryResult.Row) -> String {
    JobCursor(createdAt: Timestamp(milliseconds: row.time(10)!), seq: row.int(18)!).text
  }
  static func step(_ row: QueryResult.Row) -> Int64 { row.int(19)! }

  static func encode(_ environment: [VariableName: String]) -> [UInt8]? {
    if environment.isEmpty { return nil }
    return JSON.object(JSONObject(members: environment.map { (key: $0.key.rawValue, value: .string($0.value)) }))
      .serialized()
  }

  static func encode(_ result: JobResult?) -> [UInt8]? {
    switch result {
    case nil: nil
    case .success(let text), .error(let text): Array(text.utf8)
    }
  }

  /// Standard output as it is stored: `nil` when the result says it already.
  static func stdout(_ output: JobOutput, _ result: JobResult?) -> [UInt8]? {
    if case .success(let text)? = result, text.utf8.elementsEqual(output.stdout) { return nil }
    return output.stdout
  }
}
