import Supervisor

// Who owns which runner. A change of owner is one statement that compares and swaps: the row changes only if its owner is
// this process, has no lease any more, or has agreed.

extension PostgresJobStore {
  /// Writes on the reader's connection would pass the fence; they go through the writer's, one after another.
  private func write(_ statements: [Statement]) async throws(JobStoreError) -> [QueryResult] {
    guard !isClosed else { throw Self.closed }
    guard schema.isWritable else { throw foreignSchema }
    if let stall { throw Self.unavailable(.unanswered(stall)) }
    let deadline = ContinuousClock.now + Self.patience
    var outage = writerLine.outage
    for _ in 0..<3 {
      guard let connection = await ready([writerLine], until: deadline)?.connection else { break }
      let time = ContinuousClock.now.duration(to: deadline)
      switch await connection.run([.begin] + statements + [.commit], within: time) {
      case .success(let results): return Array(results.dropFirst().dropLast())
      case .failure(let error):
        // To wait once more would take longer than callers do.
        if error.isLockedOut || error.isUnanswered { throw Self.unavailable(error) }
        if error.isOutage { leave(connection, because: error) }
        outage = error
      }
    }
    throw Self.unavailable(outage ?? .notConnected("not connected"))
  }

  private static let isAlive = """
    EXISTS (SELECT 1 FROM hero_nodes n WHERE n.session = r.session AND NOT n.is_over)
    """

  public func claim(
    _ runners: [RegisteredRunner], consented: Bool
  ) async throws(JobStoreError) -> [RegisteredRunner] {
    guard !runners.isEmpty else { return [] }
    // A start that was asked for while this process owned a runner before must not be written under the new claim.
    _ = await ready([writerLine], until: .now + Self.patience)
    guard await settle(within: Self.patience) else {
      throw .unavailable("earlier steps are not written yet", retryAfterMilliseconds: 1000)
    }
    let runners = runners.sorted { $0.name < $1.name }
    readings.forget(runners.map(\.name))
    let names = Parameter.texts(runners.map(\.name.rawValue))
    let results = try await write([
      Statement(
        name: "add runners",
        sql: """
          INSERT INTO hero_runners (name, seq, queue, is_stopped, epoch, owner, session)
          SELECT x.name, nextval('hero_order'), x.queue, x.is_stopped, x.epoch, $1, $2
          FROM unnest($3::text[], $4::text[], $5::boolean[], $6::bigint[]) AS x(name, queue, is_stopped, epoch)
          ON CONFLICT (name) DO NOTHING
          """,
        parameters: [
          .text(options.node.rawValue), .int(session), names, .texts(runners.map(\.queue.rawValue)),
          .bools(runners.map(\.isStopped)), .ints(runners.map { Int64(clamping: $0.epoch) }),
        ]),
      // In one order everywhere.
      Statement(
        name: "lock runners", sql: "SELECT name FROM hero_runners WHERE name = ANY($1) ORDER BY name FOR UPDATE",
        parameters: [names]),
      Statement(
        name: "take runners",
        sql: """
          UPDATE hero_runners AS r SET owner = $1, session = $2,
            epoch = CASE WHEN r.session = $2 THEN r.epoch WHEN x.epoch > r.epoch THEN x.epoch ELSE r.epoch + 1 END
          FROM unnest($3::text[], $4::bigint[]) AS x(name, epoch)
          WHERE r.name = x.name AND (r.session = $2 OR ($5 AND x.epoch > r.epoch) OR NOT \(Self.isAlive))
          RETURNING r.name, r.queue, r.is_stopped, r.epoch
          """,
        parameters: [
          .text(options.node.rawValue), .int(session), names, .ints(runners.map { Int64(clamping: $0.epoch) }),
          .bool(consented),
        ]),
    ])
    return results[2].rows.map { row in
      RegisteredRunner(
        name: RunnerName(trusted: row.text(0)!), queue: QueueName(trusted: row.text(1)!), isStopped: row.bool(2)!,
        epoch: UInt64(clamping: row.int(3)!))
    }
  }

  /// Records a registration or its new state; of another process's runner only once its lease is over.
  public func save(_ runner: RegisteredRunner) async throws(JobStoreError) {
    readings.forget([runner.name])
    let results = try await write([
      Statement(
        name: "save runner",
        sql: """
          INSERT INTO hero_runners AS r (name, seq, queue, is_stopped, epoch, owner, session)
          VALUES ($1, nextval('hero_order'), $2, $3, $4, $5, $6)
          ON CONFLICT (name) DO UPDATE SET queue = excluded.queue, is_stopped = excluded.is_stopped,
            epoch = excluded.epoch, owner = excluded.owner, session = excluded.session
          WHERE r.session = $6 OR NOT \(Self.isAlive)
          RETURNING r.name
          """,
        parameters: [
          .text(runner.name.rawValue), .text(runner.queue.rawValue), .bool(runner.isStopped),
          .int(Int64(clamping: runner.epoch)), .text(options.node.rawValue), .int(session),
        ])
    ])
    guard results[0].first != nil else {
      throw .unavailable("runner \(runner.name) has another owner", retryAfterMilliseconds: 100)
    }
  }

