import EventLoop
import Logging
import Supervisor

// Opening: the first connection, the migrations, and the connections that stay. And what is done now and then: jobs that
// are too old are deleted, a few at a time, by whichever node comes first.

/// Why a store cannot be opened.
public struct PostgresJobStoreError: Error, CustomStringConvertible {
  public let description: String
}

extension PostgresJobStore {
  /// What the URL does not say: a server that is silent is noticed in seconds, and a standby is no use.
  static func defaults(node: NodeName) -> [(String, String)] {
    [
      ("connect_timeout", "5"), ("keepalives_idle", "5"), ("keepalives_interval", "2"), ("keepalives_count", "3"),
      ("tcp_user_timeout", "4000"), ("target_session_attrs", "read-write"), ("client_encoding", "UTF8"),
      ("application_name", "hero-supervisor \(node.rawValue)"),
    ]
  }

  /// Connects, brings the tables up to date, and is ready to read; `begin` makes it ready to write.
  /// - Throws: `PostgresJobStoreError`.
  public static func open(_ options: Options, loop: EventLoop, logger: Logger) async throws -> PostgresJobStore {
    let schema = try await Task(executorPreference: loop) {
      do throws(PostgresError) { return try await prepare(options, on: loop, logger: logger) } catch {
        throw PostgresJobStoreError(description: "\(error)")
      }
    }.value
    if schema.version > Schema.migrations.count {
      logger.warning(
        "the database's schema is newer than this node",
        metadata: [
          "schema": "\(schema.version)", "known": "\(Schema.migrations.count)", "writes": "\(schema.isWritable)",
        ])
    }
    let store = PostgresJobStore(options, schema: schema, loop: loop, logger: logger)
    await store.startLines()
    return store
  }

  /// Looks at the database, and brings it up to date.
  private static func prepare(
    _ options: Options, on loop: EventLoop, logger: Logger
  ) async throws(PostgresError) -> Schema.State {
    let connection = try await connect(options, on: loop, logger: logger)
    defer { connection.close() }
    let encoding = connection.parameter("server_encoding") ?? "UTF8"
    guard encoding == "UTF8" || encoding == "SQL_ASCII" else {
      throw .notConnected("its encoding is \(encoding), and must be UTF8 (CREATE DATABASE … ENCODING 'UTF8')")
    }
    await SessionSettings.migration.apply(to: connection)
    try await Pooler.refuse(behind: connection) { () async throws(PostgresError) in
      try await connect(options, on: loop, logger: logger)
    }
    return try await Schema.migrate(connection)
  }

  /// The first connection. A server that is just starting, or being replaced, or has no connection to spare, is waited for
  /// some seconds; only what will not pass by itself is not.
  private static func connect(
    _ options: Options, on loop: EventLoop, logger: Logger
  ) async throws(PostgresError) -> PostgresConnection {
    let deadline = ContinuousClock.now + .seconds(10)
    var last: PostgresError?
    while true {
      do throws(PostgresError) {
        return try await open(options, on: loop)
      } catch {
        // A server whose messages are in another language is waited for in any case.
        let lasting = [
          "connection string", "does not exist", "authentication failed", "pg_hba.conf", "ertificate", "SSL",
        ]
        guard ContinuousClock.now < deadline, !lasting.contains(where: "\(error)".contains) else { throw error }
        if last != error { logger.warning("waiting for the database", metadata: ["reason": "\(error)"]) }
        last = error
        try? await loop.sleep(for: .milliseconds(200))
      }
    }
  }

  private static func open(_ options: Options, on loop: EventLoop) async throws(PostgresError) -> PostgresConnection {
    try await PostgresConnection.open(
      options.freshURL ?? { options.url }, defaults: defaults(node: options.node), on: loop)
  }

