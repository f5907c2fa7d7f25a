// Requests to whichever node answers: a pool of connections per endpoint, and the rules of failover.
import EventLoop
import Synchronization
import TLS

/// Sends HTTP requests to the first of several endpoints that can be reached.
///
/// - A refused connection: the next endpoint is tried at once, since nothing was sent.
/// - A connection lost under way, or an answer that another node may give better: the next endpoint is tried only when
///   the caller says that the request is safe to repeat.
/// - An endpoint that is silent: the next one is asked as well, under the same condition; the first answer counts.
/// - The endpoint that answered last is asked first the next time.
actor NodeTransport {
  struct Request {
    var method = "POST"
    /// nil: the endpoint's own path.
    var path: String?
    var body: [UInt8] = []
    /// For the whole answer, whoever gives it.
    var timeout: Duration?
    /// For how long an endpoint may send nothing; nil for a request that waits.
    var silence: Duration?
    /// Whether it does no harm when two nodes get it.
    var isSafe = false
    /// The endpoint to begin with, by its number, in place of the preferred one.
    var first: Int?
    /// The one endpoint to ask, in place of all.
    var only: Int?
    /// Told which endpoint is asked. Whoever wants to know that also decides what follows the loss of that endpoint.
    var place: Place?
  }

  /// Where a request is, for whoever watches over it.
  final class Place: Sendable {
    private let attempt = Mutex<(number: Int, progress: Progress)?>(nil)
    /// The number of the endpoint that was asked last.
    var current: Int? { attempt.withLock { $0?.number } }
    /// Grows while anything moves between it and us.
    var movedBytes: Int { get async { await attempt.withLock { $0?.progress }?.movedBytes ?? 0 } }
    fileprivate func move(to number: Int, _ progress: Progress) { attempt.withLock { $0 = (number, progress) } }
  }

  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private let endpoints: [Endpoint]
  private let secret: String?
  private let limits: SupervisorClient.Limits
  /// Whom connections by TLS believe; `nil` until it is known that none was given.
  private var tls: TLSContext?
  private var pool: [Endpoint: [HTTPClientConnection]] = [:]
  private var open: [ObjectIdentifier: HTTPClientConnection] = [:]
  private var preferred = 0
  private var isClosed = false
  private let onNotice: @Sendable (ClientNotice) -> Void

  init(
    endpoints: [Endpoint], secret: String?, tls: TLSContext?, loop: EventLoop, limits: SupervisorClient.Limits,
    onNotice: @escaping @Sendable (ClientNotice) -> Void
  ) {
    precondition(!endpoints.isEmpty, "a client needs an endpoint")
    self.endpoints = endpoints
    self.secret = secret
    self.tls = tls
    self.loop = loop
    self.limits = limits
    self.onNotice = onNotice
  }

  nonisolated var endpointCount: Int { endpoints.count }
  nonisolated func endpoint(_ number: Int) -> Endpoint { endpoints[number % endpoints.count] }

  /// Turns away from the endpoint at which a request waits.
  /// - Returns: that endpoint; nil when the request has not got to any.
  func leave(_ place: Place) -> Endpoint? {
    guard let number = place.current else { return nil }
    preferred = (number + 1) % endpoints.count
    return endpoints[number]
  }

  /// Sends a request and returns what `read` makes of the answer.
  /// - Parameter read: throws the error that an answer means, on which the next endpoint may be tried.
  func send<Answer: Sendable>(
    _ request: Request, reading read: @escaping @Sendable (HTTPAnswer, Endpoint) throws(ClientError) -> Answer
  ) async throws(ClientError) -> Answer {
    let first = request.only ?? request.first ?? preferred
    let order = (0..<(request.only == nil ? endpoints.count : 1)).map { (first + $0) % endpoints.count }
    let deadline = request.timeout.map { SuspendingClock.now + $0 }
    let result = await withTaskGroup(of: Event<Answer>.self) { group -> Result<Answer, ClientError> in
      defer { group.cancelAll() }
      var (failures, latest, underWay) = (Failures(), -1, 0)
      func askNext() {
        latest += 1
        underWay += 1
        let (position, number, progress) = (latest, order[latest], Progress())
        request.place?.move(to: number, progress)
        group.addTask {
          do throws(ClientError) {
            let rest = deadline.map { SuspendingClock.now.duration(to: $0) }
            let answer = try await self.send(request, within: rest, to: self.endpoints[number], progress)
            return .ended(position, .success(try read(answer, self.endpoints[number])))
          } catch {
            return .ended(position, .failure(error))
          }
        }
        let mayRest = request.silence == nil
        group.addTask { await self.isSilent(progress, mayRest: mayRest) ? .silent(position) : .spoke }
      }
      askNext()
      for await event in group {
        switch event {
        case .ended(let position, .success(let answer)):
          if request.only == nil { preferred = order[position] }
          return .success(answer)
        case .ended(let position, .failure(let error)):
          underWay -= 1
          failures.add(error)
          if !error.letsAnotherNodeTry(isSafe: request.isSafe) || error.isLoss && request.place != nil {
            // Whoever watches over it asks elsewhere next.
            if request.place != nil, error.isOfAway {
              preferred = (order[position] + 1) % endpoints.count
            } else if error.isAnswer, request.only == nil {
              preferred = order[position]
            }
            return .failure(error)
          }
          let hasTime = deadline.map { SuspendingClock.now < $0 } ?? true
          if position == latest, latest + 1 < order.count, hasTime { askNext() }
          if underWay == 0 { return .failure(failures.summary) }
        case .silent(let position):
          guard position == latest else { break }
          let hasNext = request.isSafe && latest + 1 < order.count
          onNotice(
            .silent(
              endpoints[order[position]], after: limits.patience, next: hasNext ? endpoints[order[latest + 1]] : nil))
          if hasNext { askNext() }
        case .spoke: break
        }
      }
      return .failure(.cancelled)
    }
    return try result.get()
  }

  private enum Event<Answer: Sendable>: Sendable {
    /// The attempt at the endpoint with this place in the order is over.
    case ended(Int, Result<Answer, ClientError>)
    case silent(Int)
    case spoke
  }

  /// The connection of an attempt, once there is one.
  fileprivate final class Progress: Sendable {
    private let connection = Mutex<HTTPClientConnection?>(nil)
    var isConnected: Bool { connection.withLock { $0 != nil } }
    func use(_ connection: HTTPClientConnection) { self.connection.withLock { $0 = connection } }
    var movedBytes: Int { get async { await connection.withLock(\.self)?.movedBytes ?? 0 } }
  }

  /// Returns once nothing has moved for `Limits.patience`; `false` when it is cancelled before.
  /// - Parameter mayRest: that nothing comes means nothing once the request was sent: only the connection is looked at.
  private func isSilent(_ progress: Progress, mayRest: Bool) async -> Bool {
    var seen = await progress.movedBytes
    while (try? await loop.sleep(for: limits.patience)) != nil {
      if mayRest { return !progress.isConnected }
      let moved = await progress.movedBytes
      if moved == seen { return true }
      seen = moved
    }
    return false
  }

  /// Why the endpoints that were asked have not answered.
  private struct Failures {
    private var refusals: [String] = []
    private var failure: ClientError?

    mutating func add(_ error: ClientError) {
      switch error {
      case .cannotConnect(let endpoint, let reason): refusals.append("\(endpoint): \(reason)")
      case .notSecured(let endpoint, let reason): refusals.append("\(endpoint): \(reason)")
      default: break
      }
      failure = NodeTransport.moreTelling(failure, error)
    }

    var summary: ClientError {
      if case .cannotConnect(let endpoint, let reason)? = failure, refusals.count > 1 {
        let others = refusals.dropLast().joined(separator: "; ")
        return .cannotConnect(endpoint: endpoint, reason: "\(reason) (tried before: \(others))")
      }
      return failure ?? .cancelled
    }
  }

  /// Of the errors of two endpoints, the one to report: what a node answered says more than that another is away, and a
  /// connection lost under way may have done something, which one that never came about has not.
  private static func moreTelling(_ earlier: ClientError?, _ later: ClientError) -> ClientError {
    func weight(_ error: ClientError) -> Int {
      switch error {
      case .cannotConnect: 0
      case .notSecured: 1
      case .connectionLost, .timedOut: 2
      default: 3
      }
    }
    guard let earlier else { return later }
    return weight(later) >= weight(earlier) ? later : earlier
  }

  /// Ends calls under way and closes all connections; the loop has no handle of this client afterwards.
  func close() async {
    isClosed = true
    pool = [:]
    let connections = open.values
    open = [:]
    for connection in connections { await connection.close() }
  }

  private func send(
    _ request: Request, within time: Duration?, to endpoint: Endpoint, _ progress: Progress
  ) async throws(ClientError) -> HTTPAnswer {
    let connection = try await connection(to: endpoint, within: time)
    progress.use(connection)
    let outcome = await connection.exchange(
      bytes(of: request, for: endpoint), timeout: time, silence: request.silence)
    if await connection.isUsable, !isClosed {
      pool[endpoint, default: []].append(connection)
    } else {
      open[ObjectIdentifier(connection)] = nil
      await connection.close()
    }
    switch outcome {
    case .success(let answer): return answer
    case .failure(.lost(let reason)): throw .connectionLost(endpoint: endpoint, reason: reason)
    case .failure(.notSecured(let reason)): throw .notSecured(endpoint: endpoint, reason: reason)
    case .failure(.malformed(let reason)): throw .invalidAnswer(endpoint: endpoint, reason: reason)
    case .failure(.timedOut): throw .timedOut(endpoint: endpoint, after: request.timeout ?? .zero)
    case .failure(.silent): throw .timedOut(endpoint: endpoint, after: request.silence ?? .zero)
    case .failure(.cancelled): throw .cancelled
    }
  }

  private func connection(
    to endpoint: Endpoint, within timeout: Duration?
  ) async throws(ClientError) -> HTTPClientConnection {
    while let idle = pool[endpoint]?.popLast() {
      if await idle.isUsable { return idle }
      open[ObjectIdentifier(idle)] = nil
      await idle.close()
    }
    let time = min(timeout ?? limits.connectTimeout, limits.connectTimeout)
    let stream = try await connect(to: endpoint, within: time)
    guard !isClosed else {
      stream.close()
      throw .cancelled
    }
    let connection = HTTPClientConnection(stream, on: loop, maxAnswerBytes: limits.maxAnswerBytes)
    open[ObjectIdentifier(connection)] = connection
    await connection.start()
    return connection
  }

  /// Why no connection came about.
  private enum ConnectFailure: Error {
    case transport(UVError)
    case tls(TLSError)
  }

  /// Looks the name up, tries its addresses in turn, and makes the TLS handshake if there is one, all of it within `timeout`.
  private func connect(to endpoint: Endpoint, within timeout: Duration) async throws(ClientError) -> any DuplexStream {
    let loop = loop
    let tls = endpoint.isSecure ? try tlsContext(for: endpoint) : nil
    let attempt = Task(executorPreference: loop) { () -> Result<any DuplexStream, ConnectFailure> in
      if let socket = endpoint.socket { return await Self.connect(toSocket: socket, on: loop) }
      var failure = ConnectFailure.transport(
        UVError(code: UVError.addressNotAvailable, operation: "connect to \(endpoint)"))
      do throws(UVError) {
        for address in try await SocketAddress.resolve(host: endpoint.host, port: endpoint.port, on: loop) {
          guard !Task.isCancelled else { break }
          do throws(ConnectFailure) {
            return .success(try await Self.connect(to: address, of: endpoint.name, tls, on: loop))
          } catch {
            failure = error
          }
        }
        return .failure(failure)
      } catch {
        return .failure(.transport(error))
      }
    }
    let timer = Timer(on: loop)
    timer.schedule(after: timeout) { attempt.cancel() }
    let outcome = await withTaskCancellationHandler {
      await attempt.value
    } onCancel: {
      attempt.cancel()
    }
    timer.close()
    switch outcome {
    case .success(let stream):
      if let local = stream as? LocalStream, let socket = endpoint.socket,
        let reason = SocketOwner.refusal(ofListener: local.peerUID, at: socket)
      {
        stream.close()
        throw .cannotConnect(endpoint: endpoint, reason: reason)
      }
      return stream
    case .failure(let failure):
      if Task.isCancelled { throw .cancelled }
      if attempt.isCancelled {
        throw .cannotConnect(endpoint: endpoint, reason: "no connection within \(timeout)")
      }
      switch failure {
      case .tls(let error): throw .notSecured(endpoint: endpoint, reason: error)
      case .transport(let error): throw .cannotConnect(endpoint: endpoint, reason: error.message)
      }
    }
  }

  private static func connect(
    to address: SocketAddress, of host: String, _ tls: TLSContext?, on loop: EventLoop
  ) async throws(ConnectFailure) -> any DuplexStream {
    let tcp: TCPStream
    do throws(UVError) { tcp = try await TCPStream.connect(to: address, on: loop) } catch { throw .transport(error) }
    guard let tls else { return tcp }
    let stream = TLSStream(connecting: tcp, to: host, tls)
    do throws(TLSError) { try await stream.handshake() } catch { throw .tls(error) }
    return stream
  }

  private func tlsContext(for endpoint: Endpoint) throws(ClientError) -> TLSContext {
    if let tls { return tls }
    do throws(InvalidPEM) {
      let tls = try TLSContext.client()
      self.tls = tls
      return tls
    } catch {
      throw .cannotConnect(endpoint: endpoint, reason: error.reason)
    }
  }

  private static func connect(
    toSocket path: String, on loop: EventLoop
  ) async -> Result<any DuplexStream, ConnectFailure> {
    do throws(UVError) { return .success(try await LocalStream.connect(to: path, on: loop)) } catch {
      return .failure(.transport(error))
    }
  }

  private func bytes(of request: Request, for endpoint: Endpoint) -> [UInt8] {
    var head = "\(request.method) \(request.path ?? endpoint.path) HTTP/1.1\r\nHost: \(endpoint.authority)\r\n"
    if request.method == "POST" {
      head += "Content-Type: application/json\r\nContent-Length: \(request.body.count)\r\n"
    }
    if let secret { head += "Authorization: Bearer \(secret)\r\n" }
    head += "Accept: application/json\r\n\r\n"
    return Array(head.utf8) + request.body
  }
}
