import Supervisor

// One transaction for many steps of many jobs, at most one step a job: a fence, then one statement for each kind of step
// with an array a column, each answering the rows that it changed. What is missing in the answers was refused by a guard,
// or done before; `Settlement` says which.
//
// Guards: the fence is this process's row in `hero_nodes` with the number of its present connection, so that what an older
// connection left in the network cannot be done later; nor does a process write that does not know the schema. Nobody else
// may own the job's runner: the rows of runners are locked (FOR SHARE), so that a change of owner comes wholly before or
// wholly after. A running job belongs to the process that runs it, as long as that has a lease.
//
// Times are the database's, in milliseconds, as cursors have them: machines whose clocks differ share it, and its own clock
// says when a job is too old. Only what is imported keeps the times that it had.

/// One accepted step that is not on disk yet, with whoever waits for it.
struct PendingStep {
  enum Kind {
    case create(JobRecord, JobOutput?)
    case transition(JobTransition)
    case delete
  }
  let id: JobID
  let kind: Kind
  /// Grows in the order in which steps are asked for.
  let number: UInt64
  /// Written beside the step: a step whose answer was lost is known again by it.
  let token: Int64
  let caller: StepCaller
  /// Whether it was sent once without an answer.
  var isInDoubt = false

  /// Whether it is kept until the database takes it: the end of a job cannot be refused, and a job that may have been
  /// marked as running must run.
  var isEssential: Bool {
    switch kind {
    case .transition(.finish), .transition(.requeue), .transition(.putBack), .transition(.spawned), .transition(.start):
      true
    default: false
    }
  }
}

/// Whoever waits for a step; told once, perhaps before the step has been answered. On the loop.
final class StepCaller: @unchecked Sendable {
  // @unchecked: used on the loop's thread only.
  private var continuation: CheckedContinuation<Result<JobRecord, JobStoreError>, Never>?

  init(_ continuation: CheckedContinuation<Result<JobRecord, JobStoreError>, Never>?) {
    self.continuation = continuation
  }

  func resume(returning result: Result<JobRecord, JobStoreError>) {
    continuation?.resume(returning: result)
    continuation = nil
  }
}

/// Who writes, as the fence knows it.
struct Writer: Sendable {
  let session: Int64
  let node: String
  /// Of the connection; grows with each.
  var number: Int64
  /// Whether creations need not look who owns the runner.
  let createsForOwners: Bool
  /// Whether jobs keep the times that callers give.
  let keepsTimes: Bool
}

struct Batch {
  let steps: [PendingStep]
  let writer: Writer
  // With the place of each among the steps.
  private var creations: [(PendingStep, JobRecord, JobOutput?, place: Int)] = []
  private var enqueues: [(PendingStep, Timestamp, place: Int)] = []
  private var starts: [(PendingStep, Timestamp)] = []
  private var spawns: [(PendingStep, ProcessIdentity, Timestamp)] = []
  // With how many attempts are taken back.
  private var requeues: [(PendingStep, Timestamp, undone: Int64)] = []
  private var finishes: [(PendingStep, JobStatus, JobResult, JobOutput?, Timestamp)] = []
  private var deletions: [PendingStep] = []

  init(_ steps: [PendingStep], by writer: Writer) {
    self.steps = steps
    self.writer = writer
    for (place, step) in steps.enumerated() {
      switch step.kind {
      case .create(let record, let output): creations.append((step, record, output, place))
      case .transition(.enqueue(let at, _)): enqueues.append((step, at, place))
      case .transition(.start(let at)): starts.append((step, at))
      case .transition(.spawned(let process, let at)): spawns.append((step, process, at))
      case .transition(.requeue(let at)): requeues.append((step, at, 0))
      case .transition(.putBack(let at)): requeues.append((step, at, 1))
      case .transition(.finish(let status, let result, let output, let at)):
        finishes.append((step, status, result, output, at))
      case .delete: deletions.append(step)
      }
    }
  }

  /// The whole transaction. Ends come before starts: a slot is free before it is taken.
  var statements: [Statement] {
    var all = guards
    if !creations.isEmpty { all.append(insert) }
    if !enqueues.isEmpty { all.append(enqueue) }
    if !finishes.isEmpty { all.append(finish) }
    if !requeues.isEmpty { all.append(requeue) }
    if !starts.isEmpty { all.append(start) }
    if !spawns.isEmpty { all.append(spawned) }
    if !deletions.isEmpty { all.append(deletion) }
    return all + [.commit]
  }

  /// What comes before the steps: the number is drawn once the locks are had, so that it grows with each owner's commits.
  private var guards: [Statement] {
    [Statement.begin, fence, locks] + (creations.isEmpty && enqueues.isEmpty ? [] : [number])
  }

