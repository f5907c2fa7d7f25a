import EventLoop
import Logging
import Supervisor

// Group commit: while one transaction is under way, the steps for the next one gather. What a transaction did not change is
// looked at, and what was sent without an answer is sent again.

extension PostgresJobStore {
  func commitSoon() {
    guard commits == nil, !pending.isEmpty, writerLine.connection != nil else { return }
    commits = Task(executorPreference: loop) { await self.commitAll() }
  }

  private func commitAll() async {
    while !pending.isEmpty, let connection = writerLine.connection {
      let batch = Batch(takeSteps(), by: writer)
      inFlight = batch.steps
      let start = loop.nowMilliseconds
      // Not limited: while the server works, the session is not left.
      let answer = await connection.run(batch.statements, within: nil)
      statistics.lastCommitMilliseconds = loop.nowMilliseconds - start
      switch answer {
      case .success(let results):
        answered()
        await committed(batch, results, connection)
      case .failure(let error): await refused(batch, error, connection)
      }
      inFlight = []
      progress.resumeAll()
    }
    commits = nil
  }

  /// The steps of one transaction: at most one a job, as many as together are not too big. They are written in the order
  /// in which they were asked for, so that no job's start comes before the end that made room for it.
  private func takeSteps() -> [PendingStep] {
    var jobs: Set<JobID> = []
    var bytes = 0
    var count = 0
    while count < min(pending.count, Self.batchSteps), bytes < Self.batchBytes, jobs.insert(pending[count].id).inserted
    {
      bytes += pending[count].bytes
      count += 1
    }
    let taken = Array(pending.prefix(count))
    pending.removeFirst(count)
    return taken
  }

  private static var batchSteps: Int { 1000 }
  private static var batchBytes: Int { 16 << 20 }

  private func committed(_ batch: Batch, _ results: [QueryResult], _ connection: PostgresConnection) async {
    statistics.commits += 1
    statistics.steps += batch.steps.count
    let changed = batch.changed(results)
    var unsettled: [PendingStep] = []
    for step in batch.steps {
      if let record = changed[step.id] { done(step, record) } else { unsettled.append(step) }
    }
    if !unsettled.isEmpty { await settle(unsettled, on: connection) }
  }

  /// Finds out why steps changed nothing.
  private func settle(_ steps: [PendingStep], on connection: PostgresConnection) async {
    let creations = steps.compactMap { step in
      if case .create(let record, _) = step.kind { record.job.runner.rawValue } else { nil as String? }
    }
    let answer = await connection.run(
      [
        Statement(
          name: "settle",
          sql: """
            SELECT \(JobColumns.all), NOT EXISTS (
                SELECT 1 FROM hero_runners r WHERE r.name = j.runner AND r.session <> $1)
              AND (j.status <> 2 OR j.session = $1 OR NOT EXISTS (
                SELECT 1 FROM hero_nodes n WHERE n.session = j.session AND NOT n.is_over)) AS is_ours
            FROM hero_jobs AS j WHERE j.id = ANY($2)
            """, parameters: [.int(session), .texts(steps.map(\.id.rawValue))]),
        Statement(
          name: "foreign runners", sql: "SELECT name FROM hero_runners WHERE name = ANY($1) AND session <> $2",
          parameters: [.texts(creations), .int(session)]),
      ], within: nil)
    guard case .success(let results) = answer else {
      // Sent again on the next connection; what was done is known by its token.
      return keep(steps.map(\.doubted))
    }
    var found: [JobID: (record: JobRecord, token: Int64)] = [:]
    var ours: [JobID: Bool] = [:]
    for row in results[0].rows {
      let record = JobColumns.record(row)
      found[record.job.id] = (record, JobColumns.step(row))
      ours[record.job.id] = row.bool(JobColumns.count) ?? false
    }
    let foreign = Set(results[1].rows.map { RunnerName(trusted: $0.text(0)!) })
    var again: [PendingStep] = []
    for step in steps {
      var isOurs = ours[step.id] ?? true
      if case .create(let record, _) = step.kind {
        isOurs = options.createsForOwners || !foreign.contains(record.job.runner)
      }
      switch Settlement(step, found: found[step.id], isOurs: isOurs) {
      case .done(let record): done(step, record)
      case .refused(let error): step.caller.resume(returning: .failure(error))
      case .again: again.append(step)
      }
    }
    keep(again)
  }

  private func done(_ step: PendingStep, _ record: JobRecord) {
    readings.gave(record.position)
    switch step.kind {
    case .transition(.requeue), .transition(.putBack): readings.reopen(record.job.runner, at: record.position)
    default: break
    }
    happened(step, record)
    step.caller.resume(returning: .success(record))
  }

