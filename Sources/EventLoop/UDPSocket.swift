import CLibUV
import Glibc

/// A datagram that arrived; `bytes` is valid until the handler returns.
public struct Datagram: @unchecked Sendable {
  // @unchecked: the bytes are borrowed from the loop, and used on its thread only.
  public let bytes: UnsafeRawBufferPointer
  public let sender: SocketAddress
}

/// Sends and receives datagrams.
public final class UDPSocket: LoopHandle, @unchecked Sendable {
  // @unchecked: as LoopHandle.

  private var handler: ((Datagram) -> Void)?

  /// - Parameter onDatagram: gets each datagram, on the loop.
  /// - Throws: what bind(2) refused; no handle is left then.
  public static func bind(
    to address: SocketAddress, on loop: EventLoop,
    onDatagram: @escaping (Datagram) -> Void
  ) throws(UVError) -> UDPSocket {
    let socket = UDPSocket(uv_udp_t.self, kind: "udp", on: loop)
    let operation = "bind \(address)"
    try UVError.check(uv_udp_init(loop.uv, socket.pointer()), operation)
    socket.opened()
    socket.handler = onDatagram
    do throws(UVError) {
      try UVError.check(address.withSockaddr { uv_udp_bind(socket.pointer(), $0, 0) }, operation)
      try UVError.check(
        uv_udp_recv_start(
          socket.pointer(),
          { handle, _, buffer in buffer!.pointee = EventLoop.of(handle!.pointee.loop).nativeReadBuffer },
          { handle, count, buffer, address, flags in
            guard count >= 0, flags & UInt32(UV_UDP_PARTIAL.rawValue) == 0, let sender = SocketAddress(address) else {
              return
            }
            let socket = UDPSocket.of(handle!)
            let bytes = UnsafeRawBufferPointer(start: buffer!.pointee.base, count: count)
            socket.loop.inside { _ in socket.handler?(Datagram(bytes: bytes, sender: sender)) }
          }), operation)
    } catch {
      socket.close()
      throw error
    }
    return socket
  }

  /// Where it is bound, with the port that the system chose; `nil` when it is closed.
  public var localAddress: SocketAddress? {
    isClosed ? nil : SocketAddress { uv_udp_getsockname(pointer(), $0, $1) }
  }

  /// Sends one datagram, or drops it when the system's buffer is full, as any network may.
  /// - Throws: `UVError.messageTooLong` and other errors of sendmsg(2), except a full buffer.
  public func send(_ bytes: [UInt8], to address: SocketAddress) throws(UVError) {
    loop.preconditionCurrent()
    guard !isClosed else { throw UVError(code: UVError.cancelled, operation: "send to \(address)") }
    let code = bytes.withUnsafeBytes { raw -> Int32 in
      // libuv only reads from it.
      let base = raw.baseAddress.map { UnsafeMutablePointer(mutating: $0.assumingMemoryBound(to: CChar.self)) }
      var buffer = uv_buf_init(base, UInt32(raw.count))
      return address.withSockaddr { uv_udp_try_send(pointer(), &buffer, 1, $0) }
    }
    if code < 0 && code != UVError.tryAgain { throw UVError(code: code, operation: "send to \(address)") }
  }

  /// Delivers what has arrived already, without waiting for the loop's turn: it calls timers before it reads.
  public func receivePending() {
    loop.preconditionCurrent()
    var descriptor: Int32 = -1
    guard !isClosed, uv_fileno(pointer(), &descriptor) == 0 else { return }
    let flags = Int32(MSG_DONTWAIT)
    // As many as the system's buffer holds of small ones; nobody who sends faster than this reads keeps the loop.
    for _ in 0..<1024 where !isClosed {
      var count = -1
      let sender = SocketAddress { address, size in
        var length = socklen_t(size.pointee)
        count = recvfrom(descriptor, loop.readBuffer.baseAddress, loop.readBuffer.count, flags, address, &length)
        return count >= 0 ? 0 : -1
      }
      guard let sender else { return }
      let bytes = UnsafeRawBufferPointer(start: loop.readBuffer.baseAddress, count: count)
      handler?(Datagram(bytes: bytes, sender: sender))
    }
  }

  override func willClose() { handler = nil }
}