  /// What the transaction changed: each record as it is now, by job; for deletions a record of no meaning.
  func changed(_ results: [QueryResult]) -> [JobID: JobRecord] {
    var changed: [JobID: JobRecord] = [:]
    var created: [JobID: JobRecord] = [:]
    for (step, record, _, _) in creations { created[step.id] = record }
    for result in results.dropFirst(guards.count).dropLast() {
      for row in result.rows {
        let id = JobID(trusted: row.text(0)!)
        if row.result.hasRecords {
          changed[id] = JobColumns.record(row)
        } else if let record = created[id] {
          changed[id] = JobColumns.created(record, row)
        } else {
          changed[id] = .deleted(id)
        }
      }
    }
    return changed
  }

  // MARK: Guards

  /// The row is locked against another connection that begins to write and against its removal, but not against the
  /// renewal of the lease, which must not wait for a transaction that waits for a lock or for a standby.
  private var fence: Statement {
    .fence(
      name: "fence", "a newer connection of this node writes",
      unless: """
        SELECT 1 FROM hero_nodes WHERE session = $1 AND writer = $2
          AND (SELECT oldest_writer FROM hero_schema WHERE id = 1) <= $3 FOR KEY SHARE
        """, [.int(writer.session), .int(writer.number), .int(Int64(Schema.migrations.count))])
  }

  /// In the order of their names, so that two transactions do not wait for each other.
  private var locks: Statement {
    Statement(
      name: "locks",
      sql: """
        SELECT name FROM hero_runners WHERE name = ANY($1) OR name IN (SELECT runner FROM hero_jobs WHERE id = ANY($2))
        ORDER BY name FOR SHARE
        """,
      parameters: [
        .texts(Array(Set(creations.map { $0.1.job.runner.rawValue }))),
        .texts(steps.filter { if case .create = $0.kind { false } else { true } }.map(\.id.rawValue)),
      ])
  }

  /// Nobody else owns the runner.
  private static func isOurs(_ runner: String, _ session: String) -> String {
    "NOT EXISTS (SELECT 1 FROM hero_runners r WHERE r.name = \(runner) AND r.session <> \(session))"
  }

  /// It runs here, or nowhere any more.
  private static func runsHere(_ session: String) -> String {
    """
    (j.session = \(session) OR (\(isOurs("j.runner", session)) AND NOT EXISTS (
      SELECT 1 FROM hero_nodes n WHERE n.session = j.session AND NOT n.is_over)))
    """
  }

  /// The instant of a step.
  private var at: String { writer.keepsTimes ? "x.at" : Self.now }
  static let now = "date_trunc('milliseconds', now())"

  /// A time of a record that is created.
  private func date(_ column: String) -> String {
    writer.keepsTimes ? "x.\(column)" : "CASE WHEN x.\(column) IS NOT NULL THEN \(Self.now) END"
  }

  private static func ids(_ steps: [PendingStep]) -> Parameter { .texts(steps.map(\.id.rawValue)) }
  private static func tokens(_ steps: [PendingStep]) -> Parameter { .ints(steps.map(\.token)) }
  private static func times(_ times: [Timestamp]) -> Parameter { .times(times.map(\.milliseconds)) }

  // MARK: Statements

  /// One number for the transaction; with the place of a step it makes the position of a job. Not part of a statement
  /// that joins: the join's plan would decide how often it is drawn, and in which order.
  private var number: Statement { Statement(name: "number", sql: "SELECT nextval('hero_order')") }
  /// The column in a form that no index has: a job's row is to be found by its id. A planner may think that few jobs are
  /// unfinished, and walk over all entries of their index, which are as many as ended since the oldest transaction began.
  private static let status = "(j.status * 1)"
  private static let base = "currval('hero_order') * 1048576"

