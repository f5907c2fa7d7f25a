import CLibUV
import Glibc

/// One end of a pipe to or from a child process (pipe(7)). It carries bytes in one direction only.
public final class PipeStream: ByteStream, @unchecked Sendable {
  // @unchecked: as LoopHandle.

  /// A pipe of the system, not a pair of sockets: a child may open `/dev/stdin` or `/dev/stderr` only if it is one.
  /// - Parameter ourEnd: 0 to read, 1 to write.
  /// - Returns: the stream, and the other end's descriptor, closed on exec, which the caller must close.
  static func make(ourEnd: Int, on loop: EventLoop) throws(UVError) -> (ours: PipeStream, theirs: Int32) {
    var ends: (Int32, Int32) = (-1, -1)
    let code = withUnsafeMutableBytes(of: &ends) { uv_pipe($0.assumingMemoryBound(to: Int32.self).baseAddress, 0, 0) }
    try UVError.check(code, "make a pipe")
    let (ours, theirs) = ourEnd == 0 ? (ends.0, ends.1) : (ends.1, ends.0)
    let stream = PipeStream(on: loop)
    let error = uv_pipe_open(stream.pointer(), ours)
    guard error == 0 else {
      stream.close()
      Glibc.close(ours)
      Glibc.close(theirs)
      throw UVError(code: error, operation: "make a pipe")
    }
    return (stream, theirs)
  }

  private init(on loop: EventLoop) {
    super.init(uv_pipe_t.self, kind: "pipe", on: loop)
    uv_pipe_init(loop.uv, pointer(), 0)
    opened()
  }

  /// Closes it, after what is queued: a pipe has no half to keep open.
  public override func shutdownWrite() async throws(UVError) {
    try await drained(to: 0)
    close()
  }
}
