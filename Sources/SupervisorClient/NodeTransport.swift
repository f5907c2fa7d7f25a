// Requests to whichever node answers: a pool of connections per endpoint, and the rules of failover.
import EventLoop
import TLS

/// Sends HTTP requests to the first of several endpoints that can be reached.
///
/// - A refused connection: the next endpoint is tried at once, since nothing was sent.
/// - A connection lost under way, or an answer that another node may give better: the next endpoint is tried only when
///   the caller says that the request is safe to repeat.
/// - The endpoint that answered last is asked first the next time.
actor NodeTransport {
  struct Request {
    var method = "POST"
    /// nil: the endpoint's own path.
    var path: String?
    var body: [UInt8] = []
    var timeout: Duration?
    /// Whether it does no harm when two nodes get it.
    var isSafe = false
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

  init(
    endpoints: [Endpoint], secret: String?, tls: TLSContext?, loop: EventLoop, limits: SupervisorClient.Limits
  ) {
    precondition(!endpoints.isEmpty, "a client needs an endpoint")
    self.endpoints = endpoints
    self.secret = secret
    self.tls = tls
    self.loop = loop
    self.limits = limits
  }

  /// Sends a request and returns what `read` makes of the answer.
  /// - Parameter read: throws the error that an answer means, on which the next endpoint may be tried.
  func send<Answer: Sendable>(
    _ request: Request, reading read: @Sendable (HTTPAnswer, Endpoint) throws(ClientError) -> Answer
  ) async throws(ClientError) -> Answer {
    var refusals: [String] = []
    var failure: ClientError?
    let first = preferred
    for offset in endpoints.indices {
      let index = (first + offset) % endpoints.count
      let endpoint = endpoints[index]
      do throws(ClientError) {
        let answer = try read(try await send(request, to: endpoint), endpoint)
        preferred = index
        return answer
      } catch {
        switch error {
        case .cannotConnect(_, let reason): refusals.append("\(endpoint): \(reason)")
        case .notSecured(_, let reason): refusals.append("\(endpoint): \(reason)")
        default: break
        }
        guard error.letsAnotherNodeTry(isSafe: request.isSafe) else {
          if error.isAnswer { preferred = index }
          throw error
        }
        failure = Self.moreTelling(failure, error)
      }
    }
    if case .cannotConnect(let endpoint, let reason)? = failure, refusals.count > 1 {
      let others = refusals.dropLast().joined(separator: "; ")
      throw .cannotConnect(endpoint: endpoint, reason: "\(reason) (tried before: \(others))")
    }
    throw failure ?? .cancelled
  }

  /// Of the errors of two endpoints, the one to report: what a node answered says more than that another is away, and a
  /// connection lost under way may have done something, which one that never came about has not.
  private static func moreTelling(_ earlier: ClientError?, _ later: ClientError) -> ClientError {
    func weight(_ error: ClientError) -> Int {
      switch error {
      case .cannotConnect: 0
      case .notSecured: 1
      case .connectionLost: 2
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

  private func send(_ request: Request, to endpoint: Endpoint) async throws(ClientError) -> HTTPAnswer {
    let connection = try await connection(to: endpoint, within: request.timeout)
    let outcome = await connection.exchange(bytes(of: request, for: endpoint), timeout: request.timeout)
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
            return .success(try await Self.connect(to: address, of: endpoint.host, tls, on: loop))
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