  /// Forgets a runner of this process, or one without a live owner.
  public func forget(_ runner: RunnerName) async throws(JobStoreError) {
    readings.forget([runner])
    _ = try await write([
      Statement(
        name: "forget runner",
        sql: "DELETE FROM hero_runners AS r WHERE r.name = $1 AND (r.session = $2 OR NOT \(Self.isAlive))",
        parameters: [.text(runner.rawValue), .int(session)])
    ])
  }

  /// Those of this process.
  public func registeredRunners() async throws(JobStoreError) -> [RegisteredRunner] {
    try await ownedRunners().filter { $0.isMine || !$0.isAlive }.map(\.runner)
  }

  public func ownedRunners() async throws(JobStoreError) -> [OwnedRunner] {
    let query = Statement(
      name: "runners",
      sql: """
        SELECT r.name, r.queue, r.is_stopped, r.epoch, r.owner, \(Self.isAlive), r.session = $1
        FROM hero_runners AS r ORDER BY r.seq
        """, parameters: [.int(session)])
    return try await ask([query])[0].rows.map { row in
      OwnedRunner(
        runner: RegisteredRunner(
          name: RunnerName(trusted: row.text(0)!), queue: QueueName(trusted: row.text(1)!), isStopped: row.bool(2)!,
          epoch: UInt64(clamping: row.int(3)!)),
        owner: NodeName(trusted: row.text(4)!), isAlive: row.bool(5)!, isMine: row.bool(6)!)
    }
  }

  // MARK: Leases of others

  /// What is written of leases holds their rows, which renewals change, and so must not wait for a standby that is lost. Nor
  /// has it to be there: what was done for it is written later, and reaches a standby only with it.
  static let local = Statement(name: "local", sql: "SET LOCAL synchronous_commit = local")

  public func noteJoined(at address: String) async throws(JobStoreError) {
    self.address = address
    guard schema.isWritable else { return }
    _ = try await write([
      Self.local,
      Statement(
        sql: "UPDATE hero_nodes SET address = $2 WHERE session = $1", parameters: [.int(session), .text(address)]),
    ])
  }

  public func leases(of node: NodeName, at address: String) async throws(JobStoreError) -> [NodeLease] {
    let query = Statement(
      sql: """
        SELECT session FROM hero_nodes WHERE name = $1 AND address = $2 AND session <> $3 AND NOT is_over
        """, parameters: [.text(node.rawValue), .text(address), .int(session)])
    return try await ask([query])[0].rows.map { NodeLease(session: $0.int(0)!) }
  }

  public func peerLeases() async throws(JobStoreError) -> [PeerLease] {
    guard let connection = controlLine.connection else {
      throw Self.unavailable(controlLine.outage ?? .notConnected("not connected"))
    }
    let query = Statement(
      name: "leases",
      sql: "SELECT session, name, beat, length FROM hero_nodes WHERE NOT is_over AND session <> $1",
      parameters: [.int(session)])
    let rows: [LeaseWatch.Row]
    do throws(PostgresError) {
      rows = try await connection.run([query], within: Self.patience).get()[0].rows.map { row in
        LeaseWatch.Row(
          session: row.int(0)!, node: NodeName(trusted: row.text(1)!), beat: row.int(2)!,
          length: .seconds(row.double(3)!))
      }
    } catch {
      throw Self.unavailable(error)
    }
    // Read on a connection that is no more.
    guard controlLine.connection === connection else { throw Self.unavailable(.notConnected("not connected")) }
    return leaseWatch.saw(rows, now: .now)
  }

  @discardableResult
  public func end(_ leases: [NodeLease]) async throws(JobStoreError) -> [NodeLease] {
    // What was read on another connection, perhaps of a server that had other renewals, says nothing any more.
    let leases = leases.filter { $0.asRead.map { $0.connection == leaseWatch.connection } ?? true }
    let results = try await write([
      Self.local,
      Statement(
        sql: """
          UPDATE hero_nodes AS n SET is_over = true FROM unnest($1::bigint[], $2::bigint[]) AS x(session, beat)
          WHERE n.session = x.session AND NOT n.is_over AND (x.beat < 0 OR n.beat = x.beat) RETURNING n.session
          """,
        parameters: [.ints(leases.map(\.session)), .ints(leases.map { $0.asRead?.beat ?? -1 })]),
    ])
    let ended = Set(results[1].rows.map { $0.int(0)! })
    return leases.filter { ended.contains($0.session) }
  }

  public func leaseholders() async throws(JobStoreError) -> Set<NodeName> {
    let query = Statement(name: "leaseholders", sql: "SELECT name FROM hero_nodes WHERE NOT is_over")
    return Set(try await ask([query])[0].rows.map { NodeName(trusted: $0.text(0)!) })
  }

  // MARK: What may have been missed

  public func check() async throws(JobStoreError) -> SharedStoreCheck {
    let look = readings.nextLook()
    let results = try await ask(Self.checks(look, session))
    let first = results[1].rows.map(Self.waitingJob)
    readings.found(first, by: look)
    return SharedStoreCheck(
      lost: results[0].rows.map { RunnerName(trusted: $0.text(0)!) }, first: first)
  }

