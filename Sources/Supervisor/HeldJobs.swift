import EventLoop

/// Which runner of this node holds a job, from before its start is recorded until its end is on disk. Also runners that have
/// another owner by now, or that were replaced: what they hold must be found to be stopped, read and waited for. A job that
/// runs here by the store and is not among them was lost on the way, and nobody will ever end it.
actor HeldJobs {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private var holders: [JobID: Runner] = [:]

  init(loop: EventLoop) { self.loop = loop }

  func add(_ id: JobID, _ runner: Runner) { holders[id] = runner }

  /// A later runner may hold it by now: it was queued again, and the end of this hold is told late.
  func remove(_ id: JobID, _ runner: Runner) {
    if holders[id] === runner { holders[id] = nil }
  }

  func contains(_ id: JobID) -> Bool { holders[id] != nil }

  func holder(of id: JobID) -> Runner? { holders[id] }

  /// What runners of this name hold, also those that were replaced.
  func jobs(of name: RunnerName) -> Set<JobID> { Set(holders.filter { $0.value.name == name }.keys) }

  /// Every runner that holds something.
  var runners: [Runner] {
    Array(Dictionary(holders.values.map { (ObjectIdentifier($0), $0) }, uniquingKeysWith: { $1 }).values)
  }
}
