// A store that all nodes of a cluster share. It decides who owns a runner: gossip only says who looks dead. A node may
// work as long as it has a lease; whoever wants the runners of another waits until that lease is over (`PeerLease`), or
// knows that the process is gone, and writes that it is. What a node writes about jobs counts only while it owns their
// runner.

public protocol SharedJobStore: JobStore {
  /// Tells what happens in the store, on the loop. Once, before `begin`.
  func observe(_ handler: @escaping @Sendable (SharedStoreEvent) -> Void) async

  /// Takes the lease of this process, and ends those of its former lives: nothing of them runs any more.
  /// - Throws: `unavailable`.
  func begin() async throws(JobStoreError)

  /// This process, as the store knows it.
  nonisolated var session: Int64 { get }
  /// Why this node must not run jobs at present, if so: the reason in words.
  func leaseLoss() async -> String?
  /// Whether this process has lost its lease. If so, no renewal that was sent before counts any more.
  func sayLeaseOver() async -> Bool

  /// Peers can reach this node from now on at this address, so that being refused there means that its process is gone.
  func noteJoined(at address: String) async throws(JobStoreError)

  /// The leases of other processes that are in force.
  func peerLeases() async throws(JobStoreError) -> [PeerLease]
  /// The leases of a node whose port was open once at this address.
  func leases(of node: NodeName, at address: String) async throws(JobStoreError) -> [NodeLease]
  /// Ends leases.
  /// - Returns: those that were ended.
  @discardableResult
  func end(_ leases: [NodeLease]) async throws(JobStoreError) -> [NodeLease]
  /// The nodes with a lease at present.
  func leaseholders() async throws(JobStoreError) -> Set<NodeName>

  /// Makes this node the owner of runners, each with an epoch that is higher than before, if it changes its owner.
  ///
  /// A runner that another node owns is taken only when that node's lease was ended, or it agreed (`consented`).
  /// - Returns: those that this node owns now, as the store has them; the queue of a runner that was known before stays.
  func claim(_ runners: [RegisteredRunner], consented: Bool) async throws(JobStoreError) -> [RegisteredRunner]

  /// Every runner and its owner.
  func ownedRunners() async throws(JobStoreError) -> [OwnedRunner]

  /// Looks for what may have been missed, cheaply.
  func check() async throws(JobStoreError) -> SharedStoreCheck

  /// Queues jobs of these runners again, or fails them as the settings say, that were running on nodes which are gone,
  /// and those that this process runs no more.
  /// - Parameter abandoned: started by this process, of which nobody in it knows any more.
  func recoverRunning(_ runners: [RunnerSettings], abandoned: [RunningJob]) async throws(JobStoreError)

  /// The unfinished jobs of runners at one instant: all that run, and the first of those that wait, in order.
  func backlog(of runners: [RunnerName], limit: Int) async throws(JobStoreError) -> SharedBacklog

  /// Jobs of runners that wait in their queues, in order, a page at a time.
  /// - Parameter position: of the last one of the page before.
  func waiting(
    _ runners: [RunnerName], after position: Int64, limit: Int
  ) async throws(JobStoreError) -> [WaitingJob]

  /// For whom a job is and where it runs.
  /// - Throws: `notFound`, `unavailable`.
  func place(_ id: JobID) async throws(JobStoreError) -> JobPlace

  /// The node stops, and waits no longer for what is still to be written.
  func giveUp() async

  /// The state of lease and connections, for operators.
  func sharedStatus() async -> SharedStoreStatus
}

/// What a shared store tells its node.
public enum SharedStoreEvent: Sendable {
  /// The lease was renewed.
  /// - Parameter end: when this node's jobs must be gone, unless it is renewed again.
  case leaseHeld(end: ContinuousClock.Instant)
  /// The lease is about to end: whatever runs here must be gone at once. The reason in words.
  case leaseLost(String)
  /// There is a lease again.
  case leaseRegained
  /// Jobs of these runners were queued by somebody else than their owner.
  case queued([RunnerName])
  /// Writes are accepted again; what had no answer may have been done.
  case recovered
}

/// One process's permission to run jobs.
public struct NodeLease: Hashable, Sendable {
  public let session: Int64
  /// It is ended only if it was not renewed since it was read like this; `nil` when its process is certainly gone.
  public let asRead: PeerLease?

  public init(session: Int64) {
    self.session = session
    asRead = nil
  }
  public init(_ lease: PeerLease) {
    session = lease.session
    asRead = lease
  }
}

/// A runner as the shared store has it.
public struct OwnedRunner: Hashable, Sendable {
  public let runner: RegisteredRunner
  public let owner: NodeName
  /// Whether that owner's lease is in force.
  public let isAlive: Bool
  /// Whether this process is the owner.
  public let isMine: Bool

  public init(runner: RegisteredRunner, owner: NodeName, isAlive: Bool, isMine: Bool) {
    self.runner = runner
    self.owner = owner
    self.isAlive = isAlive
    self.isMine = isMine
  }
}

/// What an owner of runners compares with what it knows.
public struct SharedStoreCheck: Hashable, Sendable {
  /// Runners of this process with jobs that were running on nodes which are gone.
  public let lost: [RunnerName]
  /// The first job in line of each runner of this process that has any.
  public let first: [WaitingJob]

  public init(lost: [RunnerName], first: [WaitingJob]) {
    self.lost = lost
    self.first = first
  }
}

/// What the owner of runners has to know of their jobs before it starts one.
public struct SharedBacklog: Hashable, Sendable {
  public let waiting: [WaitingJob]
  public let running: [RunningJob]

  public init(waiting: [WaitingJob], running: [RunningJob]) {
    self.waiting = waiting
    self.running = running
  }
}

/// A job that runs, by the store.
public struct RunningJob: Hashable, Sendable {
  public let id: JobID
  public let runner: RunnerName
  /// Tells this start of it from every other, also from one that was taken back.
  public let start: Int64
  /// Whether this process has started it.
  public let isMine: Bool
  /// Whether the process that has started it has no lease any more.
  public let isLost: Bool

  public init(id: JobID, runner: RunnerName, start: Int64, isMine: Bool, isLost: Bool) {
    self.id = id
    self.runner = runner
    self.start = start
    self.isMine = isMine
    self.isLost = isLost
  }
}

/// A job in line.
public struct WaitingJob: Hashable, Sendable {
  public let id: JobID
  public let runner: RunnerName
  public let executor: ExecutorName
  /// Grows along the line.
  public let position: Int64

  public init(id: JobID, runner: RunnerName, executor: ExecutorName, position: Int64) {
    self.id = id
    self.runner = runner
    self.executor = executor
    self.position = position
  }
}

public struct JobPlace: Hashable, Sendable {
  public let runner: RunnerName
  public let status: JobStatus
  /// On which node it runs, while it does.
  public let node: NodeName?

  public init(runner: RunnerName, status: JobStatus, node: NodeName?) {
    self.runner = runner
    self.status = status
    self.node = node
  }
}

public struct SharedStoreStatus: Sendable {
  /// Until this node must stop its jobs, if it cannot reach the store; `nil` without a lease.
  public let leaseRemaining: Duration?
  public let reconnections: Int
  /// Versions of the schema: of the database, and the newest that this node knows.
  public let schema: Int
  public let knownSchema: Int

  public init(leaseRemaining: Duration?, reconnections: Int, schema: Int, knownSchema: Int) {
    self.leaseRemaining = leaseRemaining
    self.reconnections = reconnections
    self.schema = schema
    self.knownSchema = knownSchema
  }
}