  /// Runners with jobs of nodes that are gone, and the first job in line of each runner.
  static func checks(_ look: BacklogReadings.Look, _ session: Int64) -> [Statement] {
    let read = Parameter.texts(look.floors.keys.map(\.rawValue))
    return [
      // Of runners that were read before, what may be lost is known by its id; `status` is as in `Batch`.
      Statement(
        name: "lost",
        sql: """
          SELECT DISTINCT j.runner FROM hero_jobs AS j JOIN hero_runners AS r ON r.name = j.runner
          WHERE j.status IN (1, 2) AND j.status = 2 AND r.session = $1 AND NOT r.name = ANY($2)
            AND j.session IS DISTINCT FROM $1
            AND NOT EXISTS (SELECT 1 FROM hero_nodes n WHERE n.session = j.session AND NOT n.is_over)
          UNION
          SELECT j.runner FROM hero_jobs AS j JOIN hero_runners AS r ON r.name = j.runner
          WHERE j.id = ANY($3) AND (j.status * 1) = 2 AND r.session = $1 AND j.session IS DISTINCT FROM $1
            AND NOT EXISTS (SELECT 1 FROM hero_nodes n WHERE n.session = j.session AND NOT n.is_over)
          """, parameters: [.int(session), read, .texts(look.elsewhere.map(\.rawValue))]),
      Statement(
        name: "heads",
        sql: """
          SELECT j.id, j.runner, j.executor, j.queue_order
          FROM hero_runners AS r LEFT JOIN unnest($2::text[], $3::bigint[]) AS x(name, floor) ON x.name = r.name
          CROSS JOIN LATERAL (
            SELECT id, runner, executor, queue_order FROM hero_jobs
            WHERE runner = r.name AND status IN (1, 2) AND status = 1 AND queue_order >= coalesce(x.floor, 0)
            ORDER BY queue_order LIMIT 1
          ) AS j WHERE r.session = $1
          """, parameters: [.int(session), read, .ints(look.floors.values.map { $0 })]),
    ]
  }

  // MARK: Jobs of nodes that are gone

  public func recoverRunning(
    _ runners: [RunnerSettings], abandoned: [RunningJob]
  ) async throws(JobStoreError) {
    let names = Parameter.texts(runners.map(\.name.rawValue))
    // What policy and attempts allow is queued again; the rest fails.
    let attempts = Parameter.ints(runners.map { $0.onNodeLoss == .requeue ? Int64($0.maxAttempts) : 0 })
    let maxima = Parameter.ints(runners.map { Int64($0.maxAttempts) })
    let token = Parameter.int(.random(in: .min ... .max))
    let ids = Parameter.texts(abandoned.map(\.id.rawValue))
    let starts = Parameter.ints(abandoned.map(\.start))
    let isLost = """
      j.status = 2 AND (
        j.session IS DISTINCT FROM $1
          AND NOT EXISTS (SELECT 1 FROM hero_nodes n WHERE n.session = j.session AND NOT n.is_over)
        OR j.session = $1 AND EXISTS (
          SELECT 1 FROM unnest($5::text[], $6::bigint[]) AS a(id, step) WHERE a.id = j.id AND a.step = j.step))
      AND EXISTS (SELECT 1 FROM hero_runners r WHERE r.name = j.runner AND r.session = $1)
      """
    let results = try await write([
      Statement(
        name: "lock runners", sql: "SELECT name FROM hero_runners WHERE name = ANY($1) ORDER BY name FOR UPDATE",
        parameters: [names]),
      Statement(
        name: "requeue lost",
        sql: """
          UPDATE hero_jobs AS j SET status = 1, started_at = NULL, pid = NULL, start_ticks = NULL, boot_id = NULL,
            session = NULL, node = NULL, updated_at = \(Batch.now), step = $2
          FROM unnest($3::text[], $4::bigint[]) AS x(runner, attempts)
          WHERE j.runner = x.runner AND j.attempt < x.attempts AND j.status IN (1, 2) AND \(isLost)
          """, parameters: [.int(session), token, names, attempts, ids, starts]),
      Statement(
        name: "fail lost",
        sql: """
          UPDATE hero_jobs AS j SET status = 4, completed_at = \(Batch.now), pid = NULL, start_ticks = NULL, boot_id = NULL,
            session = NULL, node = NULL, updated_at = \(Batch.now), step = $2,
            result = convert_to('its node stopped while it ran (attempt ' || j.attempt || ' of ' || x.maximum || ')',
              'UTF8')
          FROM unnest($3::text[], $4::bigint[]) AS x(runner, maximum)
          WHERE j.runner = x.runner AND j.status IN (1, 2) AND \(isLost) RETURNING j.id
          """, parameters: [.int(session), token, names, maxima, ids, starts]),
    ])
    for runner in runners { readings.reopen(runner.name, at: nil) }
    let failed = results[2].rows.map { JobID(trusted: $0.text(0)!) }
    guard !failed.isEmpty else { return }
    await compare(failed)
    news.ended += failed
    tellSoon()
  }
}
