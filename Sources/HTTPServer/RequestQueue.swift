/// What waits for its turn on one connection, in order, and how much of it may.
struct RequestQueue: Sendable {
  enum Work: Sendable {
    /// For the handler.
    case request(HTTPRequest, ResponseFraming)
    /// What the server says by itself.
    case answer(HTTPResponse, ResponseFraming)
  }

  /// Requests behind the one being handled: enough to keep a handler busy, few enough to hold for each connection.
  private static let maxCount = 16
  /// Bytes of their bodies, beyond which one more request may come but no second.
  private static let maxBytes = 256 * 1024

  private var works: [Work] = []
  private var bytes = 0

  var isEmpty: Bool { works.isEmpty }
  /// Reading must stop.
  var isFull: Bool { works.count >= Self.maxCount || bytes >= Self.maxBytes }
  /// Reading may go on: with some distance to `isFull`, so that it does not stop again at once.
  var hasRoom: Bool { works.count <= Self.maxCount / 2 && bytes < Self.maxBytes }

  mutating func append(_ work: Work) {
    if case .request(let request, _) = work { bytes += request.body.count }
    works.append(work)
  }

  /// - Precondition: not empty.
  mutating func removeFirst() -> Work {
    let work = works.removeFirst()
    if case .request(let request, _) = work { bytes -= request.body.count }
    return work
  }
}
