import CLibPQ
import DequeModule
import EventLoop
import Glibc

// One connection to PostgreSQL: libpq in pipeline mode, its socket watched by the loop (libpq documentation, "Pipeline
// Mode", "Asynchronous Command Processing"). A call sends all statements of a transaction at once and waits for their
// answers together, so that a transaction costs one round trip.

/// A connection in use; it ends once, and then every call fails. On its loop.
final class PostgresConnection: @unchecked Sendable {
  // @unchecked: used on the loop's thread only; opening happens on another thread before anyone has it.

  typealias Answer = Result<[QueryResult], PostgresError>

  /// What is asked in one go, until whoever asked has an answer, or waits no longer.
  private final class Call {
    let statements: [Statement]
    private var continuation: CheckedContinuation<Answer, Never>?
    private var timer: Timer?

    init(_ statements: [Statement], _ continuation: CheckedContinuation<Answer, Never>) {
      self.statements = statements
      self.continuation = continuation
    }

    func limit(_ time: Duration, on loop: EventLoop, _ expired: @escaping () -> Void) {
      timer = Timer(on: loop)
      timer!.schedule(after: time, expired)
    }

    func answer(_ answer: Answer) {
      timer?.close()
      timer = nil
      continuation?.resume(returning: answer)
      continuation = nil
    }
  }

  /// What was sent and not answered yet.
  private struct Flight {
    let call: Call
    let began: ContinuousClock.Instant
    /// For each message that libpq will answer: the name that it prepares, or `nil` for a statement.
    var messages: Deque<String?>
    var results: [QueryResult] = []
    var error: PostgresError?
    /// What the server warned of: it did as it was told, but not all that belongs to it.
    var warning: String?
  }

  let loop: EventLoop
  private let handle: OpaquePointer
  private let watch: DescriptorWatch
  private var waiting: Deque<Call> = []
  private var flight: Flight?
  private var prepared: Set<String> = []
  private(set) var end: PostgresError?
  /// Which server it is to, once it was asked.
  var server: DatabaseServer?
  /// Called with the payload of each NOTIFY of others.
  var onNotification: ((String) -> Void)?
  /// Called once, when the connection has ended by itself.
  var onEnd: ((PostgresError) -> Void)?

  // MARK: Opening

  /// Connects, off the loop: libpq looks names up and tries one host after another.
  /// - Parameters:
  ///   - url: answers whatever libpq takes (libpq documentation, "Connection Strings"); what it says beats `defaults`.
  static func open(
    _ url: @escaping @Sendable () throws -> String, defaults: [(String, String)], on loop: EventLoop
  ) async throws(PostgresError) -> PostgresConnection {
    let opened: Result<Opened, PostgresError>
    do {
      opened = try await loop.blocking {
        Result { () throws(PostgresError) -> Opened in
          let text: String
          do { text = try url() } catch { throw PostgresError.notConnected("the connection string: \(error)") }
          return try connect(text, defaults)
        }
      }
    } catch {
      throw .notConnected("\(error)")
    }
    let made = try opened.get()
    return try await withCheckedContinuation {
      (continuation: CheckedContinuation<Result<PostgresConnection, PostgresError>, Never>) in
      loop.execute {
        let handle = made.handle
        do throws(UVError) {
          let connection = PostgresConnection(
            handle, try DescriptorWatch.open(PQsocket(handle), on: loop), on: loop)
          try connection.watchSocket()
          continuation.resume(returning: .success(connection))
        } catch {
          PQfinish(handle)
          continuation.resume(returning: .failure(.notConnected("\(error)")))
        }
      }
    }.get()
  }

  private struct Opened: @unchecked Sendable {
    // @unchecked: handed from the thread that made it to the loop, and used by one of them at a time.
    let handle: OpaquePointer
  }

  private static func connect(_ url: String, _ defaults: [(String, String)]) throws(PostgresError) -> Opened {
    // What is no connection string would be taken for a database's name.
    if let problem = ConnectionString.problem(with: url) { throw .notConnected("the connection string: \(problem)") }
    // In an array that is processed from start to end, what the URL says comes last and wins.
    let words = defaults + [("dbname", url)]
    let keys = words.map { strdup($0.0) } + [nil]
    let values = words.map { strdup($0.1) } + [nil]
    defer { for word in keys + values { free(word) } }
    let handle = keys.withUnsafeBufferPointer { keys in
      values.withUnsafeBufferPointer { values in
        keys.withMemoryRebound(to: UnsafePointer<CChar>?.self) { keys in
          values.withMemoryRebound(to: UnsafePointer<CChar>?.self) { values in
            PQconnectdbParams(keys.baseAddress, values.baseAddress, 1)
          }
        }
      }
    }
    guard let handle else { throw .notConnected("out of memory") }
    PQsetNoticeReceiver(handle, { _, _ in }, nil)
    guard PQstatus(handle) == CONNECTION_OK else {
      let reason = ConnectionString.shown(String(cString: PQerrorMessage(handle)))
      PQfinish(handle)
      throw .notConnected(reason)
    }
    guard PQsetnonblocking(handle, 1) == 0, PQenterPipelineMode(handle) == 1 else {
      PQfinish(handle)
      throw .notConnected("libpq refused the pipeline mode")
    }
    return Opened(handle: handle)
  }

