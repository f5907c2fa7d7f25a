import EventLoop
import Logging
import Supervisor

// The connection that holds the lease, listens, and tells.
//
// The lease is a row of `hero_nodes`: until somebody has written that it `is_over`, nobody else takes what this process
// owns. Who may write that, `PeerLease` says. This process counts from the moment at which it asked for the lease, by its
// own clock, and stops a fifth of the lease earlier: what runs is gone before anyone else may begin. A lease that was lost
// can be had again: what nobody has taken meanwhile is still this process's, row by row. docs/decisions/0016 says why no
// clock of the database is read.
//
// What others must know (jobs ended, jobs queued) is told after its commit, in a transaction of its own that nobody waits
// for and that need not reach the disk: NOTIFY makes commits wait for each other (PostgreSQL's commit of a transaction
// with notifications holds one lock of the whole server), and a notification that is lost is made up for by polling.

/// What other nodes are to be told.
struct News {
  var ended: [JobID] = []
  var queued: Set<RunnerName> = []
  var isAny = false
  var isEmpty: Bool { ended.isEmpty && queued.isEmpty && !isAny }

  /// A payload of NOTIFY is shorter than 8,000 bytes.
  static let payloadBytes = 7800

  /// What could not be told.
  mutating func add(_ other: News) {
    ended += other.ended
    queued.formUnion(other.queued)
    isAny = isAny || other.isAny
  }

  /// So many jobs at once are only said to be many.
  mutating func shorten() {
    guard ended.count > 5000 else { return }
    ended = []
    isAny = true
  }

  /// The session that tells, then a line for each: `e` and a job, `q` and a runner; `*` for more jobs than have room.
  func payloads(from session: Int64) -> [String] {
    var payloads: [String] = []
    var payload = "\(session)"
    let lines = (isAny ? ["*"] : []) + ended.map { "e\($0.rawValue)" } + queued.map { "q\($0.rawValue)" }
    for line in lines {
      if payload.utf8.count + line.utf8.count + 1 > Self.payloadBytes {
        payloads.append(payload)
        payload = "\(session)"
      }
      payload += "\n\(line)"
    }
    payloads.append(payload)
    return payloads
  }
}

extension PostgresJobStore {
  static let channel = "hero_jobs"

  public func observe(_ handler: @escaping @Sendable (SharedStoreEvent) -> Void) { observer = handler }

  // MARK: Lease

  public func begin() async throws(JobStoreError) {
    guard schema.isWritable else { return lose("the database's schema is newer than this node") }
    let begun = ContinuousClock.now
    // What is over may have its row again, if its process comes back to work; a row that somebody holds is left to others.
    let forget = Statement(
      sql: """
        DELETE FROM hero_nodes WHERE instance = $1
          OR session IN (SELECT session FROM hero_nodes WHERE is_over FOR UPDATE SKIP LOCKED)
        """, parameters: [.text(options.instance)])
    let deadline = begun + .seconds(10)
    while true {
      let connection = await ready([controlLine], until: deadline)?.connection
      let answer = await connection?.run([.begin, forget, addition, .commit], within: .seconds(5))
      if case .success = answer { break }
      var outage = controlLine.outage ?? .notConnected("not connected")
      if case .failure(let error) = answer { outage = error }
      // A transaction of this node's former life may still be under way.
      guard ContinuousClock.now < deadline, outage.isOutage || outage.isConflict else { throw Self.unavailable(outage) }
      try? await loop.sleep(for: .milliseconds(100))
    }
    renewed(begun)
    if case .none = lease.state { lose("the database took longer than a lease to grant one") }
    writerLine.start()
    background.append(Task(executorPreference: loop) { await self.renewForEver() })
    // The first write must not be refused because the connection is just being made.
    await arrivals.waitUnlessCancelled(
      while: { writerLine.connection == nil && !isClosed }, atMost: .seconds(10) - begun.duration(to: .now))
  }

  /// Another one with each renewal: none comes a second time, also after a failover to a server that had not seen the last.
  private static var beat: Parameter { .int(.random(in: 0 ... .max)) }

