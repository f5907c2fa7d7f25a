import EventLoop
import Logging

// The return of a node: nothing of its former life may still run, then every acknowledged job gets a legal state again
// before the first new one is taken.

extension RunnerRegistry {
  /// Kills what a former process of this data directory left, brings back its runners, and puts its unfinished jobs
  /// where they belong. Once, before the API listens.
  public func recover() async throws(SupervisorError) {
    let store = context.store
    let unfinished = try await storing { () async throws(JobStoreError) in try await store.unfinished() }
    let recorded = unfinished.compactMap(\.process)
    let instance = context.settings.instance
    let killed = (try? await context.loop.blocking { Leftovers.kill(instance: instance, recorded: recorded) }) ?? 0
    if killed > 0 {
      context.logger.warning("killed what the node had left behind", metadata: ["processes": "\(killed)"])
    }
    do { try await Workspace.prepare(context.settings.workDirectory, on: context.loop) } catch {
      throw .store(.unavailable("\(error)", retryAfterMilliseconds: 1000))
    }
    try await restoreRunners()
    var orphans: [JobID] = []
    for job in unfinished {
      guard let runner = runners[job.runner] else {
        orphans.append(job.id)
        continue
      }
      if try await isToRun(job, on: runner) { await runner.queue.append(job.id, executor: job.executor) }
    }
    try await fail(orphans, "its runner is no longer registered")
    for runner in runners.values { if await runner.state == .running { await runner.startRunner() } }
    if !unfinished.isEmpty {
      context.logger.info(
        "unfinished jobs recovered",
        metadata: ["jobs": "\(unfinished.count)", "failed": "\(orphans.count)", "runners": "\(runners.count)"])
    }
  }

  /// The configuration's runners first, then those that were registered; none takes a job yet.
  private func restoreRunners() async throws(SupervisorError) {
    let registered = try await storing { () async throws(JobStoreError) in
      try await context.store.registeredRunners()
    }
    let stopped = Set(registered.filter(\.isStopped).map(\.name))
    for settings in configured.values.sorted(by: { $0.name < $1.name }) {
      await add(settings, isStopped: stopped.contains(settings.name), isOpen: false)
    }
    for entry in registered {
      if let present = configured[entry.name] {
        if present.queue != entry.queue {
          context.logger.warning(
            "the configuration gives a runner another queue than its registration; the configuration holds",
            metadata: ["runner": "\(entry.name)", "queue": "\(present.queue)", "registered": "\(entry.queue)"])
        }
      } else {
        await add(settings(for: entry.name, queue: entry.queue), isStopped: entry.isStopped, isOpen: false)
      }
    }
  }

  /// A queued job runs; one that was running is queued again or fails, as its runner says.
  private func isToRun(_ job: UnfinishedJob, on runner: Runner) async throws(SupervisorError) -> Bool {
    guard job.status == .running else { return true }
    let settings = runner.settings
    if settings.onNodeLoss == .requeue && job.attempt < settings.maxAttempts {
      _ = try await storing { () async throws(JobStoreError) in
        try await context.store.transition(job.id, .requeue(at: .now))
      }
      return true
    }
    let reason = "its node stopped while it ran (attempt \(job.attempt) of \(settings.maxAttempts))"
    _ = try await storing { () async throws(JobStoreError) in
      try await context.store.transition(job.id, .finish(.failed, .error(reason), nil, at: .now))
    }
    return false
  }
}
