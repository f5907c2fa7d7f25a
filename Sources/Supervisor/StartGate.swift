import EventLoop
import Logging

/// Lets the queues of a node start jobs, or holds them while the machine or the store cannot have it: the clock, the log and
/// the counters around `StartHolds`.
///
/// A job that could not be started waits where it was, and its attempt is not counted. Runners say what became of starts
/// (`failed`, `started`, `idle`), and that a process has ended (`roomMade`); the queues are told to try and to go on.
public actor StartGate {
  nonisolated let loop: EventLoop
  public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private let logger: Logger

  private var holds = StartHolds()
  private var queues: [QueueName: JobQueue] = [:]
  private var clock: Task<Void, Never>?
  private var clockTime: ContinuousClock.Instant?
  private var counts: [String: Int] = [:]
  /// When a cause was last said in the log, and those of which the log does not say yet that they are over.
  private var said: [StartHolds.Cause: ContinuousClock.Instant] = [:]
  private var unfinished: Set<StartHolds.Cause> = []

  /// A shortage that comes and goes all the time is said this often.
  private static var logInterval: Duration { .seconds(60) }

  init(loop: EventLoop, logger: Logger) {
    self.loop = loop
    self.logger = logger
  }

  // MARK: What happens

  /// A job of this queue could not be started; it waits in its place again.
  /// - Parameters:
  ///   - reason: what was refused, in words.
  ///   - pause: until the next try, each time; `nil` for pauses that grow.
  func failed(_ queue: JobQueue, _ job: JobID, _ cause: StartHolds.Cause, _ reason: String, pause: Duration? = nil) {
    counts[cause.name, default: 0] += 1
    guard queue.assumeIsolated({ $0.hold(by: self) }) else { return }
    queues[queue.name] = queue
    carryOut(holds.failed(queue.name, cause, reason: reason, pause: pause, at: .now))
    say(cause, reason, queue.name, job)
  }

  /// A job of this queue has started.
  func started(_ queue: JobQueue) {
    if queues[queue.name] === queue { carryOut(holds.started(queue.name)) }
  }

  /// A job of this queue left the backlog, and was not to start any more.
  func idle(_ queue: JobQueue) {
    if queues[queue.name] === queue { carryOut(holds.idle(queue.name)) }
  }

  /// Nothing of a job is left: what was short may be there.
  func roomMade() {
    if !holds.isEmpty { carryOut(holds.roomMade(at: .now)) }
  }

  /// The queue starts nothing any more.
  func forget(_ queue: JobQueue) {
    guard queues[queue.name] === queue else { return }
    let directives = holds.forget(queue.name)
    queues[queue.name] = nil
    carryOut(directives)
  }

  // MARK: What there is

  /// What a queue waits for, in words; `nil` if it may start jobs.
  func reason(of queue: QueueName) -> String? { holds.holds[queue]?.reason }

  /// Queues on hold, by what they wait for, and the starts that were refused since the node started.
  public var statistics: (held: [String: Int], refusals: [String: Int]) {
    let held = Dictionary(grouping: holds.holds.values, by: \.cause.name).mapValues(\.count)
    return (held, counts)
  }

  /// How many queues are on hold, and what they wait for; `nil` if none is. Without paths, since anyone may read it.
  public var summary: String? {
    guard !holds.isEmpty else { return nil }
    let names = Set(holds.holds.values.map(\.cause.name)).sorted().joined(separator: ", ")
    return "queues on hold: \(holds.holds.count) (\(names))"
  }

  // MARK: What follows

  private func carryOut(_ directives: [StartHolds.Directive]) {
    var rest = directives[...]
    while let directive = rest.popFirst() {
      switch directive {
      case .open(let name):
        queues.removeValue(forKey: name)?.assumeIsolated { $0.open() }
      case .tryOne(let name):
        // It may have nothing to start by now.
        if queues[name]?.assumeIsolated({ $0.tryOne() }) != true { rest += holds.idle(name) }
      }
    }
    guard !directives.isEmpty else { return setClock() }
    let causes = Set(holds.holds.values.map(\.cause))
    for cause in unfinished.subtracting(causes) {
      unfinished.remove(cause)
      logger.info("queues start jobs again", metadata: ["reason": "\(cause.name)"])
    }
    setClock()
  }

  private func setClock() {
    guard holds.due != clockTime else { return }
    clock?.cancel()
    clockTime = holds.due
    clock = holds.due.map { due in Task(executorPreference: loop) { await self.wait(until: due) } }
  }

  private func wait(until due: ContinuousClock.Instant) async {
    guard (try? await loop.sleep(for: max(.zero, due - .now))) != nil, !Task.isCancelled else { return }
    (clock, clockTime) = (nil, nil)
    carryOut(holds.elapsed(at: .now))
  }

  private func say(_ cause: StartHolds.Cause, _ reason: String, _ queue: QueueName, _ job: JobID) {
    let now = ContinuousClock.now
    if let last = said[cause], now - last < Self.logInterval { return }
    said[cause] = now
    unfinished.insert(cause)
    logger.error(
      "cannot start a job: its queue is on hold, the job waits and no attempt is counted",
      metadata: [
        "queue": "\(queue)", "job": "\(job)", "reason": "\(reason)",
        "queues_on_hold": .stringConvertible(holds.holds.count),
      ])
  }
}

extension StartHolds.Cause {
  /// For metrics: `store`, or the name of the error number.
  var name: String {
    switch self {
    case .store: "store"
    case .machine(let code, _): UVError(code: code, operation: "").name
    }
  }

  /// What a machine is short of at times: descriptors, processes, memory, space. An error that says anything else is of the
  /// job, or of its executor.
  private static let shortages = [
    UVError.tryAgain, UVError.tooManyFiles, UVError.tooManyFilesInSystem, UVError.outOfMemory, UVError.noSpace,
    UVError.quotaExceeded,
  ]

  /// - Parameter error: why a job of this executor could not be started; `nil` if that is no shortage.
  init?(_ error: UVError, of executor: ProcessExecutor) {
    guard Self.shortages.contains(error.code) else { return nil }
    self = .machine(code: error.code, user: executor.runsAsOtherUser ? executor.account?.uid : nil)
  }
}