  /// - Returns: when it can be read, and has listened.
  private func startLines() async {
    // The one that writes before those that read.
    writerLine = ConnectionLine(
      on: loop, open: { () async throws(PostgresError) in try await self.openInTurn(isWriter: true) },
      setUp: { [unowned self] in await self.setUpWriter($0) },
      isUp: { [unowned self] in self.assumeIsolated { $0.writerIsUp() } },
      isDown: { [unowned self] error in self.assumeIsolated { $0.writerIsDown(error) } })
    // The lease does not wait for the others.
    controlLine = ConnectionLine(
      on: loop, open: { () async throws(PostgresError) in try await Self.open(self.options, on: self.loop) },
      setUp: { [unowned self] in await self.setUpControl($0) },
      isUp: { [unowned self] in self.assumeIsolated { $0.controlIsUp() } },
      isDown: { [unowned self] error in self.assumeIsolated { $0.isDown(error) } })
    readers = (0..<max(1, options.connections - 2)).map { _ in
      ConnectionLine(
        on: loop, open: { () async throws(PostgresError) in try await self.openInTurn(isWriter: false) },
        setUp: { [unowned self] in await self.join($0, as: .reader) },
        isUp: { [unowned self] in self.assumeIsolated { $0.isUp() } },
        isDown: { [unowned self] error in self.assumeIsolated { $0.isDown(error) } })
    }
    controlLine.start()
    for reader in readers { reader.start() }
    background.append(Task(executorPreference: loop) { await self.pollForEver() })
    background.append(Task(executorPreference: loop) { await self.retainForEver() })
    background.append(Task(executorPreference: loop) { await self.watchSilence() })
    await arrivals.waitUnlessCancelled(
      while: { controlLine.connection == nil || readers.contains { $0.connection == nil } }, atMost: .seconds(10))
  }

  /// One at a time: libpq looks names up and waits for hosts on the thread pool, which jobs need as well.
  private func openInTurn(isWriter: Bool) async throws(PostgresError) -> PostgresConnection {
    if isWriter { writerWaits = true }
    await connecting.wait(while: { isConnecting || (writerWaits && !isWriter) })
    if isWriter { writerWaits = false }
    guard !isClosed else { throw .notConnected("the store is closed") }
    isConnecting = true
    defer {
      isConnecting = false
      connecting.resumeAll()
    }
    return try await Self.open(options, on: loop)
  }

  // MARK: Retention

  private static var jobsAtOnce: Int { 500 }

  private func retainForEver() async {
    // Nodes that start together do not all look at once.
    var pause = options.retentionInterval * Double.random(in: 0.05...0.15)
    while (try? await loop.sleep(for: pause)) != nil {
      pause = options.retentionInterval
      await retain()
    }
  }

  /// Deletes finished jobs that are too old, by the database's clock, or too many.
  func retain() async {
    guard schema.isWritable, !isClosed else { return }
    let before = statistics.expiredJobs
    if options.retentionDays > 0 {
      await delete(before: "now() - $1 * INTERVAL '1 second'", .double(options.retentionDays * 86_400))
    }
    do throws(JobStoreError) {
      // When the last one of those that may stay ended.
      let last = Statement(
        sql: """
          SELECT completed_at FROM hero_jobs WHERE status IN (3, 4, 5) ORDER BY completed_at DESC
          LIMIT 1 OFFSET $1
          """, parameters: [.int(Int64(clamping: options.retentionMaximumJobs))])
      if let time = try await ask([last], within: .seconds(120))[0].first?.time(0) {
        await delete(before: "$1::timestamptz", .time(time + 1))
      }
    } catch {
      logger.debug("cannot look for old jobs, trying again later", metadata: ["reason": "\(error)"])
    }
    let count = statistics.expiredJobs - before
    if count > 0 { logger.info("deleted finished jobs, as the retention says", metadata: ["jobs": "\(count)"]) }
  }

  /// Deletes the finished jobs that ended before an instant, a few at a time.
  /// - Parameter instant: in SQL, of a parameter.
  private func delete(before instant: String, _ parameter: Parameter) async {
    let delete = Statement(
      sql: """
        DELETE FROM hero_jobs WHERE id IN (
          SELECT id FROM hero_jobs WHERE status IN (3, 4, 5) AND completed_at < \(instant) ORDER BY completed_at
          LIMIT \(Self.jobsAtOnce) FOR UPDATE SKIP LOCKED)
        """, parameters: [parameter])
    while !Task.isCancelled, let connection = writerLine.connection,
      case .success(let results) = await connection.run([delete])
    {
      statistics.expiredJobs += results[0].affected
      if results[0].affected < Self.jobsAtOnce { return }
    }
  }
}
