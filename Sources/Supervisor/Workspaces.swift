import EventLoop
import Logging

/// The workspaces of a node's jobs: which are in use, which could not be removed, and when that is tried again.
///
/// What is in the work directory and in nobody's use is to go, whether a former life of the node left it, its removal
/// failed, or its job renamed it. That is tried at the node's start, and at the ends of later jobs, beside them.
public actor Workspaces {
  nonisolated let loop: EventLoop
  public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  nonisolated let directory: WorkDirectory
  private let logger: Logger
  private let retryInterval: Duration
  private let removalTime: Duration

  /// Entries of jobs that run, and entries that are being removed.
  private var held: Set<FileName> = []
  /// Entries that could not be removed, each of which was logged.
  private var stuck: Set<FileName> = []
  /// A job renamed its workspace; it may still be in the work directory.
  private var hasStrays = false
  private var sweep: Task<Void, Never>?
  private var sweepEnd: ContinuousClock.Instant?
  private var isClosed = false

  /// The longest that one removal keeps a thread of the pool from other work: the store's is among it.
  private static var slice: Duration { .milliseconds(100) }
  /// Whether a slice of a removal is under way, and who waits for its turn.
  private var isRemoving = false
  private let turns: Waiters

  /// Opens the directory, or makes it.
  /// - Parameters:
  ///   - retryInterval: from the end of one try to remove what could not be removed until the next one.
  ///   - removalTime: how long a job's slot waits for the removal of its workspace: a million files take some 10 s, and a
  ///     process that makes them anew for ever must not hold it. The rest is removed later.
  public init(
    at path: String, loop: EventLoop, logger: Logger, retryInterval: Duration = .seconds(10),
    removalTime: Duration = .seconds(30)
  ) throws(UnusableWorkDirectory) {
    directory = try WorkDirectory(at: path)
    self.loop = loop
    turns = Waiters(on: loop)
    self.logger = logger
    self.retryInterval = retryInterval
    self.removalTime = removalTime
  }

  nonisolated var path: String { directory.path }

  /// How many workspaces and payload files are left over at present.
  public var notRemoved: Int { stuck.count }

  /// These entries belong to a job, from before they are made.
  func hold(_ names: [FileName]) { held.formUnion(names) }

  /// Removes a job's entries: first the payload's file, if it has one, then the directory.
  func remove(_ names: [FileName]) async {
    await attempt(names)
    let isRetryDue = sweepEnd.map { ContinuousClock.now - $0 >= retryInterval } ?? true
    if isRetryDue && (hasStrays || !stuck.isEmpty) { removeRemains() }
  }

  /// Begins to remove all that nobody uses; nothing waits for it.
  func removeRemains() {
    guard sweep == nil, !isClosed else { return }
    sweep = Task(executorPreference: loop) { await self.removeUnused() }
  }

  /// Stops trying; nothing of this waits on the loop afterwards.
  func close() async {
    isClosed = true
    await sweep?.value
  }

  private func removeUnused() async {
    defer {
      sweep = nil
      sweepEnd = .now
    }
    hasStrays = false
    let directory = directory
    guard let names = try? await loop.blocking({ directory.names() }) else { return }
    // Those that somebody else removed.
    stuck.formIntersection(names)
    for name in names where !held.contains(name) && !isClosed {
      held.insert(name)
      await attempt([name])
    }
  }

  /// Removes held entries, piece by piece, and holds them no longer.
  private func attempt(_ names: [FileName]) async {
    let directory = directory
    let deadline = ContinuousClock.now + removalTime
    var rest = names
    repeat {
      let part = rest
      await turns.wait(while: { isRemoving })
      isRemoving = true
      let outcomes = try? await loop.blocking {
        let end = min(deadline, ContinuousClock.now + Self.slice)
        return part.map { TreeRemoval.run($0, in: directory, isFile: $0 != part.last, until: end) }
      }
      isRemoving = false
      turns.resumeAll()
      guard let outcomes else { break }
      rest = []
      for (name, outcome) in zip(part, outcomes) {
        if outcome.isOutOfTime && !isClosed && ContinuousClock.now < deadline {
          rest.append(name)
        } else {
          note(name, outcome)
        }
      }
    } while !rest.isEmpty
    held.subtract(names)
  }

  private func note(_ name: FileName, _ outcome: TreeRemoval.Outcome) {
    if outcome.wasMissing && !stuck.contains(name) { hasStrays = true }
    guard !outcome.isGone else {
      if stuck.remove(name) != nil {
        logger.info("removed what could not be removed before", metadata: ["path": "\(path)/\(name)"])
      }
      return
    }
    guard stuck.insert(name).inserted else { return }
    let reason = outcome.refused.map { "\(UVError(errno: $0.code, operation: "unlink"))" } ?? "did not end in time"
    logger.warning(
      "cannot remove a workspace, trying again at the end of a later job",
      metadata: [
        "path": "\(outcome.refused?.path ?? "\(path)/\(name)")", "reason": "\(reason)",
        "entries": "\(outcome.refusals)",
      ])
  }
}