  /// libpq's words about a connection that was made: they hold nothing of the connection string.
  private static func message(of handle: OpaquePointer) -> String {
    PostgresError.inOneLine(String(cString: PQerrorMessage(handle)))
  }

  private init(_ handle: OpaquePointer, _ watch: DescriptorWatch, on loop: EventLoop) {
    self.handle = handle
    self.watch = watch
    self.loop = loop
    // What the server remarks besides is not for standard error, which is the node's log.
    PQsetNoticeReceiver(
      handle,
      { connection, notice in
        Unmanaged<PostgresConnection>.fromOpaque(connection!).takeUnretainedValue().warned(by: notice!)
      }, Unmanaged.passUnretained(self).toOpaque())
  }

  /// What the server says of itself at the start, and whenever it changes: `server_version`, `in_hot_standby` …
  func parameter(_ name: String) -> String? { PQparameterStatus(handle, name).map { String(cString: $0) } }

  /// Whether the server takes no writes any more. It says so before the end of each answer, from PostgreSQL 14 on.
  private var refusesWrites: Bool {
    server?.isReadOnly == false
      && (parameter("default_transaction_read_only") == "on" || parameter("in_hot_standby") == "on")
  }

  /// The process of its session, as it was said when the connection was made: a pooler says another than the session does.
  var announcedSession: Int64 { Int64(PQbackendPID(handle)) }

  /// Where libpq has connected, of several hosts in the connection string.
  var hostAndPort: String {
    let host = PQhost(handle).map { String(cString: $0) } ?? ""
    return "\(host):\(PQport(handle).map { String(cString: $0) } ?? "")"
  }

  // MARK: Calls

  /// Runs statements in one go, and answers what each returned.
  ///
  /// After an error nothing that follows in the same call is executed, and an open transaction is rolled back.
  /// - Parameter limit: for how long to wait for the connection's turn and for the answer. After that the server still does
  ///   what it was asked, and the connection is busy as long: to leave it would leave its session at the server.
  func run(_ statements: [Statement], within limit: Duration? = .seconds(30)) async -> Answer {
    loop.preconditionCurrent()
    return await withCheckedContinuation { continuation in
      if let end { return continuation.resume(returning: .failure(.notConnected("\(end)"))) }
      let call = Call(statements, continuation)
      if let limit { call.limit(limit, on: loop) { [weak self] in self?.expire(call, limit) } }
      waiting.append(call)
      sendNext()
    }
  }

  private func expire(_ call: Call, _ limit: Duration) {
    waiting.removeAll { $0 === call }
    call.answer(.failure(.unanswered("the server did not answer within \(limit)")))
  }

  /// When the statements were sent that the server has not answered yet, if any.
  var busySince: ContinuousClock.Instant? { flight?.began }

  private func sendNext() {
    guard flight == nil, end == nil, let call = waiting.popFirst() else { return }
    flight = Flight(call: call, began: .now, messages: [])
    send(call.statements)
  }

  private func send(_ statements: [Statement]) {
    for statement in statements {
      if let name = statement.name, prepared.insert(name).inserted {
        let types = statement.parameters.map(\.type)
        guard PQsendPrepare(handle, name, statement.sql, Int32(types.count), types) == 1 else { return failNow() }
        flight!.messages.append(name)
      }
      guard send(statement) else { return failNow() }
      flight!.messages.append(nil)
    }
    guard PQpipelineSync(handle) == 1 else { return failNow() }
    flush()
  }

  private func send(_ statement: Statement) -> Bool {
    let parameters = statement.parameters
    let lengths = parameters.map { Int32($0.bytes?.count ?? 0) }
    let formats = [Int32](repeating: 1, count: parameters.count)
    return withPointers(parameters.map(\.bytes)[...], []) { pointers in
      if let name = statement.name {
        PQsendQueryPrepared(handle, name, Int32(parameters.count), pointers, lengths, formats, 1) == 1
      } else {
        PQsendQueryParams(
          handle, statement.sql, Int32(parameters.count), parameters.map(\.type), pointers, lengths, formats, 1) == 1
      }
    }
  }

