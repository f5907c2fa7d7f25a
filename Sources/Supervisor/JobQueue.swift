import EventLoop

/// The queue that one or more runners drain: `Backlog` says which job starts where, and this actor starts it. It holds ids
/// only; payloads stay in the store until a job starts. The store decides what a job's state is; a ticket whose job has
/// meanwhile ended is dropped when its turn comes.
public actor JobQueue {
  nonisolated let loop: EventLoop
  public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  public nonisolated let name: QueueName

  private var backlog = Backlog()
  private var runners: [RunnerName: Runner] = [:]
  /// Set once something could not be started.
  private var gate: StartGate?
  private var isDraining = false
  /// The highest epoch of its runners so far (`QueuePosition`).
  private(set) var generation: UInt64 = 0

  init(name: QueueName, loop: EventLoop) {
    self.name = name
    self.loop = loop
  }

  /// Jobs waiting.
  var count: Int { backlog.count }
  var runnerNames: [RunnerName] { backlog.runners }
  /// Runners of which the store was not asked yet; while there is one, nothing of the queue starts.
  var unread: [RunnerName] { backlog.unread }
  /// Jobs that run elsewhere and take slots here.
  var elsewhere: [RunnerName: Set<JobID>] { backlog.elsewhere }

  /// Whether a job handed over now would start at once on this runner.
  func isFree(for runner: RunnerName) -> Bool { backlog.isFree(for: runner) }

  /// A job waits, at the place that the store gave it.
  func enqueue(_ ticket: Backlog.Ticket) {
    backlog.insert(ticket)
    pump()
  }

  /// Back to its place: it could not start.
  func putBack(_ ticket: Backlog.Ticket) { backlog.putBack(ticket) }

  /// Nothing of this queue starts until the gate says so.
  /// - Returns: `false` if nothing of it starts ever again.
  func hold(by gate: StartGate) -> Bool {
    guard !isDraining else { return false }
    backlog.starts = .none
    self.gate = gate
    return true
  }

  /// One job starts, if there is one that could.
  /// - Returns: whether there was.
  func tryOne() -> Bool {
    guard !isDraining else { return false }
    backlog.starts = .one
    pump()
    defer { backlog.starts = .none }
    return backlog.starts == .none
  }

  /// It may start jobs again.
  func open() {
    guard !isDraining else { return }
    backlog.starts = .all
    pump()
  }

  /// Takes a waiting job out of the backlog; whether it was there.
  @discardableResult
  func withdraw(_ id: JobID) -> Bool { backlog.withdraw(id) }

  /// Whether a job waits here, or is held by a runner of this queue.
  func knows(_ id: JobID) -> Bool { backlog.knows(id) }

  // MARK: Runners

  /// - Parameter isRead: whether the backlog of this runner is here; if not, nothing of the queue starts before `apply`.
  func add(_ runner: Runner, isOpen: Bool, isRead: Bool = true) {
    let settings = runner.settings
    runners[runner.name] = runner
    generation = max(generation, runner.epoch)
    backlog.add(
      runner.name, concurrency: settings.concurrency, executors: runner.allowedExecutors, isOpen: isOpen,
      isRead: isRead)
    pump()
  }

  func remove(_ runner: RunnerName) {
    runners[runner] = nil
    backlog.remove(runner)
    pump()
  }

  /// Whether this runner takes jobs.
  func setOpen(_ runner: RunnerName, _ isOpen: Bool) {
    backlog.setOpen(runner, isOpen)
    if isOpen { pump() }
  }

  /// Its backlog is here.
  func setRead(_ runner: RunnerName) {
    backlog.setRead(runner)
    pump()
  }

  /// No job of this queue starts any more.
  func drain() {
    isDraining = true
    backlog.starts = .none
    // Nothing of a node that stops waits on the loop.
    gate?.assumeIsolated { $0.forget(self) }
  }

  // MARK: Jobs on runners

  /// The job's process is gone, and its end is about to be written: the next job may start.
  func release(_ id: JobID) {
    backlog.release(id)
    pump()
  }

  /// The runner is done with a job.
  func drop(_ id: JobID) {
    backlog.drop(id)
    pump()
  }

  /// A job of this runner runs elsewhere, and takes one of its slots until `vacate`, or until a snapshot knows better.
  func occupy(_ id: JobID, of runner: RunnerName) {
    backlog.occupy(id, of: runner)
  }

  func vacate(_ id: JobID, of runner: RunnerName) {
    backlog.vacate(id, of: runner)
    pump()
  }

  // MARK: Transfers

  func begin(_ transfer: Backlog.Transfer) { backlog.begin(transfer) }

  func expect(_ position: Int64, of transfer: Backlog.Transfer) { backlog.expect(position, of: transfer) }

  func advance(_ transfer: Backlog.Transfer, to position: Int64) {
    backlog.advance(transfer, to: position)
    pump()
  }

  func end(_ transfer: Backlog.Transfer) {
    backlog.end(transfer)
    pump()
  }

  func setRunning(_ jobs: Set<JobID>, at transfer: Backlog.Transfer) {
    backlog.setRunning(jobs, at: transfer)
    pump()
  }

  // MARK: Reading the store

  func beginReading() -> Int { backlog.beginReading() }

  func cancelReading(_ reading: Int) { backlog.cancelReading(reading) }

  /// Takes over what a store says of these runners (`Backlog.apply`).
  /// - Returns: the jobs of the queue that run elsewhere.
  func apply(_ snapshot: Backlog.Snapshot, of runners: [RunnerName], since reading: Int) -> [RunnerName: Set<JobID>] {
    backlog.apply(snapshot, of: runners, since: reading)
    pump()
    return backlog.elsewhere
  }

  private func pump() {
    while let start = backlog.next() {
      guard let runner = runners[start.runner] else { preconditionFailure("a runner without a queue") }
      // At once, as both are on the loop: a stop that comes before the task runs must find the job there.
      runner.assumeIsolated { $0.take(start.ticket.id) }
      Task(executorPreference: loop) { await runner.execute(start.ticket) }
    }
  }
}
