// The HTTP server: listeners, the connections they brought, and the sweep that ends those that wait too long.
import EventLoop
import Logging

/// An HTTP/1.1 server on one event loop.
///
/// ```swift
/// let server = HTTPServer(loop: loop, configuration: .init(), logger: logger) { request in .text("hello\n") }
/// let address = try await server.listen(on: SocketAddress(host: "127.0.0.1", port: 8082))
/// await server.shutdown(grace: .seconds(5))
/// ```
/// It answers by itself what is malformed, too large, too slow or not allowed, and OPTIONS; all other requests reach
/// the handler, in order for each connection. `shutdown` must be awaited before the loop is stopped.
public actor HTTPServer {
  /// Clients beyond `maxConnections` that are being told so; one more is reset without a word.
  private static let maxRejections = 256

  private let loop: EventLoop
  public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private let configuration: HTTPServerConfiguration
  private let timeouts: TimeoutsInMilliseconds
  private let logger: Logger
  private let handler: HTTPHandler

  private var listeners: [TCPListener] = []
  private var connections: [ObjectIdentifier: HTTPConnection] = [:]
  private var rejections: [ObjectIdentifier: HTTPConnection] = [:]
  private var sweeper: Timer?
  private var shutdownDeadline = UInt64.max
  private var isShutDown = false
  private let awaitingLastClose: Waiters
  private var totals = HTTPServerStatistics()

  public init(
    loop: EventLoop, configuration: HTTPServerConfiguration = .init(), logger: Logger,
    handler: @escaping HTTPHandler
  ) {
    self.loop = loop
    self.configuration = configuration
    timeouts = TimeoutsInMilliseconds(configuration)
    awaitingLastClose = Waiters(on: loop)
    self.logger = logger
    self.handler = handler
  }

  /// Counters up to now; the cost grows with the number of open connections.
  public var statistics: HTTPServerStatistics {
    var sum = totals
    sum.open = connections.count
    for connection in connections.values { sum.add(connection.assumeIsolated { $0.counters }) }
    return sum
  }

  /// Starts to accept connections; may be called for several addresses.
  /// - Parameter address: port 0 takes a free one.
  /// - Returns: the address that is served.
  public func listen(on address: SocketAddress) throws(UVError) -> SocketAddress {
    let setup = ConnectionSetup(
      loop: loop, configuration: configuration, timeouts: timeouts,
      hosts: HostPolicy(allowed: configuration.allowedHosts, isLoopbackListener: address.isLoopback),
      crossOrigin: CrossOrigin(origins: configuration.corsOrigins),
      trustedProxies: TrustedProxies(configuration.trustedProxies), logger: logger, handler: handler)
    let listener = try TCPListener.listen(on: loop, address: address) { [self] stream in
      assumeIsolated { $0.accept(stream, setup) }
    }
    listeners.append(listener)
    return listener.localAddress ?? address
  }

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
    shutdownDeadline = deadline
    for connection in connections.values { connection.assumeIsolated { $0.drain() } }
    for connection in rejections.values { connection.assumeIsolated { $0.abort() } }
    sweep()
  }

  private func accept(_ stream: TCPStream, _ setup: ConnectionSetup) {
    totals.accepted += 1
    guard let peer = stream.peerAddress else { return stream.close() }
    guard !isShutDown, rejections.count < Self.maxRejections else { return stream.reset() }
    let isTooMany = connections.count >= configuration.maxConnections
    let connection = HTTPConnection(stream, from: peer, server: self, setup: setup)
    if isTooMany {
      rejections[ObjectIdentifier(connection)] = connection
    } else {
      connections[ObjectIdentifier(connection)] = connection
    }
    if connections.count + rejections.count == 1 { startSweeping(every: timeouts.sweepInterval) }
    connection.assumeIsolated {
      $0.start(refusing: isTooMany ? Refusal(503, "too many connections, try again later") : nil)
    }
  }

  func remove(_ connection: HTTPConnection, _ counters: ConnectionCounters) {
    let id = ObjectIdentifier(connection)
    if connections.removeValue(forKey: id) == nil { rejections.removeValue(forKey: id) }
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
  }
}

extension HTTPServerStatistics {
  fileprivate mutating func add(_ counters: ConnectionCounters) {
    requests += counters.requests
    bytesIn += counters.bytesIn
    bytesOut += counters.bytesOut
  }
}
