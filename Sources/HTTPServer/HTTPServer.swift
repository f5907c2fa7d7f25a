// The HTTP server: listeners, the connections they brought, and the sweep that ends those that wait too long.
import EventLoop
import Logging
import TLS

/// An HTTP/1.1 server on one event loop, over TCP and a unix socket.
///
/// ```swift
/// let server = HTTPServer(loop: loop, configuration: .init(), logger: logger) { request in .text("hello\n") }
/// let address = try await server.listen(on: SocketAddress(host: "127.0.0.1", port: 8082))
/// await server.shutdown(grace: .seconds(5))
/// ```
/// It answers by itself what is malformed, too large, too slow or not allowed, and OPTIONS; all other requests reach
/// the handler, in order for each connection. `shutdown` must be awaited before the loop is stopped.
public actor HTTPServer {
  /// Between two lines in the log about what was refused for want of room, in milliseconds.
  private static let warningInterval: UInt64 = 10_000

  private let loop: EventLoop
  public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private let configuration: HTTPServerConfiguration
  private let timeouts: TimeoutsInMilliseconds
  private let logger: Logger
  private let handler: HTTPHandler

  private var listeners: [SocketListener] = []
  /// What new connections of listeners with TLS get.
  private var tls: TLSContext?
  private let handshakes: TLSHandshakes
  private var connections: [ObjectIdentifier: HTTPConnection] = [:]
  private var rejections: [ObjectIdentifier: HTTPConnection] = [:]
  /// Those over the unix socket, which have a limit of their own: an operator gets in when clients have used up theirs, and
  /// a process of the node's user cannot use up the node's open files.
  private var localConnections = 0
  private static let maxLocalConnections = 64
  private var sweeper: Timer?
  private var shutdownDeadline = UInt64.max
  private var isShutDown = false
  /// When a refused user may be logged again.
  private var nextForeignNote: UInt64 = 0
  private let awaitingLastClose: Waiters
  private var totals = HTTPServerStatistics()
  private let requestBudget: SharedBudget
  private let answerBudget: SharedBudget
  private var warned = (refusals: UInt64(0), next: UInt64(0))

  public init(
    loop: EventLoop, configuration: HTTPServerConfiguration = .init(), logger: Logger,
    handler: @escaping HTTPHandler
  ) {
    self.loop = loop
    self.configuration = configuration
    timeouts = TimeoutsInMilliseconds(configuration)
    handshakes = TLSHandshakes(loop: loop, timeouts: timeouts)
    awaitingLastClose = Waiters(on: loop)
    let (limit, strangers) = (configuration.maxBufferedBytes, configuration.maxStrangerBytes)
    requestBudget = SharedBudget(limit: limit, strangerLimit: strangers)
    answerBudget = SharedBudget(limit: limit, strangerLimit: strangers)
    self.logger = logger
    self.handler = handler
  }

  /// Counters up to now; the cost grows with the number of open connections.
  public var statistics: HTTPServerStatistics {
    var sum = totals
    sum.open = connections.count
    sum.requestBudget = requestBudget.now
    sum.answerBudget = answerBudget.now
    sum.handshakes = handshakes.counters
    for connection in connections.values { sum.add(connection.assumeIsolated { $0.counters }) }
    return sum
  }

  /// Starts to accept connections; may be called for several addresses.
  /// - Parameters:
  ///   - address: port 0 takes a free one.
  ///   - tls: with it the listener speaks HTTPS, and nothing else.
  /// - Returns: the address that is served.
  public func listen(on address: SocketAddress, tls: TLSContext? = nil) throws(UVError) -> SocketAddress {
    if let tls { self.tls = tls }
    let isSecure = tls != nil
    let setup = setup(HostPolicy(allowed: configuration.allowedHosts, isLoopbackListener: address.isLoopback))
    let listener = try TCPListener.listen(on: loop, address: address) { [self] stream in
      assumeIsolated {
        if isSecure {
          $0.secure(stream, setup)
        } else if let peer = stream.peerAddress {
          $0.accept(stream, from: .address(peer), setup)
        } else {
          // It is gone already.
          stream.close()
        }
      }
    }
    listeners.append(listener)
    return listener.localAddress ?? address
  }

  /// Starts to accept connections of this machine's users at a unix socket, which is made with mode 0600. They do not
  /// count for `maxConnections`: an operator gets in when strangers have used it up.
  /// - Parameters:
  ///   - path: of any length; a file that a killed process left there is replaced.
  ///   - users: whose connections are served, beside root's; others are answered 403.
  /// - Throws: as `LocalListener.listen`.
  public func listen(atSocket path: String, for users: Set<UInt32>) throws(UVError) {
    let setup = setup(HostPolicy(allowed: [], isLoopbackListener: true))
    let listener = try LocalListener.listen(on: loop, path: path) { [self] stream in
      assumeIsolated { $0.accept(stream, servedUsers: users, setup) }
    }
    listeners.append(listener)
  }

  private func setup(_ hosts: HostPolicy) -> ConnectionSetup {
    ConnectionSetup(
      loop: loop, configuration: configuration, timeouts: timeouts, hosts: hosts,
      crossOrigin: CrossOrigin(origins: configuration.corsOrigins),
      trustedProxies: TrustedProxies(configuration.trustedProxies),
      hasStrangers: configuration.keyJudge != nil, requestBudget: requestBudget,
      answerBudget: answerBudget, logger: logger, handler: handler)
  }

  /// Has new connections of listeners with TLS get another certificate; those that are open go on with theirs.
  public func use(_ tls: TLSContext) { self.tls = tls }

  /// Stops to accept, closes idle connections, lets requests in flight be answered, then resets what is left.
  /// - Parameter grace: how long requests in flight may take.
  public func shutdown(grace: Duration) async {
    stopAccepting(until: loop.nowMilliseconds + grace.milliseconds)
    if !connections.isEmpty {
      startSweeping(every: 10)
      await awaitingLastClose.wait(while: { !connections.isEmpty })
    }
    sweeper?.close()
    sweeper = nil
  }

  private func stopAccepting(until deadline: UInt64) {
    isShutDown = true
    for listener in listeners { listener.close() }
    listeners = []
    handshakes.closeAll()
    shutdownDeadline = deadline
    for connection in connections.values { connection.assumeIsolated { $0.drain() } }
    for connection in rejections.values { connection.assumeIsolated { $0.abort() } }
    sweep()
  }

  private func accept(_ stream: LocalStream, servedUsers: Set<UInt32>, _ setup: ConnectionSetup) {
    let uid = stream.peerUID
    if uid == 0 || servedUsers.contains(uid) { return accept(stream, from: .user(uid: uid), setup) }
    noteForeign(uid)
    accept(stream, from: .user(uid: uid), setup, refusing: .userNotServed)
  }

  /// In the log at most once a second: whoever tries may try on and on.
  private func noteForeign(_ uid: UInt32) {
    guard loop.nowMilliseconds >= nextForeignNote else { return }
    nextForeignNote = loop.nowMilliseconds + 1000
    logger.warning("a connection to the unix socket was refused, its user is not served", metadata: ["uid": "\(uid)"])
  }

  private func secure(_ stream: TCPStream, _ setup: ConnectionSetup) {
    let limit = configuration.maxConnections + configuration.maxRejections
    let held = connections.count + rejections.count + handshakes.count
    guard let tls, !isShutDown, held < limit else {
      handshakes.noteNoRoom()
      return stream.reset()
    }
    let peer = stream.peerAddress
    handshakes.begin(stream, tls) { [self] in
      let stream = $0
      guard let peer else { return stream.close() }
      assumeIsolated { $0.accept(stream, from: .address(peer), setup) }
    } failed: { [logger] error in
      logger.debug(
        "TLS handshake failed", metadata: ["peer": "\(peer?.description ?? "gone")", "reason": "\(error)"])
    }
  }

  private func accept(
    _ stream: any DuplexStream, from peer: HTTPPeer, _ setup: ConnectionSetup, refusing refusal: Refusal? = nil
  ) {
    totals.accepted += 1
    let refusal = refusal ?? (isFull(for: peer) ? .tooManyConnections : nil)
    guard !isShutDown, refusal == nil || rejections.count < configuration.maxRejections else { return stream.reset() }
    let connection = HTTPConnection(stream, from: peer, server: self, setup: setup)
    if refusal != nil {
      rejections[ObjectIdentifier(connection)] = connection
    } else {
      connections[ObjectIdentifier(connection)] = connection
      if case .user = peer { localConnections += 1 }
    }
    if connections.count + rejections.count == 1 { startSweeping(every: timeouts.sweepInterval) }
    connection.assumeIsolated { $0.start(refusing: refusal) }
  }

  private func isFull(for peer: HTTPPeer) -> Bool {
    if case .user = peer { return localConnections >= Self.maxLocalConnections }
    return connections.count - localConnections >= configuration.maxConnections
  }

  func remove(_ connection: HTTPConnection, _ counters: ConnectionCounters) {
    let id = ObjectIdentifier(connection)
    if connections.removeValue(forKey: id) == nil {
      rejections.removeValue(forKey: id)
    } else if case .user = connection.peer {
      localConnections -= 1
    }
    totals.add(counters)
    guard connections.isEmpty else { return }
    if rejections.isEmpty { sweeper?.cancel() }
    awaitingLastClose.resumeAll()
  }

  func noteRefusal(_ status: Int) {
    totals.refused[status, default: 0] += 1
  }

  private func startSweeping(every interval: UInt64) {
    let sweeper = self.sweeper ?? Timer(on: loop)
    self.sweeper = sweeper
    let pause = Duration.milliseconds(Int64(interval))
    sweeper.schedule(after: pause, repeating: pause) { [self] in assumeIsolated { $0.sweep() } }
  }

  private func sweep() {
    let now = loop.nowMilliseconds
    let isOver = now >= shutdownDeadline
    // A copy of each table: what is closed takes itself out.
    for connection in connections.values {
      connection.assumeIsolated { if isOver { $0.abort() } else { $0.sweep(now: now) } }
    }
    for connection in rejections.values { connection.assumeIsolated { $0.sweep(now: now) } }
    warnOfRefusals(now: now)
  }

  /// Says in the log, now and then, that requests are refused for want of room.
  private func warnOfRefusals(now: UInt64) {
    let (requests, answers) = (requestBudget.now, answerBudget.now)
    let refusals = requests.refusals + answers.refusals
    guard refusals != warned.refusals, now >= warned.next else { return }
    logger.warning(
      "refused, since too many bytes of requests or answers are under way",
      metadata: [
        "refused": "\(refusals - warned.refusals)", "limit": "\(requests.limit)",
        "requests": "\(requests.known + requests.strangers)", "requests_without_key": "\(requests.strangers)",
        "answers": "\(answers.known + answers.strangers)", "answers_without_key": "\(answers.strangers)",
        "connections": "\(connections.count)",
      ])
    warned = (refusals, now + Self.warningInterval)
  }
}

extension HTTPServerStatistics {
  fileprivate mutating func add(_ counters: ConnectionCounters) {
    requests += counters.requests
    bytesIn += counters.bytesIn
    bytesOut += counters.bytesOut
    abandoned += counters.abandoned
    cutOff += counters.cutOff
  }
}
