import EventLoop
import Logging

// A connection that is made again whenever it ends, until it is closed. One that ends while nobody uses it is no outage: it
// is made again at once, and only if that fails is there a reason to tell.

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
  /// For how long the server has been at the present call.
  private var age: Duration { connection?.busySince?.duration(to: .now) ?? .zero }
  /// How much there is to do before another call has its turn. A call that takes long will take longer: each tenth of a
  /// second counts as one more.
  var load: Int { max(use, connection?.busySince == nil ? 0 : 1) + Int(age / .milliseconds(100)) }
  /// Whether there is a connection that has answered lately, or has nothing to answer.
  func isAnswering(within time: Duration) -> Bool { connection != nil && age < time }
  /// Why there is none, once it could not be made again; `nil` while there is one, or a lost one is being made again.
  private(set) var outage: PostgresError? = .notConnected("not connected yet")
  private var task: Task<Void, Never>?
  /// Resumed when the connection has ended, it is worth another try, or the line is closed.
  private let changes: Waiters
  /// Why the connection that was used last has ended.
  private var lastEnd: PostgresError?
  private var isWorthATry = false
  private var isClosed = false

  /// - Parameters:
  ///   - setUp: prepares a fresh connection, or says why it is of no use.
  ///   - isDown: it could not be made; called after each attempt.
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
        let end = await use(fresh)
        // One that ends at once is not made again at once.
        guard start.duration(to: .now) > .milliseconds(500) else { throw end }
        pause = .milliseconds(20)
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
  /// - Returns: why it has ended.
  private func use(_ fresh: PostgresConnection) async -> PostgresError {
    current = fresh
    outage = nil
    lastEnd = nil
    fresh.onEnd = { [weak self] reason in
      self?.lastEnd = reason
      self?.changes.resumeAll()
    }
    isUp()
    await changes.wait(while: { lastEnd == nil && !isClosed })
    current = nil
    return lastEnd ?? .lost("the connection was closed")
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
