import CLibUV
import Glibc

/// A TCP connection. Small answers are sent at once (`TCP_NODELAY`).
public final class TCPStream: ByteStream, @unchecked Sendable {
  // @unchecked: as LoopHandle.

  private enum Connecting {
    case not
    case waiting(CheckedContinuation<Int32, Never>)
    case ended
  }
  private var connecting = Connecting.not

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
    uv_tcp_nodelay(stream.pointer(), 1)
    return stream
  }

  /// Connects, or ends at once when the task is cancelled.
  /// - Throws: what connect(2) failed with; `UVError.cancelled` when the task is cancelled. No handle is left then.
  public static func connect(to address: SocketAddress, on loop: EventLoop) async throws(UVError) -> TCPStream {
    let stream = try TCPStream(on: loop)
    let status = await withTaskCancellationHandler {
      await withCheckedContinuation { stream.connect(to: address, $0) }
    } onCancel: {
      loop.execute { stream.cancelConnecting() }
    }
    guard status == 0 else {
      stream.close()
      throw UVError(code: status, operation: "connect to \(address)")
    }
    uv_tcp_nodelay(stream.pointer(), 1)
    return stream
  }

  private func connect(to address: SocketAddress, _ continuation: CheckedContinuation<Int32, Never>) {
    if Task.isCancelled || isClosed { return continuation.resume(returning: UVError.cancelled) }
    connecting = .waiting(continuation)
    let request = UnsafeMutablePointer<uv_connect_t>.allocate(capacity: 1)
    let code = address.withSockaddr {
      uv_tcp_connect(request, pointer(), $0) { request, status in
        let stream = TCPStream.of(request!.pointee.handle)
        request!.deallocate()
        stream.loop.inside { _ in stream.connected(status) }
      }
    }
    if code < 0 {
      request.deallocate()
      connected(code)
    }
  }

  private func connected(_ status: Int32) {
    guard case .waiting(let continuation) = connecting else { return }
    connecting = .ended
    continuation.resume(returning: status)
  }

  /// A cancellation that comes too late changes nothing: the stream belongs to the caller then.
  private func cancelConnecting() {
    if case .waiting = connecting { close() }
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
  public func reset() {
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
