import Logging
import Synchronization

/// Requests without a key that came through a proxy to a node that is open to its own machine only. Each is refused and
/// counted; the log has a line a minute, since whoever set up the proxy is to find it and strangers are not to fill it.
final class ProxiedRequests: Sendable {
  private struct State {
    var count = 0
    var omitted = 0
    var nextLine = ContinuousClock.now
  }

  private let state = Mutex(State())
  private let logger: Logger

  init(logger: Logger) { self.logger = logger }

  var count: Int { state.withLock { $0.count } }

  /// - Parameter field: the header field by which the proxy was known.
  func refused(_ call: APICall, field: String) {
    let omitted: Int? = state.withLock { state in
      state.count += 1
      let now = ContinuousClock.now
      guard now >= state.nextLine else {
        state.omitted += 1
        return nil
      }
      defer { state.omitted = 0 }
      state.nextLine = now + .seconds(60)
      return state.omitted
    }
    guard let omitted else { return }
    logger.warning(
      "refused a request that came through a proxy: without a configured key this node serves its own machine only",
      metadata: ["field": "\(field)", "client": "\(call.client)", "omitted": "\(omitted)"])
  }
}