  private var insert: Statement {
    let records = creations.map(\.1)
    let jobs = records.map(\.job)
    let outputs = creations.map { $0.2 }
    return Statement(
      name: "insert",
      sql: """
        INSERT INTO hero_jobs (id, seq, runner, executor, caller_id, context_id, payload, timeout, environment, status,
          attempt, created_at, updated_at, started_at, completed_at, queue_order, result, step, stdout, stderr,
          stdout_dropped, stderr_dropped)
        SELECT x.id, \(Self.base) + x.place, x.runner, x.executor, x.caller_id, x.context_id, x.payload, x.timeout,
          x.environment, x.status, x.attempt, \(date("created_at")), \(date("updated_at")), \(date("started_at")),
          \(date("completed_at")),
          CASE WHEN x.status = 1 THEN \(Self.base) + x.place END, x.result, x.step, x.stdout, x.stderr, x.stdout_dropped,
          x.stderr_dropped
        FROM unnest($2::text[], $3::text[], $4::text[], $5::bytea[], $6::bytea[], $7::bytea[], $8::float8[], $9::bytea[],
            $10::bigint[], $11::bigint[], $12::timestamptz[], $13::timestamptz[], $14::timestamptz[],
            $15::timestamptz[], $16::bytea[], $17::bigint[], $18::bytea[], $19::bytea[], $20::bigint[], $21::bigint[],
            $22::bigint[])
          AS x(id, runner, executor, caller_id, context_id, payload, timeout, environment, status, attempt, created_at,
            updated_at, started_at, completed_at, result, step, stdout, stderr, stdout_dropped, stderr_dropped, place)
        WHERE $23 OR \(Self.isOurs("x.runner", "$1"))
        ON CONFLICT (id) DO NOTHING
        RETURNING id, queue_order, created_at, updated_at, started_at, completed_at
        """,
      parameters: [
        .int(writer.session), Self.ids(creations.map(\.0)), .texts(jobs.map(\.runner.rawValue)),
        .texts(jobs.map(\.executor.rawValue)), .datas(jobs.map { Array($0.callerID.utf8) }),
        .datas(jobs.map { Array($0.contextID.utf8) }), .datas(jobs.map { Array($0.payload.utf8) }),
        .doubles(jobs.map(\.timeoutSeconds)), .datas(jobs.map { JobColumns.encode($0.environment) }),
        .ints(records.map(\.status.number)), .ints(records.map { Int64($0.attempt) }),
        Self.times(records.map(\.createdAt)), Self.times(records.map(\.updatedAt)),
        .times(records.map { $0.startedAt?.milliseconds }), .times(records.map { $0.completedAt?.milliseconds }),
        .datas(records.map { JobColumns.encode($0.result) }), Self.tokens(creations.map(\.0)),
        .datas(zip(records, outputs).map { record, output in output.flatMap { JobColumns.stdout($0, record.result) } }),
        .datas(outputs.map { $0?.stderr }), .ints(outputs.map { $0.map { Int64($0.stdoutDropped) } }),
        .ints(outputs.map { $0.map { Int64($0.stderrDropped) } }), .ints(creations.map { Int64($0.place) }),
        .bool(writer.createsForOwners),
      ])
  }

  private var enqueue: Statement {
    Statement(
      name: "enqueue",
      sql: """
        UPDATE hero_jobs AS j SET status = 1, updated_at = \(at), step = x.step, queue_order = \(Self.base) + x.place
        FROM unnest($2::text[], $3::bigint[], $4::timestamptz[], $5::bigint[]) AS x(id, step, at, place)
        WHERE j.id = x.id AND \(Self.status) = 0 AND \(Self.isOurs("j.runner", "$1")) RETURNING \(JobColumns.all)
        """,
      parameters: [
        .int(writer.session), Self.ids(enqueues.map(\.0)), Self.tokens(enqueues.map(\.0)),
        Self.times(enqueues.map(\.1)), .ints(enqueues.map { Int64($0.place) }),
      ])
  }

  private var start: Statement {
    Statement(
      name: "start",
      sql: """
        UPDATE hero_jobs AS j SET status = 2, attempt = j.attempt + 1, started_at = \(at), updated_at = \(at),
          step = x.step, session = $1, node = $2
        FROM unnest($3::text[], $4::bigint[], $5::timestamptz[]) AS x(id, step, at)
        WHERE j.id = x.id AND \(Self.status) = 1 AND \(Self.isOurs("j.runner", "$1")) RETURNING \(JobColumns.all)
        """,
      parameters: [
        .int(writer.session), .text(writer.node), Self.ids(starts.map(\.0)), Self.tokens(starts.map(\.0)),
        Self.times(starts.map(\.1)),
      ])
  }

  private var spawned: Statement {
    Statement(
      name: "spawned",
      sql: """
        UPDATE hero_jobs AS j SET pid = x.pid, start_ticks = x.start_ticks, boot_id = x.boot_id, updated_at = \(at),
          step = x.step
        FROM unnest($2::text[], $3::bigint[], $4::timestamptz[], $5::bigint[], $6::bigint[], $7::text[])
          AS x(id, step, at, pid, start_ticks, boot_id)
        WHERE j.id = x.id AND \(Self.status) = 2 AND \(Self.runsHere("$1")) RETURNING \(JobColumns.all)
        """,
      parameters: [
        .int(writer.session), Self.ids(spawns.map(\.0)), Self.tokens(spawns.map(\.0)), Self.times(spawns.map(\.2)),
        .ints(spawns.map { Int64($0.1.pid) }), .ints(spawns.map { Int64(bitPattern: $0.1.startTicks) }),
        .texts(spawns.map(\.1.bootID)),
      ])
  }

