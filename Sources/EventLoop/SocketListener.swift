import CLibUV
import Glibc

// Accepts by itself on a polled socket instead of by uv_listen: libuv 1.44 can neither pause, nor leave clients in the
// backlog when descriptors run out (it closes them, and spins if it has lost its spare descriptor).

/// What the listeners of all families have in common: a listening socket, and what to do with each connection.
public class SocketListener: LoopHandle, @unchecked Sendable {
  // @unchecked: as LoopHandle.

  let descriptor: Int32
  /// Owns the connected socket, which is closed on exec and does not block.
  private var onAccept: ((Int32) -> Void)?
  private var isPaused = false
  /// Runs while descriptors or memory were short a moment ago.
  private var recovery: Timer?

  /// Connections accepted in a row before others get their turn.
  private static let acceptsInARow = 64
  /// How long it waits for descriptors or memory to become free.
  private static let recoveryTime = Duration.milliseconds(100)

  /// - Parameter descriptor: a listening socket, which the listener owns from now on.
  init(_ descriptor: Int32, on loop: EventLoop, _ onAccept: @escaping (Int32) -> Void) {
    self.descriptor = descriptor
    self.onAccept = onAccept
    super.init(uv_poll_t.self, kind: "listener", on: loop)
  }

  /// Begins to accept.
  /// - Throws: what libuv refused; the socket is closed then.
  func start(_ operation: @autoclosure () -> String) throws(UVError) {
    let code = uv_poll_init(loop.uv, pointer(), descriptor)
    guard code == 0 else {
      Glibc.close(descriptor)
      throw UVError(code: code, operation: operation())
    }
    opened()
    watch()
  }

  private func watch() {
    guard !isClosed, !isPaused, recovery == nil else { return }
    uv_poll_start(pointer(), Int32(UV_READABLE.rawValue)) { handle, _, _ in
      let listener = SocketListener.of(handle!)
      listener.loop.inside { _ in listener.accept() }
    }
  }

  private func accept() {
    for _ in 0..<Self.acceptsInARow where !isClosed && !isPaused {
      let connection = hero_accept(descriptor)
      if connection >= 0 {
        if let onAccept { onAccept(connection) } else { Glibc.close(connection) }
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

  override func willClose() {
    onAccept = nil
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
