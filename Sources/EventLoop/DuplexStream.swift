/// A connection that carries bytes both ways: a `TCPStream`, a `LocalStream`, or what wraps one, as TLS does. What speaks a protocol over it
/// need not know which. All calls are made on the loop; they mean what they mean for `ByteStream` and `TCPStream`.
public protocol DuplexStream: AnyObject, Sendable {
  /// The other end, `nil` when the connection is already gone.
  var peerAddress: SocketAddress? { get }

  /// Delivers what arrives to `handler`, until `stopReading`, the end, or an error; never within the call.
  func startReading(_ handler: @escaping (ByteStream.ReadEvent) -> Void)
  /// Delivers nothing until `startReading`; the peer is slowed down once the buffers in between are full.
  func stopReading()

  /// Bytes accepted by `write` that the system has not taken yet.
  var queuedBytes: Int { get }
  /// Whether the other end has closed its sending half.
  var peerHasEnded: Bool { get }
  /// Sends, in order; never waits.
  func write(_ bytes: [UInt8])
  /// Returns when little is queued.
  func drained() async throws(UVError)
  /// Returns when at most `limit` bytes are queued.
  func drained(to limit: Int) async throws(UVError)
  /// Tells the peer, after what is queued, that nothing more comes. Reading goes on. At most once.
  func shutdownWrite() async throws(UVError)

  /// Closes at once with a reset; what is queued is lost.
  func reset()
  /// Closes; whatever waits on it ends with an error. Again is harmless.
  func close()
}

extension TCPStream: DuplexStream {}
extension LocalStream: DuplexStream {
  /// It has none.
  public var peerAddress: SocketAddress? { nil }
}
