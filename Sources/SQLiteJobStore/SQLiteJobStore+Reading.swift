import EventLoop
import Foundation
import GRDB
import Supervisor

// Reads answer what is on disk: from memory when it is there, else by a reader connection off the loop.

/// One record being read from disk, and who waits for it, on the store's actor.
struct Load {
  let number: UInt64
  var waiters: [(SQLiteJobStore.LoadResult) -> Void]
}

extension SQLiteJobStore {
  public func record(_ id: JobID) async throws(JobStoreError) -> JobRecord {
    guard !isClosed else { throw Self.closed }
    if let record = cache[id] { return record }
    guard let record = try await load(id) else { throw .notFound(id) }
    return record
  }

  /// The record on disk, `nil` when there is none.
  func load(_ id: JobID) async throws(JobStoreError) -> JobRecord? {
    try await withCheckedContinuation { (continuation: CheckedContinuation<LoadResult, Never>) in
      whenLoaded(id) { continuation.resume(returning: $0) }
    }.get()
  }

  /// Calls `body` with the record on disk: at once when memory has it, else when it was read. Nothing else runs on this
  /// actor between the finding and the call, so that a step is never checked against the past.
  func whenLoaded(_ id: JobID, _ body: @escaping (LoadResult) -> Void) {
    guard !isClosed else { return body(.failure(Self.closed)) }
    if let active = active[id] { return body(.success(active.onDisk)) }
    if let record = cache[id] { return body(.success(record)) }
    if loads[id] != nil { return loads[id]!.waiters.append(body) }
    nextLoad += 1
    let number = nextLoad
    loads[id] = Load(number: number, waiters: [body])
    let find: @Sendable (Database) throws -> JobRecord? = { database in
      try Row.fetchOne(
        database.cachedStatement(sql: "SELECT \(JobRow.columns) FROM jobs WHERE id = ?"),
        arguments: [id.rawValue]
      ).map(JobRow.record)
    }
    read(find) { (store, result: LoadResult) in
      guard store.loads[id]?.number == number else { return }
      if case .success(let record?) = result { store.cache.insert(record) }
      store.loaded(id, result)
    }
  }

  /// Answers those who wait for a read.
  func loaded(_ id: JobID, _ result: LoadResult) {
    guard let load = loads.removeValue(forKey: id) else { return }
    for waiter in load.waiters { waiter(result) }
  }

  public func output(_ id: JobID) async throws(JobStoreError) -> JobOutput {
    let record = try await record(id)
    let kept = try await reading { database in
      try Row.fetchOne(
        database,
        sql: """
          SELECT stdout, stderr, stdout_dropped, stderr_dropped FROM outputs
          WHERE seq = (SELECT seq FROM jobs WHERE id = ?)
          """, arguments: [id.rawValue]
      ).map(JobRow.keptOutput)
    }
    return JobRow.output(kept, of: record)
  }

  public func unfinished() async throws(JobStoreError) -> [UnfinishedJob] {
    try await reading { database in
      try Row.fetchAll(
        database,
        sql: """
          SELECT id, runner, executor, status, attempt, pid, start_ticks, boot_id, queue_order FROM jobs
          WHERE status IN (1, 2) ORDER BY queue_order
          """
      ).map { row in
        UnfinishedJob(
          id: JobID(trusted: row["id"]), runner: RunnerName(trusted: row["runner"]),
          executor: ExecutorName(trusted: row["executor"]), status: JobStatus(number: row["status"]),
          attempt: row["attempt"], process: JobRow.process(row), position: row["queue_order"])
      }
    }
  }

  public func registeredRunners() async throws(JobStoreError) -> [RegisteredRunner] {
    try await reading { database in
      try Row.fetchAll(
        database, sql: "SELECT name, queue, is_stopped, epoch, new_owner FROM runners ORDER BY seq"
      ).map { row in
        RegisteredRunner(
          name: RunnerName(trusted: row["name"]), queue: QueueName(trusted: row["queue"]), isStopped: row["is_stopped"],
          epoch: UInt64(clamping: row["epoch"] as Int64),
          newOwner: (row["new_owner"] as String?).map { NodeName(trusted: $0) })
      }
    }
  }

