import EventLoop
import Supervisor

// Reads answer what is committed. Calls for single jobs gather while a read is under way, and go as one statement.

extension PostgresJobStore {
  public func record(_ id: JobID) async throws(JobStoreError) -> JobRecord {
    guard let record = try await find(id) else { throw .notFound(id) }
    return record
  }

  /// The record as it is committed, `nil` when there is none.
  func find(_ id: JobID) async throws(JobStoreError) -> JobRecord? {
    try await withCheckedContinuation {
      (continuation: CheckedContinuation<Result<JobRecord?, JobStoreError>, Never>) in
      if isClosed { return continuation.resume(returning: .failure(Self.closed)) }
      reads[id, default: []].append(continuation)
      readSoon()
    }.get()
  }

  private func readSoon() {
    guard readingCount < readers.count, !reads.isEmpty else { return }
    readingCount += 1
    Task(executorPreference: loop) { await self.readAll() }
  }

  private static let readsAtOnce = 256

  private func readAll() async {
    while !reads.isEmpty {
      // Some at a time: their payloads come with them.
      let ids = Array(reads.keys.prefix(Self.readsAtOnce))
      var asked: [JobID: [CheckedContinuation<Result<JobRecord?, JobStoreError>, Never>]] = [:]
      for id in ids { asked[id] = reads.removeValue(forKey: id) }
      let query = Statement(
        name: "record", sql: "SELECT \(JobColumns.all) FROM hero_jobs AS j WHERE j.id = ANY($1)",
        parameters: [.texts(ids.map(\.rawValue))])
      let answer: Result<[JobID: JobRecord], JobStoreError>
      do throws(JobStoreError) {
        let rows = try await ask([query])[0].rows
        answer = .success(Dictionary(rows.map(JobColumns.record).map { ($0.job.id, $0) }, uniquingKeysWith: { $1 }))
      } catch {
        answer = .failure(error)
        // Those who came meanwhile have waited as well, unless another connection has answers for them.
        if !readers.contains(where: { $0.isAnswering(within: Self.patience / 2) }) {
          for waiters in reads.values { for waiter in waiters { waiter.resume(returning: .failure(error)) } }
          reads = [:]
        }
      }
      statistics.reads += ids.count
      for (id, waiters) in asked {
        for waiter in waiters { waiter.resume(returning: answer.map { $0[id] }) }
      }
    }
    readingCount -= 1
    progress.resumeAll()
  }

  /// Runs statements that change nothing on one of the readers' connections.
  /// - Parameter limit: for how long to wait, and for how long the server may work.
  func ask(_ statements: [Statement], within limit: Duration = PostgresJobStore.patience) async throws(JobStoreError)
    -> [QueryResult]
  {
    guard !isClosed else { throw Self.closed }
    let deadline = ContinuousClock.now + limit
    var outage: PostgresError?
    // A connection may have ended without anyone having noticed: what only reads may be asked again.
    for _ in 0..<3 {
      guard let line = await ready(readers, or: writerLine, until: deadline) else { break }
      line.use += 1
      defer { line.use -= 1 }
      let isLong = limit > SessionSettings.readingTime
      let time = Statement(sql: "SET LOCAL statement_timeout = \(limit.components.seconds * 1000)")
      let all = isLong ? [.begin, time] + statements + [.commit] : statements
      switch await line.connection!.run(all, within: ContinuousClock.now.duration(to: deadline)) {
      case .success(let results): return isLong ? Array(results.dropFirst(2).dropLast()) : results
      case .failure(let error):
        if isClosed { throw Self.closed }
        outage = error
        if error.isLockedOut || error.isUnanswered { throw Self.unavailable(error) }
        if case .refused = error, !error.isOutage, !error.isConflict { throw Self.unavailable(error) }
      }
    }
    throw Self.unavailable(outage ?? readers.first?.outage ?? .notConnected("not connected"))
  }

  /// A line with a connection: the one with the least to do. One that is just being made again is waited for.
  /// - Parameter spare: will do while none of the lines has a connection.
  func ready(
    _ lines: [ConnectionLine], or spare: ConnectionLine? = nil, until deadline: ContinuousClock.Instant
  ) async -> ConnectionLine? {
    func found() -> ConnectionLine? {
      let connected = lines.filter { $0.connection != nil }
      return connected.min { $0.load < $1.load } ?? (spare?.connection == nil ? nil : spare)
    }
    await arrivals.waitUnlessCancelled(
      while: { found() == nil && !isClosed && lines.contains { $0.outage == nil } },
      atMost: ContinuousClock.now.duration(to: deadline))
    return found()
  }

