import EventLoop
import Logging
import Supervisor

// The store that all nodes of a cluster share: PostgreSQL, or a database that speaks its protocol.
//
// Nothing of a job is kept in memory: the database decides each step, by guards in the statements (`Batch`), and answers
// each read. Group commit: while one transaction is under way, the steps for the next one gather, so that its round trip
// and its fsync are shared by all callers; the same for reads.
//
// Connections (`ConnectionLine`): one writes, two read, and one holds the lease and listens (`control`). When the writer's
// connection ends in the middle of a transaction, its steps are in doubt: they are sent again, and a step that was done
// the first time is known by its token.

public actor PostgresJobStore: SharedJobStore {
  public struct Options: Sendable {
    /// A connection string of libpq.
    public var url: String
    public var node: NodeName
    /// Identity of the node's data directory: what has it and is not this process is a former life of this node.
    public var instance: String
    /// For how long this node may work without reaching the database.
    public var lease = Duration.seconds(15)
    /// Finished jobs older than this are deleted; 0 keeps them.
    public var retentionDays: Double = 7
    /// The newest finished jobs that are kept.
    public var retentionMaximumJobs = 1_000_000
    public var retentionInterval = Duration.seconds(600)
    /// How often the database is asked whether waiting has ended, in case that a notification was lost, or that the
    /// database has none.
    public var pollInterval = Duration.seconds(5)
    /// Whether jobs may be created for runners that other nodes own, who must hear of it (`tellOwners`): an import.
    public var createsForOwners = false

    public init(url: String, node: NodeName, instance: String) {
      self.url = url
      self.node = node
      self.instance = instance
    }
  }

  nonisolated let loop: EventLoop
  public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  nonisolated let logger: Logger
  public nonisolated let options: Options
  /// This process, as the database knows it.
  nonisolated let session = Int64.random(in: 1 ... .max)
  /// As the writer's connection found it last.
  var schema: Schema.State
  /// Nothing is waited for any more: the node stops.
  private var hasGivenUp = false

  var writerLine: ConnectionLine!
  var controlLine: ConnectionLine!
  var readers: [ConnectionLine] = []
  var isConnecting = false
  var connectWaiters: [CheckedContinuation<Void, Never>] = []

  private var pending: [PendingStep] = []
  private var commits: Task<Void, Never>?
  private var writer: Writer
  private(set) var isClosed = false
  private var wasDown = false
  private var idleWaiters: [CheckedContinuation<Void, Never>] = []

  // Reading (`PostgresJobStore+Reading.swift`).
  var reads: [JobID: [CheckedContinuation<Result<JobRecord?, JobStoreError>, Never>]] = [:]
  var readingCount = 0
  // Waiting (`PostgresJobStore+Waiting.swift`).
  var finishWaiters: [JobID: [UInt64: CheckedContinuation<Result<JobRecord, JobStoreError>, Never>]] = [:]
  var nextWaiter: UInt64 = 0
  // Notifications and lease (`PostgresJobStore+Control.swift`).
  var observer: (@Sendable (SharedStoreEvent) -> Void)?
  var news = News()
  var isTelling = false
  var lease = Lease.none
  var leaseClock: Timer?
  /// Where peers find this node, once they do.
  var address: String?
  var background: [Task<Void, Never>] = []
  public internal(set) var statistics = Statistics()

  /// Counts since the store was opened.
  public struct Statistics: Sendable {
    public var commits = 0
    public var steps = 0
    public var failedCommits = 0
    public var lastCommitMilliseconds: UInt64 = 0
    public var connections = 0
    public var reads = 0
    public var notifications = 0
  }

  init(_ options: Options, schema: Schema.State, loop: EventLoop, logger: Logger) {
    self.options = options
    self.schema = schema
    self.loop = loop
    self.logger = logger
    writer = Writer(
      session: session, node: options.node.rawValue, number: 0, createsForOwners: options.createsForOwners)
  }

  // MARK: Steps

  public func create(_ record: JobRecord, output: JobOutput?) async throws(JobStoreError) -> JobCreation {
    while true {
      switch await submit(record.job.id, .create(record, output)) {
      case .success: return .created
      case .failure(.conflict(let id)):
        // Deleted since: once more.
        guard let present = try await find(id) else { continue }
        guard present.job == record.job else { throw .conflict(id) }
        return .existed(present)
      case .failure(let error): throw error
      }
    }
  }

  public func transition(_ id: JobID, _ step: JobTransition) async throws(JobStoreError) -> JobRecord {
    try await submit(id, .transition(step)).get()
  }

  public func delete(_ id: JobID) async throws(JobStoreError) {
    _ = try await submit(id, .delete).get()
  }

  /// Returns when the step is on disk, or refused.
  private func submit(_ id: JobID, _ kind: PendingStep.Kind) async -> Result<JobRecord, JobStoreError> {
    await withCheckedContinuation { continuation in
      let step = PendingStep(id: id, kind: kind, token: .random(in: .min ... .max), continuation: continuation)
      if isClosed || hasGivenUp { return continuation.resume(returning: .failure(Self.closed)) }
      if !schema.isWritable { return continuation.resume(returning: .failure(foreignSchema)) }
      if !step.isEssential, let outage = writerLine.outage {
        return continuation.resume(returning: .failure(Self.unavailable(outage)))
      }
      pending.append(step)
      commitSoon()
    }
  }

  static var closed: JobStoreError { .unavailable("the store is closed", retryAfterMilliseconds: 1000) }
  static func unavailable(_ error: PostgresError) -> JobStoreError {
    .unavailable("the database is not available: \(error)", retryAfterMilliseconds: 1000)
  }
  var foreignSchema: JobStoreError {
    .unavailable(
      "the database's schema is version \(schema.version), and this node knows \(Schema.migrations.count): it only reads",
      retryAfterMilliseconds: 60_000)
  }

  // MARK: Group commit

  private func commitSoon() {
    guard commits == nil, !pending.isEmpty, writerLine.connection != nil else { return }
    commits = Task(executorPreference: loop) { await self.commitAll() }
  }

  private func commitAll() async {
    while !pending.isEmpty, let connection = writerLine.connection {
      let batch = Batch(takeSteps(), by: writer)
      let start = loop.nowMilliseconds
      let answer = await connection.run(batch.statements)
      statistics.lastCommitMilliseconds = loop.nowMilliseconds - start
      switch answer {
      case .success(let results): await committed(batch, results, connection)
      case .failure(let error): await refused(batch, error, connection)
      }
    }
    commits = nil
    resumeIdleWaiters()
  }

  /// The steps of one transaction: at most one a job, as many as together are not too big.
  private func takeSteps() -> [PendingStep] {
    if pending.count == 1 {
      defer { pending = [] }
      return pending
    }
    var taken: [PendingStep] = []
    var left: [PendingStep] = []
    var jobs: Set<JobID> = []
    var bytes = 0
    for step in pending {
      if taken.count < Self.batchSteps, bytes < Self.batchBytes, jobs.insert(step.id).inserted {
        taken.append(step)
        bytes += step.bytes
      } else {
        // Steps of one job stay in order.
        jobs.insert(step.id)
        left.append(step)
      }
    }
    pending = left
    return taken
  }

  private static let batchSteps = 1000
  private static let batchBytes = 16 << 20

  private func committed(_ batch: Batch, _ results: [QueryResult], _ connection: PostgresConnection) async {
    statistics.commits += 1
    statistics.steps += batch.steps.count
    let changed = batch.changed(results)
    var unsettled: [PendingStep] = []
    for step in batch.steps {
      if let record = changed[step.id] { settle(step, .done(record)) } else { unsettled.append(step) }
    }
    if !unsettled.isEmpty { await settle(unsettled, on: connection) }
  }

  /// Finds out why steps changed nothing.
  private func settle(_ steps: [PendingStep], on connection: PostgresConnection) async {
    let creations = steps.compactMap { step in
      if case .create(let record, _) = step.kind { record.job.runner.rawValue } else { nil as String? }
    }
    let answer = await connection.run([
      Statement(
        name: "settle",
        sql: """
          SELECT \(JobColumns.all), NOT EXISTS (
              SELECT 1 FROM hero_runners r WHERE r.name = j.runner AND r.session <> $1)
            AND (j.status <> 2 OR j.session = $1 OR NOT EXISTS (
              SELECT 1 FROM hero_nodes n WHERE n.session = j.session AND n.lease_until > now())) AS is_ours
          FROM hero_jobs AS j WHERE j.id = ANY($2)
          """, parameters: [.int(session), .texts(steps.map(\.id.rawValue))]),
      Statement(
        name: "foreign runners", sql: "SELECT name FROM hero_runners WHERE name = ANY($1) AND session <> $2",
        parameters: [.texts(creations), .int(session)]),
    ])
    guard case .success(let results) = answer else {
      // Sent again on the next connection; what was done is known by its token.
      return keep(steps.map(\.doubted))
    }
    var found: [JobID: (record: JobRecord, token: Int64)] = [:]
    var ours: [JobID: Bool] = [:]
    for row in results[0].rows {
      let record = JobColumns.record(row)
      found[record.job.id] = (record, JobColumns.step(row))
      ours[record.job.id] = row.bool(JobColumns.count) ?? false
    }
    let foreign = Set(results[1].rows.map { $0.text(0)! })
    for step in steps {
      var isOurs = ours[step.id] ?? true
      if case .create(let record, _) = step.kind {
        isOurs = options.createsForOwners || !foreign.contains(record.job.runner.rawValue)
      }
      settle(step, Settlement(step, found: found[step.id], isOurs: isOurs))
    }
  }

  private func settle(_ step: PendingStep, _ settlement: Settlement) {
    switch settlement {
    case .done(let record):
      happened(step, record)
      step.continuation.resume(returning: .success(record))
    case .refused(let error): step.continuation.resume(returning: .failure(error))
    case .again: pending.append(step)
    }
  }

  /// Wakes whoever waits, here and at other nodes.
  private func happened(_ step: PendingStep, _ record: JobRecord) {
    switch step.kind {
    case .create where record.status.isFinal: wake(step.id, .success(record))
    case .create: break
    case .transition(.requeue):
      news.queued.insert(record.job.runner)
      observer?(.queued([record.job.runner]))
      tellSoon()
    case .transition(.finish):
      wake(step.id, .success(record))
      news.ended.append(step.id)
      tellSoon()
    case .transition: break
    case .delete:
      wake(step.id, .failure(.notFound(step.id)))
      news.ended.append(step.id)
      tellSoon()
    }
  }

  // MARK: Refusals

  private func refused(_ batch: Batch, _ error: PostgresError, _ connection: PostgresConnection) async {
    statistics.failedCommits += 1
    if error.isDoubtful { return keep(batch.steps.map(\.doubted)) }
    if error.isConflict { return keep(batch.steps) }
    if error.isFenced || error.isOutage {
      // A newer connection of this process writes, or the server cannot: another connection is made.
      writerLine.replace(connection, because: error)
      return keep(batch.steps)
    }
    // A statement that the server refuses takes no others with it.
    guard batch.steps.count > 1 else { return await refused(batch.steps[0], error) }
    for (place, step) in batch.steps.enumerated() {
      let alone = Batch([step], by: writer)
      switch await connection.run(alone.statements) {
      case .success(let results): await committed(alone, results, connection)
      case .failure(let error) where error.isDoubtful || error.isOutage || error.isFenced:
        // The connection, and not the step: what is left waits for the next one.
        writerLine.replace(connection, because: error)
        return keep([error.isDoubtful ? step.doubted : step] + batch.steps[(place + 1)...])
      case .failure(let error): await refused(step, error)
      }
    }
  }

  /// The server takes this step from nobody, or not now.
  private func refused(_ step: PendingStep, _ error: PostgresError) async {
    logger.error("the database refused a step", metadata: ["job": "\(step.id)", "reason": "\(error)"])
    if step.isEssential, error.isPassing {
      try? await loop.sleep(for: .milliseconds(200))
      return keep([step])
    }
    // A job that has ended must not stay as if it ran.
    if case .transition(.finish(_, _, .some, let at)) = step.kind {
      let reason = JobResult.error("its result could not be stored: \(error)")
      return keep([step.replaced(by: .transition(.finish(.failed, reason, nil, at: at)))])
    }
    step.continuation.resume(
      returning: .failure(.unavailable("the database refused it: \(error)", retryAfterMilliseconds: 1000)))
  }

  /// Steps that are to be sent again come before those that came later; without a connection only what must not be lost
  /// stays, and what may have been done already.
  private func keep(_ steps: [PendingStep]) {
    pending = steps + pending
    if let outage = writerLine.outage { failOthers(outage) }
  }

  private func failOthers(_ outage: PostgresError) {
    let error = Self.unavailable(outage)
    var kept: [PendingStep] = []
    for step in pending {
      if step.isEssential || step.isInDoubt {
        kept.append(step)
      } else {
        step.continuation.resume(returning: .failure(error))
      }
    }
    pending = kept
  }

  // MARK: The writer's connection

  /// From now on only this connection writes for this process; waits for what an older one may still be doing.
  func setUpWriter(_ connection: PostgresConnection) async -> PostgresError? {
    await Self.setLimits(connection)
    do throws(PostgresError) {
      if let state = try await Schema.read(connection) { schema = state }
    } catch {
      return error
    }
    guard schema.isWritable else {
      lose("the database's schema is newer than this node")
      return .notConnected("\(foreignSchema)")
    }
    let take = Statement(
      sql: "UPDATE hero_nodes SET writer = writer + 1 WHERE session = $1 RETURNING writer",
      parameters: [.int(session)])
    switch await connection.run([take]) {
    case .success(let results):
      guard let number = results[0].first?.int(0) else { return .notConnected("this node has no lease yet") }
      writer.number = number
      return nil
    case .failure(let error): return error
    }
  }

  /// What the server is asked to do so that a connection whose other end has vanished, or stands still, does not hold
  /// locks that others wait for. A database that does not know a setting keeps its own.
  static func setLimits(_ connection: PostgresConnection) async {
    _ = await connection.run([
      Statement(
        sql: """
          SELECT set_config('idle_in_transaction_session_timeout', '5s', false),
            set_config('tcp_keepalives_idle', '5', false), set_config('tcp_keepalives_interval', '2', false),
            set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '10000', false)
          """)
    ])
  }

  /// A connection was made.
  func isUp() {
    statistics.connections += 1
    for line in [writerLine, controlLine] + readers { line?.retryNow() }
  }

  func writerIsUp() {
    isUp()
    if wasDown {
      wasDown = false
      logger.notice("the database accepts writes again")
      observer?(.recovered)
    }
    commitSoon()
  }

  func writerIsDown(_ error: PostgresError) {
    if !wasDown { logger.error("the database is not available", metadata: ["reason": "\(error)"]) }
    wasDown = true
    failOthers(error)
  }

  /// Whether writes are accepted; `nil`, or why not.
  public func unavailability() async -> String? {
    if isClosed { return "the store is closed" }
    if !schema.isWritable, case .unavailable(let reason, _) = foreignSchema { return reason }
    if let outage = writerLine.outage { return "the database is not available: \(outage)" }
    return leaseLossReason
  }

  // MARK: End

  /// The node stops, and cannot wait for a database that is away: whatever is still to be written is not written. What ran
  /// here is found by others when the lease is over.
  public func giveUp() {
    hasGivenUp = true
    for step in pending { step.continuation.resume(returning: .failure(Self.closed)) }
    pending = []
  }

  /// Writes what is pending, gives the lease back, and closes the connections. Nobody uses the store any more.
  public func close() async {
    if !pending.isEmpty, writerLine.connection != nil {
      commitSoon()
      await withCheckedContinuation { idleWaiters.append($0) }
    }
    await endLease()
    isClosed = true
    for line in [writerLine, controlLine] + readers { line?.end() }
    for task in background { task.cancel() }
    for task in background { await task.value }
    await commits?.value
    for line in [writerLine, controlLine] + readers { await line?.close() }
    for step in pending { step.continuation.resume(returning: .failure(Self.closed)) }
    pending = []
    for id in Array(finishWaiters.keys) { wake(id, .failure(Self.closed)) }
  }

  private func resumeIdleWaiters() {
    let waiters = idleWaiters
    idleWaiters = []
    for waiter in waiters { waiter.resume() }
  }
}

extension PendingStep {
  /// Sent, and not answered.
  var doubted: PendingStep {
    var step = self
    step.isInDoubt = true
    return step
  }

  /// The same caller waits for another step instead.
  func replaced(by kind: Kind) -> PendingStep {
    PendingStep(id: id, kind: kind, token: token, continuation: continuation)
  }

  /// What it carries, roughly.
  var bytes: Int {
    switch kind {
    case .create(let record, let output):
      500 + record.job.payload.utf8.count + record.job.callerID.utf8.count + record.job.contextID.utf8.count
        + record.job.environment.reduce(0) { $0 + 8 + $1.key.utf8.count + $1.value.utf8.count }
        + (output.map { $0.stdout.count + $0.stderr.count } ?? 0)
    case .transition(.finish(_, _, let output, _)): 500 + 2 * (output.map { $0.stdout.count + $0.stderr.count } ?? 0)
    default: 200
    }
  }
}
