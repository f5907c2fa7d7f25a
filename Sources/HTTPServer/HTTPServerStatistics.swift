/// Counters of one server since it was made.
public struct HTTPServerStatistics: Sendable {
  /// Connections open now.
  public var open = 0
  /// Connections accepted, refused ones included.
  public var accepted: UInt64 = 0
  /// Requests that reached the handler.
  public var requests: UInt64 = 0
  /// Answers that the server gave by itself because it turned a request away, by status.
  public var refused: [Int: UInt64] = [:]
  public var bytesIn: UInt64 = 0
  public var bytesOut: UInt64 = 0
  /// Requests whose handler was cancelled because its client had closed the connection.
  public var abandoned: UInt64 = 0
  /// Answers that were cut off after their beginning: their rest could not be made.
  public var cutOff: UInt64 = 0
  /// Bytes held for requests under way.
  public var requestBudget = ByteBudget(limit: 0, strangerLimit: 0)
  /// Bytes held for answers under way.
  public var answerBudget = ByteBudget(limit: 0, strangerLimit: 0)
  /// Of listeners with TLS.
  public var handshakes = TLSHandshakeStatistics()
}

/// What became of the TLS handshakes of one server since it was made.
public struct TLSHandshakeStatistics: Sendable {
  public var completed: UInt64 = 0
  /// Of those: that went on with the session of an earlier connection.
  public var resumed: UInt64 = 0
  /// By `TLSError.label`.
  public var failed: [String: UInt64] = [:]
}

/// What one connection counts by itself; the server adds it up, so that no request touches shared state.
struct ConnectionCounters: Sendable {
  var requests: UInt64 = 0
  var bytesIn: UInt64 = 0
  var bytesOut: UInt64 = 0
  var abandoned: UInt64 = 0
  var cutOff: UInt64 = 0
}