  public func output(_ id: JobID) async throws(JobStoreError) -> JobOutput {
    let query = Statement(
      name: "output",
      sql: "SELECT status, result, stdout, stderr, stdout_dropped, stderr_dropped FROM hero_jobs WHERE id = $1",
      parameters: [.text(id.rawValue)])
    guard let row = try await ask([query])[0].first else { throw .notFound(id) }
    let isSuccess = JobStatus(number: row.int(0)!) == .completed
    return JobColumns.output(row, at: 2, success: isSuccess ? row.data(1) : nil)
  }

  public func unfinished() async throws(JobStoreError) -> [UnfinishedJob] {
    let query = Statement(
      sql: """
        SELECT id, runner, executor, status, attempt, pid, start_ticks, boot_id, queue_order FROM hero_jobs
        WHERE status IN (1, 2) ORDER BY queue_order
        """)
    return try await ask([query], within: SessionSettings.readingTime)[0].rows.map { row in
      UnfinishedJob(
        id: JobID(trusted: row.text(0)!), runner: RunnerName(trusted: row.text(1)!),
        executor: ExecutorName(trusted: row.text(2)!), status: JobStatus(number: row.int(3)!),
        attempt: Int(row.int(4)!), process: JobColumns.process(row, at: 5), position: row.int(8) ?? 0)
    }
  }

  public func query(_ query: JobQuery) async throws(JobStoreError) -> JobPage {
    let rows = try await ask([try Self.statement(query)], within: SessionSettings.readingTime)[0]
    var jobs: [JobRecord] = []
    var positions: [String] = []
    for row in rows.rows where jobs.count < query.limit {
      jobs.append(JobColumns.record(row))
      positions.append(JobColumns.position(row))
    }
    let found = rows.first.map { Int($0.int(JobColumns.count)!) } ?? 0
    return JobPage(jobs: jobs, positions: positions, isLast: jobs.count == found && found < Self.rowsAtOnce(query))
  }

  /// One more than the page holds tells whether there are more.
  private static func rowsAtOnce(_ query: JobQuery) -> Int { min(query.limit, 1000) + 1 }

  /// Planned with its values. Each list of one status comes from an index in the order of the list, and the server merges
  /// them as it reads; of the indexes that could serve it, each list leaves the planner only the narrow one (`Schema`).
  static func statement(_ query: JobQuery) throws(JobStoreError) -> Statement {
    var conditions: [String] = []
    var parameters: [Parameter] = []
    func add(_ condition: (String) -> String, _ value: Parameter?) {
      guard let value else { return }
      parameters.append(value)
      conditions.append(condition("$\(parameters.count)"))
    }
    // Each list names one of these; `nil` for what matches any.
    var runners: [String?] = [nil]
    if let few = query.fewRunners {
      runners = few.indices.map { "j.runner = $\($0 + 1)" }
      parameters = few.map { .text($0.rawValue) }
    } else {
      add({ "j.runner = ANY(\($0)::text[])" }, query.runners.map { .texts($0.map(\.rawValue)) })
    }
    add({ "j.caller_id = \($0)" }, query.callerID.map { .data(Array($0.utf8)) })
    add({ "j.context_id = \($0)" }, query.contextID.map { .data(Array($0.utf8)) })
    let status = conditions.isEmpty && runners == [nil] ? "(j.status + 0)" : "j.status"
    add({ "j.created_at >= \($0)" }, query.createdFrom.map { .time($0.milliseconds) })
    add({ "j.created_at < \($0)" }, query.createdBefore.map { .time($0.milliseconds) })
    if let cursor = try query.cursor.map({ (text) throws(JobStoreError) in try JobCursor(text) }) {
      parameters += [.time(cursor.createdAt.milliseconds), .int(cursor.seq)]
      conditions.append("(j.created_at, j.seq) < ($\(parameters.count - 1), $\(parameters.count))")
    }
    // As `JobRecord.approximateBytes`.
    let parts: [(JobParts, String)] = [(.payload, "payload"), (.environment, "environment"), (.result, "result")]
    let size =
      "300 + octet_length(j.caller_id) + octet_length(j.context_id)"
      + parts.filter { query.parts.contains($0.0) }.map { " + coalesce(octet_length(j.\($0.1)), 0)" }.joined()
    let order = "ORDER BY j.created_at DESC, j.seq DESC"
    let lists = runners.flatMap { runner in
      (query.status.map { [$0] } ?? JobStatus.allCases).map { one in
        let filter = [runner].compactMap(\.self) + conditions + ["\(status) = \(one.number)"]
        return """
          (SELECT \(JobColumns.list(query.parts)), \(size) AS size
          FROM hero_jobs AS j WHERE \(filter.joined(separator: " AND "))
          \(order) LIMIT \(rowsAtOnce(query)))
          """
      }
    }
    parameters.append(.int(Int64(query.maximumBytes)))
    // What makes the page too big stays in the database; `found` counts it all the same.
    return Statement(
      sql: """
        SELECT \(JobColumns.all), j.found FROM (
          SELECT j.*, count(*) OVER () AS found, sum(j.size) OVER (\(order)) AS total FROM (
            SELECT * FROM (\(lists.joined(separator: " UNION ALL "))) AS j \(order) LIMIT \(rowsAtOnce(query))
          ) AS j
        ) AS j WHERE j.total - j.size <= $\(parameters.count) \(order)
        """, parameters: parameters)
  }

