import CLibUV
import Glibc

// Accepts by itself on a polled socket instead of by uv_listen: libuv 1.44 can neither pause, nor leave clients in the
// backlog when descriptors run out (it closes them, and spins if it has lost its spare descriptor).

/// Accepts TCP connections.
public final class TCPListener: LoopHandle, @unchecked Sendable {
  // @unchecked: as LoopHandle.

  private let descriptor: Int32
  private var onConnection: ((TCPStream) -> Void)?
  private var isPaused = false
  /// Runs while descriptors or memory were short a moment ago.
  private var recovery: Timer?

  /// Connections accepted in a row before others get their turn.
  private static let acceptsInARow = 64
  /// How long it waits for descriptors or memory to become free.
  private static let recoveryTime = Duration.milliseconds(100)

  /// - Parameters:
  ///   - backlog: connections that the system holds until they are accepted (listen(2)).
  ///   - onConnection: gets each connection, on the loop.
  /// - Throws: what bind(2) or listen(2) refused.
  public static func listen(
    on loop: EventLoop, address: SocketAddress, backlog: Int32 = 1024, onConnection: @escaping (TCPStream) -> Void
  ) throws(UVError) -> TCPListener {
    let operation = "listen on \(address)"
    let descriptor = try address.withListeningSocket(backlog: backlog, operation)
    let listener = TCPListener(descriptor, on: loop, onConnection)
    let code = uv_poll_init(loop.uv, listener.pointer(), descriptor)
    guard code == 0 else {
      Glibc.close(descriptor)
      throw UVError(code: code, operation: operation)
    }
    listener.opened()
    listener.watch()
    return listener
  }

  private init(_ descriptor: Int32, on loop: EventLoop, _ onConnection: @escaping (TCPStream) -> Void) {
    self.descriptor = descriptor
    self.onConnection = onConnection
    super.init(uv_poll_t.self, kind: "listener", on: loop)
  }

  private func watch() {
    guard !isClosed, !isPaused, recovery == nil else { return }
    uv_poll_start(pointer(), Int32(UV_READABLE.rawValue)) { handle, _, _ in
      let listener = TCPListener.of(handle!)
      listener.loop.inside { _ in listener.accept() }
    }
  }

  private func accept() {
    for _ in 0..<Self.acceptsInARow where !isClosed && !isPaused {
      let connection = hero_accept(descriptor)
      if connection >= 0 {
        if let stream = TCPStream.adopt(connection, on: loop) { onConnection?(stream) }
        continue
      }
      switch errno {
      case EAGAIN: return
      case EMFILE, ENFILE, ENOBUFS, ENOMEM: return recover()
      // The connection was gone before it was accepted (accept(2), "Error handling"); the next one may not be.
      default: continue
      }
    }
  }

  private func recover() {
    uv_poll_stop(pointer())
    let recovery = Timer(on: loop)
    self.recovery = recovery
    recovery.schedule(after: Self.recoveryTime) { [unowned self] in
      recovery.close()
      self.recovery = nil
      watch()
    }
  }

  /// Leaves new connections in the backlog until `resume`.
  public func pause() {
    loop.preconditionCurrent()
    guard !isClosed, !isPaused else { return }
    isPaused = true
    uv_poll_stop(pointer())
  }

  /// Accepts again.
  public func resume() {
    loop.preconditionCurrent()
    guard isPaused else { return }
    isPaused = false
    watch()
  }

  /// Where it listens, with the port that the system chose; `nil` when it is closed.
  public var localAddress: SocketAddress? {
    guard !isClosed else { return nil }
    return SocketAddress { address, size in
      var length = socklen_t(size.pointee)
      return getsockname(descriptor, address, &length)
    }
  }

  override func willClose() {
    onConnection = nil
    recovery?.close()
    recovery = nil
  }

  override func closeHandle() {
    super.closeHandle()
    // libuv has forgotten the descriptor; nobody can connect from now on. Another thread that is forking a child may
    // hold a copy until the child is executed, which would go on listening: so the socket itself is told first.
    shutdown(descriptor, Int32(SHUT_RDWR))
    Glibc.close(descriptor)
  }
}

extension SocketAddress {
  fileprivate func withListeningSocket(backlog: Int32, _ operation: String) throws(UVError) -> Int32 {
    let (family, type) = (Int32(family), Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue))
    let descriptor = socket(family, type, 0)
    guard descriptor >= 0 else { throw UVError(errno: errno, operation: operation) }
    var yes: Int32 = 1
    // A node that restarts takes its port back at once, whatever connections of its predecessor still time out.
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
    guard withSockaddr({ bind(descriptor, $0, sockaddrSize) }) == 0, Glibc.listen(descriptor, backlog) == 0 else {
      let error = errno
      Glibc.close(descriptor)
      throw UVError(errno: error, operation: operation)
    }
    return descriptor
  }
}
