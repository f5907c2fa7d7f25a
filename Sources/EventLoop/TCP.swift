import CLibUV

/// A TCP connection. Small answers are sent at once (`TCP_NODELAY`).
public final class TCPStream: ByteStream, @unchecked Sendable {
  // @unchecked: as LoopHandle.

  private var connecting: CheckedContinuation<UVError?, Never>?

  fileprivate init(on loop: EventLoop) throws(UVError) {
    super.init(uv_tcp_t.self, kind: "tcp", on: loop)
    try UVError.check(uv_tcp_init(loop.uv, pointer()), "create a socket")
    opened()
  }

  fileprivate func accept(from server: UnsafeMutablePointer<uv_stream_t>) -> Bool {
    guard uv_accept(server, pointer()) == 0 else { return false }
    uv_tcp_nodelay(pointer(), 1)
    return true
  }

  /// Connects, or ends at once when the task is cancelled.
  public static func connect(to address: SocketAddress, on loop: EventLoop) async throws(UVError) -> TCPStream {
    let stream = try TCPStream(on: loop)
    let error = await withTaskCancellationHandler {
      await withCheckedContinuation { stream.connect(to: address, $0) }
    } onCancel: {
      loop.execute { stream.close() }
    }
    guard let error else {
      if stream.isClosed { throw UVError(code: UVError.cancelled, operation: "connect to \(address)") }
      uv_tcp_nodelay(stream.pointer(), 1)
      return stream
    }
    stream.close()
    throw error
  }

  private func connect(to address: SocketAddress, _ continuation: CheckedContinuation<UVError?, Never>) {
    let operation = "connect to \(address)"
    if isClosed { return continuation.resume(returning: UVError(code: UVError.cancelled, operation: operation)) }
    connecting = continuation
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
    let continuation = connecting
    connecting = nil
    continuation?.resume(returning: status < 0 ? UVError(code: status, operation: "connect") : nil)
  }

  /// The other end, `nil` when the connection is already gone.
  public var peerAddress: SocketAddress? { Self.address(pointer(), uv_tcp_getpeername) }
  public var localAddress: SocketAddress? { Self.address(pointer(), uv_tcp_getsockname) }

  fileprivate static func address(
    _ socket: UnsafeMutablePointer<uv_tcp_t>,
    _ name: (UnsafePointer<uv_tcp_t>?, UnsafeMutablePointer<sockaddr>?, UnsafeMutablePointer<Int32>?) -> Int32
  ) -> SocketAddress? {
    var memory = sockaddr_storage()
    var size = Int32(MemoryLayout<sockaddr_storage>.size)
    return withUnsafeMutableBytes(of: &memory) { bytes in
      let address = bytes.baseAddress!.assumingMemoryBound(to: sockaddr.self)
      return name(socket, address, &size) == 0 ? SocketAddress(address) : nil
    }
  }

  /// Closes at once with a reset (`SO_LINGER` 0); what is queued is lost.
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

/// Accepts TCP connections.
public final class TCPListener: LoopHandle, @unchecked Sendable {
  // @unchecked: as LoopHandle.

  private var onConnection: ((TCPStream) -> Void)?

  /// - Parameter onConnection: gets each connection, on the loop.
  public static func listen(
    on loop: EventLoop, address: SocketAddress, backlog: Int32 = 1024, onConnection: @escaping (TCPStream) -> Void
  ) throws(UVError) -> TCPListener {
    let listener = TCPListener(uv_tcp_t.self, kind: "listener", on: loop)
    let operation = "listen on \(address)"
    try UVError.check(uv_tcp_init(loop.uv, listener.pointer()), operation)
    listener.opened()
    listener.onConnection = onConnection
    do throws(UVError) {
      try UVError.check(address.withSockaddr { uv_tcp_bind(listener.pointer(), $0, 0) }, operation)
      try UVError.check(
        uv_listen(listener.pointer(), backlog) { handle, status in
          let listener = TCPListener.of(handle!)
          // Out of descriptors: libuv has closed what waited, and the clients try again.
          guard status == 0 else { return }
          listener.loop.inside { _ in listener.accept() }
        }, operation)
    } catch {
      listener.close()
      throw error
    }
    return listener
  }

  private func accept() {
    guard let stream = try? TCPStream(on: loop) else { return }
    guard stream.accept(from: pointer()), let onConnection else { return stream.close() }
    onConnection(stream)
  }

  public var localAddress: SocketAddress? { TCPStream.address(pointer(), uv_tcp_getsockname) }

  override func willClose() { onConnection = nil }
}
