import EventLoop
import Logging

// A connection that is made again whenever it ends, until it is closed.

/// On its loop.
final class ConnectionLine: @unchecked Sendable {
  // @unchecked: used on the loop's thread only.

  let loop: EventLoop
  private let open: @Sendable () async throws(PostgresError) -> PostgresConnection
  /// Prepares a fresh connection for use.
  private let setUp: (PostgresConnection) async -> PostgresError?
  private let isUp: () -> Void
  private let isDown: (PostgresError) -> Void
  private var current: PostgresConnection?
  /// The connection, while there is one that has not ended.
  var connection: PostgresConnection? { current?.end == nil ? current : nil }
  /// Calls under way, as its users count them.
  var use = 0
  var isBusy: Bool { use > 0 }
  /// Why there is none.
  private(set) var outage: PostgresError? = .notConnected("not connected yet")
  private var task: Task<Void, Never>?
  /// Resumed when the connection has ended, it is worth another try, or the line is closed.
  private let changes: Waiters
  private var isWorthATry = false
  private var isClosed = false

  /// - Parameters:
  ///   - setUp: prepares a fresh connection, or says why it is of no use.
  ///   - isDown: it ended, or could not be made; called after each attempt.
  init(
    on loop: EventLoop, open: @escaping @Sendable () async throws(PostgresError) -> PostgresConnection,
    setUp: @escaping (PostgresConnection) async -> PostgresError?, isUp: @escaping () -> Void,
    isDown: @escaping (PostgresError) -> Void
  ) {
    self.loop = loop
    changes = Waiters(on: loop)
    self.open = open
    self.setUp = setUp
    self.isUp = isUp
    self.isDown = isDown
  }

  func start() { task = Task(executorPreference: loop) { await self.live() } }

  private func live() async {
    var pause = Duration.milliseconds(20)
    while !isClosed {
      do throws(PostgresError) {
        let fresh = try await open()
        guard !isClosed else { return fresh.close() }
        if let error = await setUp(fresh) {
          fresh.close()
          throw error
        }
        if let error = fresh.end { throw error }
        guard !isClosed else { return fresh.close() }
        let start = ContinuousClock.now
        await use(fresh)
        // One that ends at once is not made again at once.
        if start.duration(to: .now) > .seconds(5) { pause = .milliseconds(20) }
        throw outage ?? .lost("the connection was closed")
      } catch {
        guard !isClosed else { return }
        outage = error
        isDown(error)
        await rest(pause)
        pause = min(pause * 2, .seconds(1))
      }
    }
  }

  private func rest(_ time: Duration) async {
    isWorthATry = false
    await changes.waitUnlessCancelled(while: { !isWorthATry && !isClosed }, atMost: time)
  }

  /// Another line has found the server: it is worth a try at once.
  func retryNow() {
    isWorthATry = true
    changes.resumeAll()
  }

  /// Until it ends.
  private func use(_ fresh: PostgresConnection) async {
    current = fresh
    outage = nil
    fresh.onEnd = { [weak self] reason in
      self?.outage = reason
      self?.changes.resumeAll()
    }
    isUp()
    await changes.wait(while: { outage == nil && !isClosed })
    current = nil
  }

  /// The server is of no use at present: looks for another connection, perhaps to another host.
  func replace(_ used: PostgresConnection, because error: PostgresError) {
    guard current === used else { return }
    let onEnd = used.onEnd
    used.close()
    onEnd?(error)
  }

  /// Ends the connection, and makes no other; `close` follows.
  func end() {
    guard !isClosed else { return }
    isClosed = true
    current?.close()
    changes.resumeAll()
  }

  /// Returns when nothing of it is left on the loop.
  func close() async {
    end()
    await task?.value
  }
}
