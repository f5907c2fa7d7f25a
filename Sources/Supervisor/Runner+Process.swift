import EventLoop
import Glibc
import Logging

// One process job on one runner: recorded as running, started, watched, and recorded as ended.

extension Runner {
  /// A child that lives longer than this is recorded with its pid; before that, its environment is enough to find it.
  private static var timeUntilRecorded: Duration { .milliseconds(50) }
  /// How long output may stay open after the process and its group are gone.
  private static var timeForOutput: Duration { .milliseconds(50) }

  func execute(_ ticket: Backlog.Ticket, by executor: ProcessExecutor) async throws(NotExecuted) {
    let id = ticket.id
    let record = try await started(ticket)
    if let reason = running[id]?.stopReason { return await end(record, .stopped(reason), of: nil) }
    let workspace = Workspace(in: context.workspaces, for: executor)
    var group: ControlGroups.Group?
    do throws(UVError) {
      let file = try await workspace.make(payload: record.job.payload)
      group = try await makeGroup(for: executor)
      // Nothing is awaited from here to the process: what is stopped before it never has one (`isStillNow`).
      if isLifeOver {
        running[id]?.handsBack = true
        running[id]?.stopReason = "the lease of its node is over"
      }
      if let reason = running[id]?.stopReason {
        await end(record, .stopped(reason), of: nil)
        await remove(group)
        return await workspace.remove()
      }
      let process = try JobProcess(
        executor.order(
          for: record.job, payloadFile: file,
          environment: environment(of: record.job, executor).map { "\($0.key)=\($0.value)" },
          wrapperEnvironment: { environment(of: executor).map { "\($0.key)=\($0.value)" } }, by: context.launcher,
          groupBoundsProcesses: context.groups?.boundsProcesses ?? false),
        job: id, in: workspace.path, readsInput: executor.configuration.payload == .stdin, by: context.launcher,
        group: group, maxOutputBytes: context.settings.maxOutputBytes, killGrace: context.settings.killGrace,
        on: context.loop)
      running[id]?.process = process
      await context.processes.add(process.pid)
      if let reason = running[id]?.stopReason {
        if handsBack { await process.kill(reason) } else { await process.stop(reason) }
      }
      let recording = Task(executorPreference: context.loop) { await self.recordProcess(process.pid, of: id) }
      let input = executor.configuration.payload == .stdin ? Array(record.job.payload.utf8) : nil
      let ending = await process.run(input: input, timeout: timeout(of: record.job))
      recording.cancel()
      await context.processes.remove(process.pid)
      if case .notStarted(let error) = ending {
        await process.close()
        throw error
      }
      if await process.hasSurvivors {
        await context.processes.killOrphans()
        context.logger.warning("the launcher of a job ended before all of the job was gone", metadata: ["job": "\(id)"])
      }
      if await !process.outputEnded(within: Self.timeForOutput) {
        // What a launcher that was killed left behind has become this process's own.
        await context.processes.killOrphans()
        _ = await process.outputEnded(within: Self.timeForOutput)
      }
      await process.close()
      await end(record, ending, of: process)
    } catch {
      await remove(group)
      await workspace.remove()
      return try await cannotRun(record, executor, error)
    }
    await remove(group)
    await workspace.remove()
    await context.gate.roomMade()
  }

  private var isLifeOver: Bool { context.processes.assumeIsolated { $0.isLifeOver } }

  /// A control group for one job, where the node has some.
  private func makeGroup(for executor: ProcessExecutor) async throws(UVError) -> ControlGroups.Group? {
    guard let groups = context.groups else { return nil }
    let limits = executor.configuration.limits.group
    do {
      return try await context.loop.blocking { try groups.make(.random(), limits: limits) }
    } catch let error as UVError {
      throw error
    } catch {
      throw UVError(errno: EIO, operation: "mkdir \(groups.path)")
    }
  }

  private func remove(_ group: ControlGroups.Group?) async {
    guard let group else { return }
    try? await context.loop.blocking { group.close() }
  }

  /// What the node and its configuration give to all jobs of an executor.
  private func environment(of executor: ProcessExecutor) -> [VariableName: String] {
    var variables = context.settings.baseEnvironment
    if let home = executor.home { variables["HOME"] = home }
    return variables.merging(executor.configuration.environment) { $1 }
  }

  /// Later sources win, the node's own names last of all.
  func environment(of job: Job, _ executor: ProcessExecutor) -> [VariableName: String] {
    var variables = environment(of: executor)
    variables.merge(job.environment) { $1 }
    variables["HERO_JOB_ID"] = job.id.rawValue
    variables["HERO_RUNNER"] = name.rawValue
    variables["HERO_NODE"] = context.settings.node.rawValue
    variables[Job.callerVariable] = job.callerID
    variables[Job.contextVariable] = job.contextID
    variables[Leftovers.instanceVariable] = context.settings.instance
    return variables
  }