  public func query(_ query: JobQuery) async throws(JobStoreError) -> JobPage {
    let (sql, arguments) = try Self.statement(query)
    return try await reading { database in
      var jobs: [JobRecord] = []
      var positions: [String] = []
      var bytes = 0
      let rows = try Row.fetchCursor(database, sql: sql, arguments: arguments)
      while let row = try rows.next() {
        if jobs.count == query.limit || (bytes > query.maximumBytes && !jobs.isEmpty) {
          return JobPage(jobs: jobs, positions: positions, isLast: false)
        }
        let record = try JobRow.record(row)
        jobs.append(record)
        positions.append(JobCursor(createdAt: record.createdAt, seq: row["seq"]).text)
        bytes += record.approximateBytes
      }
      return JobPage(jobs: jobs, positions: positions, isLast: true)
    }
  }

  static func statement(_ query: JobQuery) throws(JobStoreError) -> (sql: String, StatementArguments) {
    var conditions: [String] = []
    var arguments: [(any DatabaseValueConvertible)?] = []
    func add(_ condition: String, _ value: (any DatabaseValueConvertible)?) {
      guard let value else { return }
      conditions.append(condition)
      arguments.append(value)
    }
    let runners = query.fewRunners
    if runners == nil, let many = query.runners {
      conditions.append("runner IN (\(many.map { _ in "?" }.joined(separator: ", ")))")
      arguments += many.map(\.rawValue)
    }
    add("caller_id = \(JobRow.text)", query.callerID.map(JobRow.bytes))
    add("context_id = \(JobRow.text)", query.contextID.map(JobRow.bytes))
    let statuses = query.status.map { [$0] } ?? (conditions.isEmpty && runners == nil ? [] : JobStatus.allCases)
    add("created_at >= ?", query.createdFrom?.milliseconds)
    add("created_at < ?", query.createdBefore?.milliseconds)
    if let cursor = try query.cursor.map({ (text) throws(JobStoreError) in try JobCursor(text) }) {
      conditions.append("(created_at, seq) < (?, ?)")
      arguments += [cursor.createdAt.milliseconds, cursor.seq]
    }
    // Each of these comes from an index in the order of the list, and SQLite merges them as it reads.
    var parts: [String] = []
    var values: [(any DatabaseValueConvertible)?] = []
    for runner in runners.map({ $0.map(Optional.some) }) ?? [nil] {
      for status in statuses.isEmpty ? [nil] : statuses.map(Optional.some) {
        let own = [runner.map { _ in "runner = ?" }, status.map { "status = \($0.number)" }].compactMap(\.self)
        let filter = (conditions + own).joined(separator: " AND ")
        parts.append("SELECT \(JobRow.listColumns(query.parts)) FROM jobs" + (filter.isEmpty ? "" : " WHERE \(filter)"))
        values += arguments
        if let runner { values.append(runner.rawValue) }
      }
    }
    let sql = parts.joined(separator: " UNION ALL ") + " ORDER BY created_at DESC, seq DESC LIMIT \(query.limit + 1)"
    return (sql, StatementArguments(values))
  }

  // MARK: Readers

  func reading<Value: Sendable>(
    _ body: @escaping @Sendable (Database) throws -> Value
  ) async throws(JobStoreError) -> Value {
    try await withCheckedContinuation {
      (continuation: CheckedContinuation<Result<Value, JobStoreError>, Never>) in
      guard !isClosed else { return continuation.resume(returning: .failure(Self.closed)) }
      read(body) { _, result in continuation.resume(returning: result) }
    }.get()
  }

  /// Reads on one of GRDB's reader connections, and answers on the loop.
  private func read<Value: Sendable>(
    _ body: @escaping @Sendable (Database) throws -> Value,
    _ answer: @escaping @Sendable (isolated SQLiteJobStore, Result<Value, JobStoreError>) -> Void
  ) {
    uses += 1
    let pool = pool
    reads.append { [self] in
      let result: Result<Value, JobStoreError>
      do { result = .success(try pool.read(body)) } catch {
        result = .failure(.unavailable(Self.reason(error), retryAfterMilliseconds: 1000))
      }
      loop.execute {
        self.assumeIsolated {
          $0.readers -= 1
          $0.startReads()
          answer($0, result)
          $0.uses -= 1
        }
      }
    }
    startReads()
  }

  /// No more at a time than there are connections for reading: more would only keep threads of the pool from other work.
  private func startReads() {
    while readers < Self.maximumReaders, let read = reads.popFirst() {
      readers += 1
      onThreadPool(read)
    }
  }
}