  private var addition: Statement {
    Statement(
      sql: """
        INSERT INTO hero_nodes (session, name, instance, address, writer, length, beat)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
      parameters: [
        .int(session), .text(options.node.rawValue), .text(options.instance), .text(address), .int(writer.number),
        .double(options.lease / .seconds(1)), Self.beat,
      ])
  }

  private func renewForEver() async {
    let pause = options.lease / 3
    let pauseAfterFailure = min(options.lease / 15, .seconds(1))
    var next = pause
    while (try? await loop.sleep(for: next)) != nil { next = await renew() ? pause : pauseAfterFailure }
  }

  /// The control connection, or any other that is free.
  /// - Parameter tried: lines that have failed just now.
  private func leaseLine(besides tried: [ConnectionLine] = []) -> ConnectionLine? {
    ([controlLine!] + readers).first { line in
      guard let connection = line.connection, !tried.contains(where: { $0 === line }) else { return false }
      return line === controlLine || connection.busySince == nil
    }
  }

  /// Renews the lease, on one line after another until one answers.
  /// - Returns: whether it was renewed, or there is nothing to renew; else it is worth another try soon.
  @discardableResult
  func renew() async -> Bool {
    if case .none = lease.state { return true }
    guard schema.isWritable else { return true }
    renewals += 1
    defer {
      renewals -= 1
      progress.resumeAll()
    }
    var tried: [ConnectionLine] = []
    while !isClosed, let line = leaseLine(besides: tried), let connection = line.connection {
      do throws(PostgresError) {
        return try await renew(on: connection)
      } catch {
        if isClosed { break }
        logger.warning("cannot renew the lease, trying again", metadata: ["reason": "\(error)"])
        guard error.isOutage || error.isUnanswered else { return false }
        // It is made anew, perhaps to another server; meanwhile another one may have an answer.
        line.replace(connection, because: error)
        tried.append(line)
      }
    }
    return isClosed
  }

  private func renew(on connection: PostgresConnection) async throws(PostgresError) -> Bool {
    let limit = max(options.lease / 5, .seconds(1))
    let begun = ContinuousClock.now
    let renew = Statement(
      name: "renew", sql: "UPDATE hero_nodes SET beat = $2 WHERE session = $1 AND NOT is_over",
      parameters: [.int(session), Self.beat])
    if try await connection.run([renew], within: limit).get()[0].affected == 1 { return renewed(begun) }
    // Given back meanwhile.
    if isClosed { return true }
    // Another node has ended it: this one was silent for too long, or looked dead. What ran here may run elsewhere.
    lose("another node has ended the lease")
    let revived = ContinuousClock.now
    let revive = Statement(
      sql: "UPDATE hero_nodes SET beat = $2, is_over = false WHERE session = $1",
      parameters: [.int(session), Self.beat])
    if try await connection.run([revive], within: limit).get()[0].affected == 1 { return renewed(revived) }
    if isClosed { return true }
    // Forgotten when another node started; unless another process is this node by now.
    let others = Statement(
      sql: "SELECT 1 FROM hero_nodes WHERE instance = $1", parameters: [.text(options.instance)])
    guard try await connection.run([others], within: limit).get()[0].count == 0 else {
      logger.error("another process uses the identity of this node's data directory; this one works no more")
      return true
    }
    if isClosed { return true }
    let added = ContinuousClock.now
    _ = try await connection.run([addition], within: limit).get()
    return renewed(added)
  }

  /// - Returns: whether this process has a lease by that.
  @discardableResult
  private func renewed(_ begun: ContinuousClock.Instant) -> Bool {
    let wasLost = if case .lost = lease.state { true } else { false }
    guard !isClosed, let until = lease.renewed(sent: begun, now: .now) else { return false }
    let clock = leaseClock ?? Timer(on: loop)
    leaseClock = clock
    clock.schedule(after: until - .now) { [weak self] in
      self?.assumeIsolated { $0.lose("the database could not be reached for \($0.lease.length - $0.lease.margin)") }
    }
    observer?(.leaseHeld(end: lease.end(sent: begun)))
    if wasLost {
      logger.notice("this node has a lease again")
      observer?(.leaseRegained)
    }
    return true
  }

  func lose(_ reason: String) {
    if case .lost = lease.state { return }
    lease.lose(reason)
    logger.error("the lease is lost, all jobs of this node are stopped", metadata: ["reason": "\(reason)"])
    observer?(.leaseLost(leaseLossReason ?? reason))
  }

  var leaseLossReason: String? {
    switch lease.state {
    case .held: nil
    case .none: "this node has no lease yet"
    case .lost(let reason): "this node has lost its lease: \(reason)"
    }
  }

  public func leaseLoss() -> String? { leaseLossReason }

  public func sayLeaseOver() -> Bool { lease.sayOver(now: .now) }

  /// Gives the lease back, if that can be said.
  func endLease() async {
    leaseClock?.close()
    leaseClock = nil
    if case .none = lease.state { return }
    lease.giveBack()
    // What a renewal has sent already must not come after.
    await progress.waitUnlessCancelled(while: { renewals > 0 }, atMost: .seconds(2))
    guard let connection = leaseLine()?.connection else { return }
    _ = await connection.run(
      [Statement(sql: "DELETE FROM hero_nodes WHERE session = $1", parameters: [.int(session)])], within: .seconds(2))
  }

  // MARK: Connection

  func setUpControl(_ connection: PostgresConnection) async -> PostgresError? {
    if let error = await join(connection, as: .control) { return error }
    connection.onNotification = { [weak self] payload in self?.assumeIsolated { $0.heard(payload) } }
    switch await connection.run([Statement(sql: "LISTEN \(Self.channel)")]) {
    case .success: return nil
    // A database without notifications: polling does it alone.
    case .failure(.refused(let state, _)) where state == "0A000" || state == "42601": return nil
    case .failure(let error): return error
    }
  }

  func controlIsUp() {
    leaseWatch.connected(at: .now)
    isUp()
    Task(executorPreference: loop) { await self.catchUp() }
  }

  private func catchUp() async {
    await renew()
    // What was told while nobody listened.
    readings.reopenAll()
    await compareAll()
    tellSoon()
  }

  // MARK: Telling and listening

  func tellSoon() {
    news.shorten()
    guard !isTelling, !news.isEmpty, controlLine.connection != nil else { return }
    isTelling = true
    Task(executorPreference: loop) { await self.tell() }
  }

  func tell() async {
    while !news.isEmpty, let connection = controlLine.connection {
      let told = news
      news = News()
      let payloads = told.payloads(from: session)
      statistics.notifications += payloads.count
      let answer = await connection.run(
        [.begin, Statement(name: "lazy", sql: "SET LOCAL synchronous_commit = off")]
          + payloads.map {
            Statement(name: "notify", sql: "SELECT pg_notify('\(Self.channel)', $1)", parameters: [.text($0)])
          } + [.commit])
      if case .failure(let error) = answer {
        logger.debug("cannot tell other nodes", metadata: ["reason": "\(error)"])
        news.add(told)
        break
      }
    }
    isTelling = false
  }

  private func heard(_ payload: String) {
    var lines = payload.utf8.split(separator: UInt8(ascii: "\n"))[...]
    guard let sender = lines.popFirst(), !sender.elementsEqual("\(session)".utf8) else { return }
    var ended: [JobID] = []
    var queued: [RunnerName] = []
    var isAny = false
    for line in lines {
      switch line.first {
      case UInt8(ascii: "e"): ended.append(JobID(trusted: String(Substring(line.dropFirst()))))
      case UInt8(ascii: "q"): queued.append(RunnerName(trusted: String(Substring(line.dropFirst()))))
      default: isAny = true
      }
    }
    for runner in queued { readings.reopen(runner, at: nil) }
    if !queued.isEmpty { observer?(.queued(queued)) }
    let waited = ended.filter { finishWaiters[$0] != nil }
    if isAny {
      Task(executorPreference: loop) { await self.compareAll() }
    } else if !waited.isEmpty {
      Task(executorPreference: loop) { await self.compare(waited) }
    }
  }

  func pollForEver() async {
    while (try? await loop.sleep(for: options.pollInterval)) != nil { await compareAll() }
  }

  public func sharedStatus() -> SharedStoreStatus {
    let remaining: Duration? = if case .held(let until) = lease.state { until - .now } else { nil }
    return SharedStoreStatus(
      leaseRemaining: remaining, reconnections: statistics.connections, schema: schema.version,
      knownSchema: Schema.migrations.count)
  }
}
