import CLibUV
import Glibc

/// A connection over a unix socket, and who is at its other end.
public final class LocalStream: ByteStream, @unchecked Sendable {
  // @unchecked: as LoopHandle.

  /// The user at the other end, as the system knows it: of a client who called connect(2), of a server who called
  /// listen(2) (unix(7), `SO_PEERCRED`).
  public let peerUID: UInt32

  private init(peerUID: UInt32, on loop: EventLoop) throws(UVError) {
    self.peerUID = peerUID
    super.init(uv_pipe_t.self, kind: "local", on: loop)
    try UVError.check(uv_pipe_init(loop.uv, pointer(), 0), "create a socket")
    opened()
  }

  /// Takes over a connected socket, closed on exec.
  /// - Throws: when it is of no use; the socket is closed then.
  static func adopt(_ descriptor: Int32, on loop: EventLoop) throws(UVError) -> LocalStream {
    var peer = hero_credentials()
    do throws(UVError) {
      if hero_peer_credentials(descriptor, &peer) != 0 { throw UVError(errno: errno, operation: "look who connected") }
      let stream = try LocalStream(peerUID: peer.uid, on: loop)
      let code = uv_pipe_open(stream.pointer(), descriptor)
      if code == 0 { return stream }
      stream.close()
      throw UVError(code: code, operation: "use a socket")
    } catch {
      Glibc.close(descriptor)
      throw error
    }
  }

  /// Connects to the socket at a path of any length. Waits while the listener's backlog is full, until the task is
  /// cancelled.
  /// - Throws: what connect(2) failed with; `UVError.cancelled` when the task is cancelled. No handle is left then.
  public static func connect(to path: String, on loop: EventLoop) async throws(UVError) -> LocalStream {
    let address = LocalAddress(path)
    let descriptor = try LocalAddress.makeSocket()
    var code = address.connect(descriptor)
    while code == EAGAIN, (try? await loop.sleep(for: .milliseconds(10))) != nil { code = address.connect(descriptor) }
    guard code == 0 else {
      Glibc.close(descriptor)
      if Task.isCancelled { throw UVError(code: UVError.cancelled, operation: "connect to \(path)") }
      throw UVError(errno: code, operation: "connect to \(path)")
    }
    return try adopt(descriptor, on: loop)
  }
}
