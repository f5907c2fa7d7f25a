import CLibUV
import Glibc

/// A TCP connection. Small answers are sent at once (`TCP_NODELAY`), and a peer that vanished without a word is noticed
/// within a minute (`TCPStream.silence`), whether or not anything is on its way to it.
public final class TCPStream: ByteStream, @unchecked Sendable {
  // @unchecked: as LoopHandle.

  private init(on loop: EventLoop) throws(UVError) {
    super.init(uv_tcp_t.self, kind: "tcp", on: loop)
    try UVError.check(uv_tcp_init(loop.uv, pointer()), "create a socket")
    opened()
  }

  /// Takes over a connected socket, closed on exec; `nil`, with the socket closed, when libuv refuses it.
  static func adopt(_ descriptor: Int32, on loop: EventLoop) -> TCPStream? {
    guard let stream = try? TCPStream(on: loop), uv_tcp_open(stream.pointer(), descriptor) == 0 else {
      Glibc.close(descriptor)
      return nil
    }
    stream.setOptions()
    return stream
  }

  /// Connects, or ends at once when the task is cancelled.
  /// - Throws: what connect(2) failed with; `UVError.cancelled` when the task is cancelled. No handle is left then.
  public static func connect(to address: SocketAddress, on loop: EventLoop) async throws(UVError) -> TCPStream {
    let stream = try TCPStream(on: loop)
    let status = await stream.connect(to: address)
    guard status == 0 else {
      stream.close()
      throw UVError(code: status, operation: "connect to \(address)")
    }
    stream.setOptions()
    return stream
  }

  /// How long a peer may acknowledge nothing before the connection is lost with `ETIMEDOUT` (tcp(7), `TCP_USER_TIMEOUT`).
  /// A peer that is there and reads nothing counts as well (RFC 9293, section 3.8.6.1), so no server that waits for its
  /// clients shall be more patient.
  public static let silence = Duration.seconds(60)
  /// After how much rest the peer's system is asked whether it is there, and how often from then on, in seconds.
  static let (keepAliveRest, keepAliveInterval): (Int32, Int32) = (15, 15)

  private func setOptions() {
    uv_tcp_nodelay(pointer(), 1)
    var descriptor: Int32 = -1
    guard uv_fileno(pointer(), &descriptor) == 0 else { return }
    // The system decides by the time of silence alone, not by a number of probes, once there is a user timeout.
    for (level, option, value) in [
      (SOL_SOCKET, SO_KEEPALIVE, 1), (Int32(IPPROTO_TCP), TCP_KEEPIDLE, Self.keepAliveRest),
      (Int32(IPPROTO_TCP), TCP_KEEPINTVL, Self.keepAliveInterval),
      (Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, Int32(Self.silence.milliseconds)),
    ] {
      var value = value
      setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
    }
  }

  /// - Returns: libuv's status. When the task is cancelled, the caller has to close the stream.
  private func connect(to address: SocketAddress) async -> Int32 {
    if Task.isCancelled { return UVError.cancelled }
    let end = Promise<Int32>(on: loop)
    let request = UnsafeMutablePointer<uv_connect_t>.allocate(capacity: 1)
    request.initialize(to: uv_connect_t())
    request.pointee.data = Unmanaged.passRetained(end).toOpaque()
    let code = address.withSockaddr {
      uv_tcp_connect(request, pointer(), $0) { request, status in
        let loop = EventLoop.of(request!.pointee.handle.pointee.loop)
        let end = TCPStream.end(of: request!)
        loop.inside { _ in end.resolve(status) }
      }
    }
    if code < 0 {
      _ = Self.end(of: request)
      return code
    }
    return await end.valueUnlessCancelled() ?? UVError.cancelled
  }

  private static func end(of request: UnsafeMutablePointer<uv_connect_t>) -> Promise<Int32> {
    defer { request.deallocate() }
    return Unmanaged<Promise<Int32>>.fromOpaque(request.pointee.data).takeRetainedValue()
  }

  /// The other end, `nil` when the connection is already gone.
  public var peerAddress: SocketAddress? {
    isClosed ? nil : SocketAddress { uv_tcp_getpeername(pointer(), $0, $1) }
  }
  /// This end, `nil` when it is closed.
  public var localAddress: SocketAddress? {
    isClosed ? nil : SocketAddress { uv_tcp_getsockname(pointer(), $0, $1) }
  }

  /// Closes at once with a reset (socket(7), `SO_LINGER` 0); what is queued is lost.
  public override func reset() {
    loop.preconditionCurrent()
    guard !isClosed else { return }
    var linger = linger(l_onoff: 1, l_linger: 0)
    var descriptor: Int32 = -1
    if uv_fileno(pointer(), &descriptor) == 0 {
      setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout.size(ofValue: linger)))
    }
    close()
  }
}