  // MARK: For the owners of runners

  public func backlog(of runners: [RunnerName], limit: Int) async throws(JobStoreError) -> SharedBacklog {
    // One statement, one instant: a job between two states is in one of the two parts, never in none.
    let query = Statement(
      name: "backlog",
      sql: """
        (SELECT j.id, j.runner, j.executor, j.queue_order, j.status, j.step, FALSE, FALSE
        FROM unnest($1::text[]) AS x(runner) CROSS JOIN LATERAL (
          SELECT * FROM hero_jobs WHERE runner = x.runner AND status IN (1, 2) AND status = 1
          ORDER BY queue_order LIMIT $2
        ) AS j ORDER BY j.queue_order LIMIT $2)
        UNION ALL
        SELECT j.id, j.runner, j.executor, j.queue_order, j.status, j.step, coalesce(j.session = $3, FALSE),
          j.session IS DISTINCT FROM $3
            AND NOT EXISTS (SELECT 1 FROM hero_nodes n WHERE n.session = j.session AND NOT n.is_over)
        FROM unnest($1::text[]) AS x(runner) CROSS JOIN LATERAL (
          SELECT * FROM hero_jobs WHERE runner = x.runner AND status = 2
        ) AS j
        """,
      parameters: [.texts(runners.map(\.rawValue)), .int(Int64(limit)), .int(session)])
    let reopenings = readings.reopenings
    var waiting: [WaitingJob] = []
    var running: [RunningJob] = []
    for row in try await ask([query])[0].rows {
      let job = Self.waitingJob(row)
      if JobStatus(number: row.int(4)!) == .queued {
        waiting.append(job)
      } else {
        running.append(
          RunningJob(
            id: job.id, runner: job.runner, start: row.int(5)!, isMine: row.bool(6)!, isLost: row.bool(7)!))
      }
    }
    let backlog = SharedBacklog(waiting: waiting.sorted { $0.position < $1.position }, running: running)
    readings.read(runners, backlog, since: reopenings)
    return backlog
  }

  public func waiting(
    _ runners: [RunnerName], after position: Int64, limit: Int
  ) async throws(JobStoreError) -> [WaitingJob] {
    let query = Statement(
      name: "waiting",
      sql: """
        SELECT j.id, j.runner, j.executor, j.queue_order FROM unnest($1::text[]) AS x(runner) CROSS JOIN LATERAL (
          SELECT id, runner, executor, queue_order FROM hero_jobs
          WHERE runner = x.runner AND status IN (1, 2) AND status = 1 AND queue_order > $2
          ORDER BY queue_order LIMIT $3
        ) AS j ORDER BY j.queue_order LIMIT $3
        """,
      parameters: [.texts(runners.map(\.rawValue)), .int(position), .int(Int64(limit))])
    return try await ask([query])[0].rows.map(Self.waitingJob)
  }

  static func waitingJob(_ row: QueryResult.Row) -> WaitingJob {
    WaitingJob(
      id: JobID(trusted: row.text(0)!), runner: RunnerName(trusted: row.text(1)!),
      executor: ExecutorName(trusted: row.text(2)!), position: row.int(3) ?? 0)
  }

  public func place(_ id: JobID) async throws(JobStoreError) -> JobPlace {
    let query = Statement(
      name: "place", sql: "SELECT runner, status, node FROM hero_jobs WHERE id = $1", parameters: [.text(id.rawValue)])
    guard let row = try await ask([query])[0].first else { throw .notFound(id) }
    return JobPlace(
      runner: RunnerName(trusted: row.text(0)!), status: JobStatus(number: row.int(1)!),
      node: row.text(2).map { NodeName(trusted: $0) })
  }
}