  /// Calls `body` with the address of each value; libpq copies them before it returns.
  private func withPointers<Value>(
    _ values: ArraySlice<[UInt8]?>, _ pointers: [UnsafePointer<CChar>?], _ body: ([UnsafePointer<CChar>?]) -> Value
  ) -> Value {
    guard let value = values.first else { return body(pointers) }
    guard let bytes = value else { return withPointers(values.dropFirst(), pointers + [nil], body) }
    return bytes.withUnsafeBytes { raw in
      // An empty value is not NULL.
      let base = raw.baseAddress ?? UnsafeRawPointer(bitPattern: 1)!
      return withPointers(values.dropFirst(), pointers + [base.assumingMemoryBound(to: CChar.self)], body)
    }
  }

  // MARK: Socket

  private func watchSocket(alsoToWrite: Bool = false) throws(UVError) {
    try watch.watch(alsoToWrite ? [.readable, .writable] : .readable) { [weak self] events in
      guard let self, end == nil else { return }
      if events.contains(.readable) { read() }
      if events.contains(.writable), end == nil { flush() }
    }
  }

  private func flush() {
    switch PQflush(handle) {
    case 0: try? watchSocket()
    case 1: try? watchSocket(alsoToWrite: true)
    default: failNow()
    }
  }

  private func read() {
    guard PQconsumeInput(handle) == 1 else { return failNow() }
    takeResults()
    while end == nil, let notification = PQnotifies(handle) {
      let payload = String(cString: notification.pointee.extra)
      PQfreemem(notification)
      onNotification?(payload)
    }
    if end == nil, PQstatus(handle) != CONNECTION_OK { failNow() }
  }

  private func takeResults() {
    while end == nil, flight != nil, PQisBusy(handle) == 0 {
      guard let result = PQgetResult(handle) else {
        // The end of one message's results.
        if flight!.messages.popFirst() == nil { return failNow() }
        continue
      }
      let status = PQresultStatus(result)
      switch status {
      case PGRES_PIPELINE_SYNC:
        PQclear(result)
        finish()
      case PGRES_TUPLES_OK, PGRES_COMMAND_OK:
        if flight!.messages.first == .some(nil) {
          flight!.results.append(QueryResult(owning: result))
        } else {
          PQclear(result)
        }
      default:
        if case .some(.some(let name)) = flight!.messages.first { prepared.remove(name) }
        if status != PGRES_PIPELINE_ABORTED, flight!.error == nil { flight!.error = Self.error(result) }
        PQclear(result)
      }
    }
  }

  private static func error(_ result: OpaquePointer) -> PostgresError {
    func field(_ code: Character) -> String {
      PQresultErrorField(result, Int32(code.asciiValue!)).map { String(cString: $0) } ?? ""
    }
    return .refused(state: field("C"), message: PostgresError.inOneLine(field("M")))
  }

  /// A COMMIT that stops waiting for its standby, since somebody cancelled it, warns and succeeds (PostgreSQL documentation,
  /// "Synchronous Replication"): such a success is none.
  private func warned(by notice: OpaquePointer) {
    guard flight != nil, case .refused("01000", let message) = Self.error(notice) else { return }
    flight!.warning = message
  }

  /// All messages of the call are answered.
  private func finish() {
    guard var flight else { return }
    if flight.error == nil, let warning = flight.warning {
      flight.error = .refused(state: "40003", message: warning)
      self.flight = flight
    }
    if flight.error != nil, PQtransactionStatus(handle) != PQTRANS_IDLE {
      // The transaction is still open, and of no use.
      self.flight = Flight(call: flight.call, began: flight.began, messages: [])
      self.flight!.error = flight.error
      return send([.rollback])
    }
    // What was read there may be old, and what was written may be lost: it is asked for again elsewhere.
    if flight.error == nil, refusesWrites { return fail("the server takes no writes any more") }
    self.flight = nil
    let answer: Answer = flight.error.map { .failure($0) } ?? .success(flight.results)
    flight.call.answer(answer)
    sendNext()
  }

  // MARK: End

  private func failNow() {
    let reason = Self.message(of: handle)
    fail(reason.isEmpty ? "the server closed the connection" : reason)
  }

  /// The server has nothing more to say to it.
  func fail(_ reason: String) {
    guard end == nil else { return }
    terminate(.lost(reason))
    onEnd?(.lost(reason))
    forget()
  }

  /// Closes it. What is under way fails as lost.
  func close() {
    loop.preconditionCurrent()
    guard end == nil else { return }
    terminate(.lost("the connection was closed"))
    forget()
  }

  private func terminate(_ error: PostgresError) {
    end = error
    watch.close()
    PQfinish(handle)
    flight?.call.answer(.failure(error))
    flight = nil
    for call in waiting { call.answer(.failure(.notConnected("\(error)"))) }
    waiting = []
  }

  private func forget() {
    onEnd = nil
    onNotification = nil
  }
}
