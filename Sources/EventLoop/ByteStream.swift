import CLibUV

// A connected stream of bytes, TCP or pipe. Reading delivers to a handler, whole buffers, without a copy. Writing
// tries the socket first and queues what does not fit; a writer that cares waits in `drained()`.

public class ByteStream: LoopHandle, @unchecked Sendable {
  // @unchecked: as LoopHandle.

  /// What reading delivers.
  // @unchecked: the bytes are borrowed from the loop, and used on its thread only, before the handler returns.
  public enum ReadEvent: @unchecked Sendable {
    /// Valid during the call.
    case bytes(UnsafeRawBufferPointer)
    /// The peer sends no more.
    case end
    /// Nothing more comes, and nothing more can be written.
    case failed(UVError)
  }

  private var handler: ((ReadEvent) -> Void)?
  private var writeError: UVError?
  private var drainWaiters: [CheckedContinuation<UVError?, Never>] = []
  private var shutdownWaiter: CheckedContinuation<UVError?, Never>?

  /// `drained()` returns when at most this many bytes are queued.
  public static let lowWater = 65_536

  private var stream: UnsafeMutablePointer<uv_stream_t> { pointer() }

  // MARK: Reading

  /// Delivers what arrives to `handler`, until `stopReading`, the end, or an error.
  public func startReading(_ handler: @escaping (ReadEvent) -> Void) {
    loop.preconditionCurrent()
    guard !isClosed else { return }
    self.handler = handler
    uv_read_start(
      stream,
      { handle, _, buffer in
        let memory = EventLoop.of(handle!.pointee.loop).readBuffer
        buffer!.pointee = uv_buf_init(memory.baseAddress!.assumingMemoryBound(to: CChar.self), UInt32(memory.count))
      },
      { handle, count, buffer in
        guard count != 0 else { return }
        let stream = ByteStream.of(handle!)
        stream.loop.inside { _ in stream.received(count, buffer!.pointee.base) }
      })
  }

  private func received(_ count: Int, _ base: UnsafeMutablePointer<CChar>?) {
    if count > 0 {
      handler?(.bytes(UnsafeRawBufferPointer(start: base, count: count)))
    } else {
      uv_read_stop(stream)
      handler?(count == Int(UV_EOF.rawValue) ? .end : .failed(UVError(code: Int32(count), operation: "read")))
    }
  }

  /// Delivers nothing until `startReading`; the peer is slowed down once the system's buffers are full.
  public func stopReading() {
    loop.preconditionCurrent()
    guard !isClosed else { return }
    uv_read_stop(stream)
  }

  // MARK: Writing

  /// Bytes accepted by `write` that the system has not taken yet.
  public var queuedBytes: Int { isClosed ? 0 : uv_stream_get_write_queue_size(stream) }

  /// Sends, in order. An error comes as `.failed` and in `drained()`.
  public func write(_ bytes: [UInt8]) {
    loop.preconditionCurrent()
    guard !isClosed, writeError == nil, !bytes.isEmpty else { return }
    let written = bytes.withUnsafeBytes { raw -> Int32 in
      var buffer = Self.buffer(raw)
      return uv_try_write(stream, &buffer, 1)
    }
    if written == bytes.count { return }
    if written < 0 && written != UVError.tryAgain { return fail(written) }
    enqueue(bytes, from: max(0, Int(written)))
  }

  private static func buffer(_ raw: UnsafeRawBufferPointer) -> uv_buf_t {
    // libuv only reads from it.
    uv_buf_init(UnsafeMutablePointer(mutating: raw.baseAddress!.assumingMemoryBound(to: CChar.self)), UInt32(raw.count))
  }

  private func enqueue(_ bytes: [UInt8], from start: Int) {
    // The request and the copy of the rest are one allocation, released when libuv is done with them.
    let count = bytes.count - start
    let headerSize = MemoryLayout<uv_write_t>.stride
    let memory = UnsafeMutableRawPointer.allocate(
      byteCount: headerSize + count, alignment: MemoryLayout<uv_write_t>.alignment)
    let rest = UnsafeMutableRawBufferPointer(start: memory + headerSize, count: count)
    bytes.withUnsafeBytes { rest.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[start...])) }
    let request = memory.bindMemory(to: uv_write_t.self, capacity: 1)
    var buffer = Self.buffer(UnsafeRawBufferPointer(rest))
    let error = uv_write(request, stream, &buffer, 1) { request, status in
      let stream = ByteStream.of(request!.pointee.handle)
      UnsafeMutableRawPointer(request!).deallocate()
      stream.loop.inside { _ in stream.wrote(status) }
    }
    if error < 0 {
      memory.deallocate()
      fail(error)
    }
  }

  private func wrote(_ status: Int32) {
    if status < 0 { return fail(status) }
    if queuedBytes <= Self.lowWater { resumeDrainWaiters() }
  }

  private func fail(_ code: Int32) {
    guard writeError == nil else { return }
    writeError = UVError(code: code, operation: "write")
    resumeDrainWaiters()
    guard !isClosed else { return }
    // Not from within `write`: its caller does not expect to be called.
    loop.execute {
      guard !self.isClosed else { return }
      self.loop.inside { _ in self.handler?(.failed(self.writeError!)) }
    }
  }

  /// Returns when little is queued, so that a writer faster than its peer does not fill the memory.
  /// - Throws: what the connection failed with; `UVError.cancelled` when it is closed.
  public func drained() async throws(UVError) {
    loop.preconditionCurrent()
    if queuedBytes > Self.lowWater && writeError == nil && !isClosed {
      if let error = await withCheckedContinuation({ drainWaiters.append($0) }) { throw error }
    }
    if let error = currentError { throw error }
  }

  private var currentError: UVError? {
    writeError ?? (isClosed ? UVError(code: UVError.cancelled, operation: "write") : nil)
  }

  private func resumeDrainWaiters() {
    let waiters = drainWaiters
    drainWaiters = []
    for waiter in waiters { waiter.resume(returning: currentError) }
  }

  /// Tells the peer, after what is queued, that nothing more comes. Reading goes on.
  public func shutdownWrite() async throws(UVError) {
    loop.preconditionCurrent()
    if let error = currentError { throw error }
    precondition(shutdownWaiter == nil, "a stream is shut down once")
    let request = UnsafeMutablePointer<uv_shutdown_t>.allocate(capacity: 1)
    let error = await withCheckedContinuation { continuation in
      shutdownWaiter = continuation
      let code = uv_shutdown(request, stream) { request, status in
        let stream = ByteStream.of(request!.pointee.handle)
        request!.deallocate()
        stream.loop.inside { _ in stream.endShutdown(status) }
      }
      if code < 0 {
        request.deallocate()
        endShutdown(code)
      }
    }
    if let error { throw error }
  }

  private func endShutdown(_ status: Int32) {
    let waiter = shutdownWaiter
    shutdownWaiter = nil
    waiter?.resume(returning: status < 0 ? UVError(code: status, operation: "shut down") : nil)
  }

  override func willClose() {
    handler = nil
    resumeDrainWaiters()
  }
}

/// One end of a pipe to a child process.
public final class PipeStream: ByteStream, @unchecked Sendable {
  // @unchecked: as LoopHandle.

  init(on loop: EventLoop) {
    super.init(uv_pipe_t.self, kind: "pipe", on: loop)
    uv_pipe_init(loop.uv, pointer(), 0)
    opened()
  }
}