  private func timeout(of job: Job) -> Duration? {
    let seconds = job.timeoutSeconds > 0 ? job.timeoutSeconds : settings.defaultTimeoutSeconds
    return seconds > 0 ? .milliseconds(Int64((seconds * 1000).rounded(.up))) : nil
  }

  private func recordProcess(_ pid: Int32, of id: JobID) async {
    guard (try? await context.loop.sleep(for: Self.timeUntilRecorded)) != nil else { return }
    await context.gate.started(queue)
    guard let found = try? await context.loop.blocking({ (ProcessTable.entry(pid), ProcessTable.bootID()) }),
      let entry = found.0, !Task.isCancelled
    else { return }
    guard !isOvertaken(id) else { return }
    let identity = ProcessIdentity(pid: pid, startTicks: entry.startTicks, bootID: found.1)
    _ = try? await context.store.transition(id, .spawned(identity, at: .now))
  }

  /// Records how it ended.
  func end(_ record: JobRecord, _ ending: JobEnding, of process: JobProcess?) async {
    let id = record.job.id
    gone(id)
    let output = await process?.output
    let stderr = await process?.errorEnd ?? ""
    let explanation = stderr.isEmpty ? "" : ": \(stderr)"
    let handsBack = handsBack || running[id]?.handsBack == true
    switch ending {
    case .stopped where handsBack && isOvertaken(id): break
    case .exited(0): await finish(id, .completed, .success(await process?.text ?? ""), output, exitStatus: 0)
    case .exited(let code):
      await finish(id, .failed, "exit status \(code)", explanation: explanation, exitStatus: code, output)
    case .signalled(let signal):
      let reason = "killed by signal \(signal) (\(SignalName.of(signal)))"
      await finish(id, .failed, reason, explanation: explanation, output)
    case .outOfProcessorTime(let limit, let signal):
      let cause = signal == SIGKILL ? "perhaps since it" : "it"
      let excess = "\(cause) used more processor time than limits.cpu_seconds (\(limit))"
      let reason = "killed by signal \(signal) (\(SignalName.of(signal))): \(excess)"
      await finish(id, .failed, reason, explanation: explanation, output)
    case .timedOut:
      let seconds = record.job.timeoutSeconds > 0 ? record.job.timeoutSeconds : settings.defaultTimeoutSeconds
      await finish(id, .timeout, "timed out after \(seconds) s", explanation: explanation, output)
    case .outOfMemory:
      let reason = "killed by the kernel: it used more memory than limits.memory_max_bytes"
      await finish(id, .failed, reason, explanation: explanation, output)
    case .notStarted(let error): await finish(id, .failed, "\(error)", output)
    case .lost(let signal):
      let end = signal == 0 ? "ended" : "was killed by signal \(signal) (\(SignalName.of(signal)))"
      await finish(id, .failed, "its launcher \(end)", explanation: explanation, output)
    case .stopped where handsBack && process == nil:
      // Nothing of it has run.
      _ = try? await context.store.transition(id, .putBack(at: .now), accepted: releasing(id))
    case .stopped where handsBack && settings.onNodeLoss == .requeue && record.attempt < settings.maxAttempts:
      _ = try? await context.store.transition(id, .requeue(at: .now), accepted: releasing(id))
    case .stopped(let reason): await finish(id, .failed, reason, output)
    }
  }

  /// Takes the start of a job back: it waits again, and has had no attempt.
  private func putBack(_ id: JobID) async throws(NotExecuted) -> JobRecord {
    while true {
      guard !isOvertaken(id) else { throw .gone }
      do {
        return try await context.store.transition(id, .putBack(at: .now))
      } catch .unavailable {
        // What the machine is short of, the store may be short of as well.
        guard !handsBack, (try? await context.loop.sleep(for: .milliseconds(200))) != nil else { throw .gone }
      } catch {
        // It has ended already, or is another node's.
        throw .gone
      }
    }
  }

  /// The child could not be started. When the machine is short of something, the job waits for better times.
  private func cannotRun(
    _ record: JobRecord, _ executor: ProcessExecutor, _ error: UVError
  ) async throws(NotExecuted) {
    let id = record.job.id
    gone(id)
    if let reason = running[id]?.stopReason { return await end(record, .stopped(reason), of: nil) }
    if let cause = StartHolds.Cause(error, of: executor) {
      let record = try await putBack(id)
      // Its runner was removed while nobody saw it wait.
      if let removal { return await finish(id, .failed, removal) }
      // Stopped meanwhile; a node that stops leaves it queued.
      if let reason = running[id]?.stopReason, !handsBack { return await end(record, .stopped(reason), of: nil) }
      throw .waits(cause, reason: "\(error)")
    }
    let command = executor.configuration.command[0]
    await finish(id, .failed, "cannot run executor \"\(executor.configuration.name)\" (\(command)): \(error)")
  }
}
