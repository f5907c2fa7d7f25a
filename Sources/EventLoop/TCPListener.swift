import CLibUV
import Glibc

/// Accepts TCP connections.
public final class TCPListener: SocketListener, @unchecked Sendable {
  // @unchecked: as LoopHandle.

  /// - Parameters:
  ///   - backlog: connections that the system holds until they are accepted (listen(2)).
  ///   - segment: the most bytes that either end puts into a segment (tcp(7), `TCP_MAXSEG`); by itself what the interface
  ///     takes. The other end hears of it when it connects.
  ///   - onConnection: gets each connection, on the loop.
  /// - Throws: what bind(2) or listen(2) refused.
  public static func listen(
    on loop: EventLoop, address: SocketAddress, backlog: Int32 = 1024, segment: Int32? = nil,
    onConnection: @escaping (TCPStream) -> Void
  ) throws(UVError) -> TCPListener {
    let operation = "listen on \(address)"
    let descriptor = try address.withListeningSocket(backlog: backlog, segment: segment, operation)
    let listener = TCPListener(descriptor, on: loop) { connection in
      if let stream = TCPStream.adopt(connection, on: loop) { onConnection(stream) }
    }
    try listener.start(operation)
    return listener
  }

  /// Where it listens, with the port that the system chose; `nil` when it is closed.
  public var localAddress: SocketAddress? {
    guard !isClosed else { return nil }
    return SocketAddress { address, size in
      var length = socklen_t(size.pointee)
      return getsockname(descriptor, address, &length)
    }
  }
}

extension SocketAddress {
  fileprivate func withListeningSocket(
    backlog: Int32, segment: Int32?, _ operation: String
  ) throws(UVError) -> Int32 {
    let (family, type) = (Int32(family), Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue))
    let descriptor = socket(family, type, 0)
    guard descriptor >= 0 else { throw UVError(errno: errno, operation: operation) }
    var yes: Int32 = 1
    // A node that restarts takes its port back at once, whatever connections of its predecessor still time out.
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
    if var segment {
      setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_MAXSEG, &segment, socklen_t(MemoryLayout<Int32>.size))
    }
    guard withSockaddr({ bind(descriptor, $0, sockaddrSize) }) == 0, Glibc.listen(descriptor, backlog) == 0 else {
      let error = errno
      Glibc.close(descriptor)
      throw UVError(errno: error, operation: operation)
    }
    return descriptor
  }
}