  private var requeue: Statement {
    Statement(
      name: "requeue",
      sql: """
        UPDATE hero_jobs AS j SET status = 1, started_at = NULL, pid = NULL, start_ticks = NULL, boot_id = NULL,
          session = NULL, node = NULL, updated_at = \(at), step = x.step, attempt = j.attempt - x.undone
        FROM unnest($2::text[], $3::bigint[], $4::timestamptz[], $5::bigint[]) AS x(id, step, at, undone)
        WHERE j.id = x.id AND \(Self.status) = 2 AND \(Self.runsHere("$1")) RETURNING \(JobColumns.all)
        """,
      parameters: [
        .int(writer.session), Self.ids(requeues.map(\.0)), Self.tokens(requeues.map(\.0)),
        Self.times(requeues.map(\.1)), .ints(requeues.map(\.undone)),
      ])
  }

  private var finish: Statement {
    Statement(
      name: "finish",
      sql: """
        UPDATE hero_jobs AS j SET status = x.status, result = x.result, completed_at = \(at), updated_at = \(at),
          step = x.step, pid = NULL, start_ticks = NULL, boot_id = NULL, session = NULL, node = NULL,
          stdout = x.stdout, stderr = x.stderr, stdout_dropped = x.stdout_dropped, stderr_dropped = x.stderr_dropped
        FROM unnest($2::text[], $3::bigint[], $4::timestamptz[], $5::bigint[], $6::bytea[], $7::bytea[], $8::bytea[],
          $9::bigint[], $10::bigint[])
          AS x(id, step, at, status, result, stdout, stderr, stdout_dropped, stderr_dropped)
        WHERE j.id = x.id AND (\(Self.status) = 2 AND \(Self.runsHere("$1"))
          OR \(Self.status) IN (0, 1) AND \(Self.isOurs("j.runner", "$1"))) RETURNING \(JobColumns.all)
        """,
      parameters: [
        .int(writer.session), Self.ids(finishes.map(\.0)), Self.tokens(finishes.map(\.0)),
        Self.times(finishes.map(\.4)), .ints(finishes.map(\.1.number)),
        .datas(finishes.map { JobColumns.encode($0.2) }),
        .datas(finishes.map { step in step.3.flatMap { JobColumns.stdout($0, step.2) } }),
        .datas(finishes.map { $0.3?.stderr }), .ints(finishes.map { $0.3.map { Int64($0.stdoutDropped) } }),
        .ints(finishes.map { $0.3.map { Int64($0.stderrDropped) } }),
      ])
  }

  /// Whoever forgets a job that waits need not own its runner: the owner finds it gone when its turn comes.
  private var deletion: Statement {
    Statement(
      name: "delete", sql: "DELETE FROM hero_jobs WHERE id = ANY($1) AND status <> 2 RETURNING id",
      parameters: [Self.ids(deletions)])
  }
}

extension QueryResult {
  /// Whether its rows are whole records, or ids only.
  fileprivate var hasRecords: Bool { columns >= JobColumns.count }
}

extension JobRecord {
  /// Stands for the record of a job that was deleted; nobody looks at it.
  static func deleted(_ id: JobID) -> JobRecord {
    JobRecord(
      job: Job(
        id: id, callerID: "", contextID: "", payload: "", runner: RunnerName(trusted: "-"),
        executor: ExecutorName(trusted: "-")), createdAt: .now)
  }
}

/// What became of a step whose row was not changed.
enum Settlement {
  case done(JobRecord)
  case refused(JobStoreError)
  /// The row has changed since: once more.
  case again

  /// - Parameters:
  ///   - found: the row as it is now, and the token of its last step; `nil` when there is none.
  ///   - isOurs: whether nobody else owns the job's runner, or runs the job.
  init(_ step: PendingStep, found: (record: JobRecord, token: Int64)?, isOurs: Bool) {
    guard let found else {
      switch step.kind {
      case .create: self = isOurs ? .again : .refused(.fenced(step.id))
      case .delete where step.isInDoubt: self = .done(.deleted(step.id))
      default: self = .refused(.notFound(step.id))
      }
      return
    }
    if found.token == step.token {
      self = .done(found.record)
      return
    }
    switch step.kind {
    case .create: self = .refused(.conflict(step.id))
    case .delete: self = found.record.status == .running ? .refused(.wrongState(step.id, .running)) : .again
    case .transition(let transition):
      do throws(JobStoreError) {
        _ = try transition.apply(to: found.record)
        self = isOurs ? .again : .refused(.fenced(step.id))
      } catch {
        self = .refused(error)
      }
    }
  }
}
