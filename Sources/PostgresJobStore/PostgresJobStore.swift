import EventLoop
import Logging
import Supervisor

// The store that all nodes of a cluster share: PostgreSQL, or a database that speaks its protocol.
//
// Nothing of a job is kept in memory: the database decides each step, by guards in the statements (`Batch`), and answers
// each read. Group commit: while one transaction is under way, the steps for the next one gather, so that its round trip
// and its fsync are shared by all callers; the same for reads.
//
// Connections (`ConnectionLine`): one writes, one holds the lease and listens (`control`), the others read. When the writer's
// connection ends in the middle of a transaction, its steps are in doubt: they are sent again, and a step that was done
// the first time is known by its token.

public actor PostgresJobStore: SharedJobStore {
  public struct Options: Sendable {
    /// A connection string of libpq.
    public var url: String
    public var node: NodeName
    /// Identity of the node's data directory: what has it and is not this process is a former life of this node.
    public var instance: String
    /// The connection string as it is now, for each new connection, where it can change (a file with a password); called on
    /// a thread that may block.
    public var freshURL: (@Sendable () throws -> String)?
    /// How many connections to the database there are: 3 or more.
    public var connections = 4
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
    /// Whether jobs keep the times that callers give, as those of an import do; else they get the database's.
    public var keepsTimes = false

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
  public nonisolated let session = Int64.random(in: 1 ... .max)
  /// As the writer's connection found it last.
  var schema: Schema.State
  /// Nothing is waited for any more: the node stops.
  private var hasGivenUp = false

  var writerLine: ConnectionLine!
  var controlLine: ConnectionLine!
  var readers: [ConnectionLine] = []
  var isConnecting = false
  /// Whether the writer's line waits for its turn to connect.
  var writerWaits = false
  let connecting: Waiters

  var pending: [PendingStep] = []
  var commits: Task<Void, Never>?
  /// The steps of the transaction that is under way.
  var inFlight: [PendingStep] = []
  var writer: Writer
  private(set) var isClosed = false
  private var wasDown = false
  /// Resumed when steps have left `pending`, the writer's connection was lost, or a reading or a renewal
  /// has ended.
  let progress: Waiters
  private var stepCount: UInt64 = 0
  // Writes that wait (`PostgresJobStore+Stalls.swift`).
  /// Why writes wait longer than callers do, if so.
  var stall: String?
  var isExpecting = false
  var lastAnswer = ContinuousClock.now
  var patienceClock: Timer?
  /// Finds out when writes go on.
  var probing: Task<Void, Never>?
  /// Reasons of failures that were logged since all was well.
  var reasonsLogged: Set<String> = []
  /// Resumed when a connection was made, or could not be made.
  let arrivals: Waiters
  /// Whether waits began that could not be looked at.
  var hasUnseenWaits = false

  // Reading (`PostgresJobStore+Reading.swift`).
  var reads: [JobID: [CheckedContinuation<Result<JobRecord?, JobStoreError>, Never>]] = [:]
  var readingCount = 0
  var readings = BacklogReadings()
  // Waiting (`PostgresJobStore+Waiting.swift`).
  var finishWaiters: [JobID: [ObjectIdentifier: Promise<Result<JobRecord, JobStoreError>>]] = [:]
  // Notifications and lease (`PostgresJobStore+Control.swift`).
  var observer: (@Sendable (SharedStoreEvent) -> Void)?
  var news = News()
  var isTelling = false
  var lease: Lease
  /// What the present connection has shown of the leases of others.
  var leaseWatch = LeaseWatch()
  var leaseClock: Timer?
  /// Renewals that are under way.
  var renewals = 0
  /// Where peers find this node, once they do.
  var address: String?
  var background: [Task<Void, Never>] = []
  public internal(set) var statistics = Statistics()
  /// Where the writer was connected last.
  var lastServer: DatabaseServer?

  /// Counts since the store was opened.
  public struct Statistics: Sendable {
    public var commits = 0
    public var steps = 0
    public var failedCommits = 0
    public var lastCommitMilliseconds: UInt64 = 0
    public var connections = 0
    public var reads = 0
    public var notifications = 0
    /// How often the database was another server than before, or a restarted one.
    public var serverChanges = 0
    /// How often writes waited longer than callers do.
    public var stalls = 0
    /// Finished jobs that retention has deleted.
    public var expiredJobs = 0
  }

  init(_ options: Options, schema: Schema.State, loop: EventLoop, logger: Logger) {
    self.options = options
    self.schema = schema
    self.loop = loop
    self.logger = logger
    lease = Lease(length: options.lease)
    connecting = Waiters(on: loop)
    progress = Waiters(on: loop)
    arrivals = Waiters(on: loop)
    writer = Writer(
      session: session, node: options.node.rawValue, number: 0, createsForOwners: options.createsForOwners,
      keepsTimes: options.keepsTimes)
  }

  // MARK: Steps

  public func create(_ record: JobRecord, output: JobOutput?) async throws(JobStoreError) -> JobCreation {
    while true {
      switch await submit(record.job.id, .create(record, output)) {
      case .success(let created): return .created(created)
      case .failure(.conflict(let id)):
        // Deleted since: once more.
        guard let present = try await find(id) else { continue }
        guard present.job == record.job else { throw .conflict(id) }
        return .existed(present)
      case .failure(let error): throw error
      }
    }
  }

  public func transition(
    _ id: JobID, _ step: JobTransition, accepted: (@Sendable () -> Void)?
  ) async throws(JobStoreError) -> JobRecord {
    try await submit(id, .transition(step), accepted: accepted).get()
  }

  public func delete(_ id: JobID) async throws(JobStoreError) {
    _ = try await submit(id, .delete).get()
  }

  /// Returns when the step is on disk, or refused.
  private func submit(
    _ id: JobID, _ kind: PendingStep.Kind, accepted: (@Sendable () -> Void)? = nil
  ) async -> Result<JobRecord, JobStoreError> {
    await withCheckedContinuation { continuation in
      stepCount += 1
      let step = PendingStep(
        id: id, kind: kind, number: stepCount, token: .random(in: .min ... .max), caller: StepCaller(continuation))
      if isClosed || hasGivenUp { return continuation.resume(returning: .failure(Self.closed)) }
      if !schema.isWritable { return continuation.resume(returning: .failure(foreignSchema)) }
      if !step.isEssential, let outage = writerLine.outage {
        return continuation.resume(returning: .failure(Self.unavailable(outage)))
      }
      if !step.isEssential, let stall {
        return continuation.resume(returning: .failure(Self.unavailable(.unanswered(stall))))
      }
      expectAnswer()
      pending.append(step)
      accepted?()
      commitSoon()
    }
  }

  /// Waits for the steps that were asked for before: each is written, or refused. What follows cannot be overtaken by
  /// them. Not longer than the writer has a connection.
  /// - Returns: whether that was so in time; a step that the server refuses again and again is not waited for.
  @discardableResult
  func settle(within time: Duration = .seconds(5)) async -> Bool {
    let count = stepCount
    return await progress.waitUnlessCancelled(
      while: {
        writerLine.connection != nil && min(inFlight.first?.number ?? .max, pending.first?.number ?? .max) <= count
      },
      atMost: time)
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

  // MARK: The writer's connection

  /// From now on only this connection writes for this process; waits for what an older one may still be doing.
  func setUpWriter(_ connection: PostgresConnection) async -> PostgresError? {
    if let error = await meet(connection, as: .writer) { return error }
    do throws(PostgresError) {
      if let state = try await Schema.read(connection) { schema = state }
    } catch {
      return error
    }
    guard schema.isWritable else {
      lose("the database's schema is newer than this node")
      return .notConnected("\(foreignSchema)")
    }
    // A transaction of the connection before, which holds the fence, comes wholly before.
    let wait = Statement(
      sql: "SELECT 1 FROM hero_nodes WHERE session = $1 FOR UPDATE", parameters: [.int(session)])
    let take = Statement(
      sql: "UPDATE hero_nodes SET writer = writer + 1 WHERE session = $1 RETURNING writer",
      parameters: [.int(session)])
    // Not on the standby before it goes on: a number is for connections to this server.
    switch await connection.run([.begin, Self.local, wait, take, .commit]) {
    case .success(let results):
      guard let number = results[3].first?.int(0) else { return .notConnected("this node has no lease yet") }
      writer.number = number
      return nil
    case .failure(let error): return error
    }
  }

  /// A connection was made.
  func isUp() {
    statistics.connections += 1
    gather()
    let lines = [writerLine!, controlLine!] + readers
    for line in lines { line.retryNow() }
    if lines.allSatisfy({ $0.connection != nil }) { reasonsLogged = [] }
    arrivals.resumeAll()
    guard hasUnseenWaits else { return }
    hasUnseenWaits = false
    Task(executorPreference: loop) { await self.compareAll() }
  }

  /// A connection could not be made: each new reason is logged once.
  func isDown(_ error: PostgresError) {
    arrivals.resumeAll()
    guard reasonsLogged.count < 20, reasonsLogged.insert("\(error)").inserted else { return }
    logger.error("cannot connect to the database, trying on", metadata: ["reason": "\(error)"])
  }

  func writerIsUp() {
    isUp()
    if wasDown {
      wasDown = false
      logger.notice("the database accepts writes again")
      observer?(.recovered)
    }
    answered()
    commitSoon()
  }

  func writerIsDown(_ error: PostgresError) {
    if !wasDown {
      reasonsLogged.insert("\(error)")
      logger.error("the database is not available", metadata: ["reason": "\(error)"])
    }
    wasDown = true
    isDown(error)
    failOthers(error)
    progress.resumeAll()
  }

  /// Whether writes are accepted; `nil`, or why not.
  public func unavailability() async -> String? {
    if isClosed { return "the store is closed" }
    if !schema.isWritable, case .unavailable(let reason, _) = foreignSchema { return reason }
    if let outage = writerLine.outage { return "the database is not available: \(outage)" }
    if let stall { return "the database is not available: \(stall)" }
    return leaseLossReason
  }

  // MARK: End

  /// The node stops, and cannot wait for a database that is away: whatever is still to be written is not written. What ran
  /// here is found by others when the lease is over.
  public func giveUp() {
    hasGivenUp = true
    for step in inFlight + pending { step.caller.resume(returning: .failure(Self.closed)) }
    pending = []
    progress.resumeAll()
  }

  /// Writes what is pending, gives the lease back, and closes the connections. Nobody uses the store any more.
  public func close() async {
    await settle()
    // Before the lease is given back: a renewal that is under way must not take it again.
    isClosed = true
    await endLease()
    patienceClock?.close()
    patienceClock = nil
    for line in [writerLine, controlLine] + readers { line?.end() }
    arrivals.resumeAll()
    probing?.cancel()
    for task in background { task.cancel() }
    for task in background { await task.value }
    await probing?.value
    await commits?.value
    for line in [writerLine, controlLine] + readers { await line?.close() }
    for step in pending { step.caller.resume(returning: .failure(Self.closed)) }
    pending = []
    for id in Array(finishWaiters.keys) { wake(id, .failure(Self.closed)) }
    await progress.wait(while: { readingCount > 0 })
  }
}
