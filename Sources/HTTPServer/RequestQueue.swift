/// What waits for its turn on one connection, in order, and how much of it may.
struct RequestQueue: Sendable {
  enum Work: Sendable {
    /// For the handler; whether the server knows already that it shows a valid key.
    case request(HTTPRequest, ResponseFraming, showsKey: Bool)
    /// What is answered without the handler, held back for a time.
    case answer(HTTPResponse, ResponseFraming, after: Duration = .zero)
  }

  /// Something to do, and the bytes that it holds of what the client sent.
  struct Entry: Sendable {
    let work: Work
    let bytes: Int
  }

  /// Requests behind the one being handled: enough to keep a handler busy, few enough to hold for each connection.
  private static let maxCount = 16
  /// Bytes of them, beyond which one more request may come but no second.
  private static let maxBytes = 256 * 1024

  private var entries: [Entry] = []
  /// Bytes of the requests that wait.
  private(set) var bytes = 0

  var isEmpty: Bool { entries.isEmpty }
  /// Reading must stop.
  var isFull: Bool { entries.count >= Self.maxCount || bytes >= Self.maxBytes }
  /// Reading may go on: with some distance to `isFull`, so that it does not stop again at once.
  var hasRoom: Bool { entries.count <= Self.maxCount / 2 && bytes < Self.maxBytes }

  mutating func append(_ work: Work, bytes: Int) {
    self.bytes += bytes
    entries.append(Entry(work: work, bytes: bytes))
  }

  /// - Precondition: not empty.
  mutating func removeFirst() -> Entry {
    let entry = entries.removeFirst()
    bytes -= entry.bytes
    return entry
  }
}
