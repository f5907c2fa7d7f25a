import EventLoop

/// The jobs that some runner of this node holds, from before their start is recorded until their end is on disk. Also those
/// of runners that have another owner by now, or that were replaced. A job that runs here by the store and is not among
/// them was lost on the way, and nobody will ever end it.
actor HeldJobs {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private var counts: [JobID: Int] = [:]

  init(loop: EventLoop) { self.loop = loop }

  func add(_ id: JobID) { counts[id, default: 0] += 1 }

  func remove(_ id: JobID) {
    guard let count = counts[id] else { return }
    counts[id] = count > 1 ? count - 1 : nil
  }

  func contains(_ id: JobID) -> Bool { counts[id] != nil }
}