  /// Wakes whoever waits, here and at other nodes.
  private func happened(_ step: PendingStep, _ record: JobRecord) {
    switch step.kind {
    case .create where record.status.isFinal: wake(step.id, .success(record))
    case .create: break
    case .transition(.requeue), .transition(.putBack):
      news.queued.insert(record.job.runner)
      observer?(.queued([record.job.runner]))
      tellSoon()
    case .transition(.finish):
      wake(step.id, .success(record))
      news.ended.append(step.id)
      tellSoon()
    case .transition: break
    case .delete:
      wake(step.id, .failure(.notFound(step.id)))
      news.ended.append(step.id)
      tellSoon()
    }
  }

  // MARK: Refusals

  private func refused(_ batch: Batch, _ error: PostgresError, _ connection: PostgresConnection) async {
    statistics.failedCommits += 1
    if error.isDoubtful { return keep(batch.steps.map(\.doubted)) }
    if error.isLockedOut { return lockedOut(batch.steps, error) }
    if error.isConflict { return keep(batch.steps) }
    if error.isFenced || error.isOutage {
      // A newer connection of this process writes, or the server cannot: another connection is made.
      leave(connection, because: error)
      return keep(batch.steps)
    }
    answered()
    // A statement that the server refuses takes no others with it.
    var kept: [PendingStep] = []
    guard batch.steps.count > 1 else {
      if let step = await refused(batch.steps[0], error) { keep([step]) }
      return
    }
    for (place, step) in batch.steps.enumerated() {
      let alone = Batch([step], by: writer)
      switch await connection.run(alone.statements, within: nil) {
      case .success(let results):
        answered()
        await committed(alone, results, connection)
      case .failure(let error) where error.isLockedOut:
        return lockedOut(kept + batch.steps[place...], error)
      // It may succeed the next time.
      case .failure(let error) where error.isConflict: kept.append(step)
      case .failure(let error) where error.isDoubtful || error.isOutage || error.isFenced:
        // The connection, and not the step: what is left waits for the next one.
        leave(connection, because: error)
        return keep(kept + [error.isDoubtful ? step.doubted : step] + batch.steps[(place + 1)...])
      case .failure(let error):
        answered()
        if let step = await refused(step, error) { kept.append(step) }
      }
    }
    keep(kept)
  }

  /// The server takes this step from nobody, or not now.
  /// - Returns: what is to be sent again, if anything; else the caller was told.
  private func refused(_ step: PendingStep, _ error: PostgresError) async -> PendingStep? {
    logger.error("the database refused a step", metadata: ["job": "\(step.id)", "reason": "\(error)"])
    if step.isEssential, error.isPassing {
      try? await loop.sleep(for: .milliseconds(200))
      return step
    }
    // A job that has ended must not stay as if it ran.
    if case .transition(.finish(_, _, .some, let at)) = step.kind {
      let reason = JobResult.error("its result could not be stored: \(error)")
      return step.replaced(by: .transition(.finish(.failed, reason, nil, at: at)))
    }
    step.caller.resume(
      returning: .failure(.unavailable("the database refused it: \(error)", retryAfterMilliseconds: 1000)))
    return nil
  }

  /// Steps that are to be sent again come before those that came later; without a connection only what must not be lost
  /// stays, and what may have been done already.
  private func keep(_ steps: [PendingStep]) {
    pending = steps + pending
    if let outage = writerLine.outage { failOthers(outage) }
  }

  /// Somebody else holds a lock. Nothing was done, and who may be refused is told so; the rest tries again.
  private func lockedOut(_ steps: [PendingStep], _ error: PostgresError) {
    pending = steps + pending
    failOthers(error)
    stalled(because: "somebody else's lock is in the way: \(error)")
  }

  func failOthers(_ outage: PostgresError) {
    let error = Self.unavailable(outage)
    var kept: [PendingStep] = []
    for step in pending {
      if step.isEssential || step.isInDoubt {
        kept.append(step)
      } else {
        step.caller.resume(returning: .failure(error))
      }
    }
    pending = kept
  }
}

extension PendingStep {
  /// Sent, and not answered.
  var doubted: PendingStep {
    var step = self
    step.isInDoubt = true
    return step
  }

  /// The same caller waits for another step instead.
  func replaced(by kind: Kind) -> PendingStep {
    PendingStep(id: id, kind: kind, number: number, token: token, caller: caller)
  }

  /// What it carries, roughly.
  var bytes: Int {
    switch kind {
    case .create(let record, let output):
      500 + record.job.payload.utf8.count + record.job.callerID.utf8.count + record.job.contextID.utf8.count
        + record.job.environment.reduce(0) { $0 + 8 + $1.key.rawValue.utf8.count + $1.value.utf8.count }
        + (output.map { $0.stdout.count + $0.stderr.count } ?? 0)
    case .transition(.finish(_, _, let output, _)): 500 + 2 * (output.map { $0.stdout.count + $0.stderr.count } ?? 0)
    default: 200
    }
  }
}
