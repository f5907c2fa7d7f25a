import EventLoop
import Logging

// The return of a node: nothing of its former life may still run, then every acknowledged job gets a legal state again
// before the first new one is taken.

extension NodeSupervisor {
  /// Kills what a former process of this data directory left, brings back its runners, and puts its unfinished jobs
  /// where they belong. Once, before the API listens. Nothing starts before `open`.
  /// - Parameter hostsConfigured: the configuration's runners live here; in a cluster, that is decided later.
  func recover(hostsConfigured: Bool) async throws(SupervisorError) {
    if let shared = context.shared { return try await recover(shared) }
    let store = context.store
    let unfinished = try await storing { () async throws(JobStoreError) in try await store.unfinished() }
    let recorded = unfinished.compactMap(\.process)
    await clearRemains(recorded)
    if let embedded = context.embedded {
      let transfers = try await storing { () async throws(JobStoreError) in try await embedded.transfers() }
      outgoing = OutgoingTransfers(moved: transfers.moved)
      incoming = IncomingTransfers(transfers.incoming)
    }
    let leaving = try await restoreRunners(hostsConfigured: hostsConfigured)
    var orphans: [JobID] = []
    for job in unfinished {
      if let settings = configured[job.runner], runners[job.runner] == nil, leaving[job.runner] == nil {
        // It lived here before the node joined a cluster, or the cluster has it elsewhere: then its jobs go there.
        await add(settings, isStopped: false, epoch: 1, isOpen: false)
      }
      let present = runners[job.runner]?.settings
      guard let settings = present ?? leaving[job.runner].map({ settings(for: $0.name, queue: $0.queue) }) else {
        orphans.append(job.id)
        continue
      }
      if try await isToRun(job, by: settings), let runner = runners[job.runner] {
        await runner.queue.enqueue(Backlog.Ticket(job))
      }
    }
    try await fail(orphans, "its runner is no longer registered")
    for entry in leaving.values { depart(entry, runner: nil, isRecorded: true) }
    planResolving()
    if !unfinished.isEmpty {
      context.logger.info(
        "unfinished jobs recovered",
        metadata: ["jobs": "\(unfinished.count)", "failed": "\(orphans.count)", "runners": "\(runners.count)"])
    }
  }

  /// Kills what a former process of this node left, and begins to remove the workspaces of its jobs.
  func clearRemains(_ recorded: [ProcessIdentity]) async {
    let instance = context.settings.instance
    let killed = (try? await context.loop.blocking { Leftovers.kill(instance: instance, recorded: recorded) }) ?? 0
    if killed > 0 {
      context.logger.warning("killed what the node had left behind", metadata: ["processes": "\(killed)"])
    }
    await context.workspaces.removeRemains()
  }

  /// The configuration's runners first, then those that were registered; none takes a job yet.
  /// - Returns: those that this node lost in its former life, of which jobs may be here.
  private func restoreRunners(hostsConfigured: Bool) async throws(SupervisorError) -> [RunnerName: RegisteredRunner] {
    let registered = try await storing { () async throws(JobStoreError) in
      try await context.store.registeredRunners()
    }
    var leaving: [RunnerName: RegisteredRunner] = [:]
    var entries: [RunnerName: RegisteredRunner] = [:]
    for entry in registered { entries[entry.name] = entry }
    for settings in configured.values.sorted(by: { $0.name < $1.name }) {
      let entry = entries[settings.name]
      guard hostsConfigured || (entry != nil && entry?.newOwner == nil) else { continue }
      await add(settings, isStopped: entry?.isStopped ?? false, epoch: entry?.epoch ?? 1, isOpen: false)
    }
    for entry in registered {
      if let present = configured[entry.name], present.queue != entry.queue {
        context.logger.warning(
          "the configuration gives a runner another queue than its registration; the configuration holds",
          metadata: ["runner": "\(entry.name)", "queue": "\(present.queue)", "registered": "\(entry.queue)"])
      }
      if runners[entry.name] != nil { continue }
      if entry.newOwner == nil {
        await add(
          settings(for: entry.name, queue: entry.queue), isStopped: entry.isStopped, epoch: entry.epoch, isOpen: false)
      } else {
        leaving[entry.name] = entry
      }
    }
    return leaving
  }

  /// A queued job runs; one that was running is queued again or fails, as its runner says.
  private func isToRun(_ job: UnfinishedJob, by settings: RunnerSettings) async throws(SupervisorError) -> Bool {
    guard job.status == .running else { return true }
    if settings.onNodeLoss == .requeue && job.attempt < settings.maxAttempts {
      _ = try await storing { () async throws(JobStoreError) in
        try await context.store.transition(job.id, .requeue(at: .now))
      }
      return true
    }
    let reason = "its node stopped while it ran (attempt \(job.attempt) of \(settings.maxAttempts))"
    let record = try await storing { () async throws(JobStoreError) in
      try await context.store.transition(job.id, .finish(.failed, .error(reason), nil, at: .now))
    }
    context.logEnd(of: record, reason: reason)
    return false
  }
}
