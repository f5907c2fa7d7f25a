import CLibUV
import Glibc

// A connected stream of bytes: TCP, a unix socket, a pipe. Reading delivers to a handler, whole buffers, without a copy. Writing
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
  private var isReading = false
  /// Why nothing can be written any more.
  private var failure: UVError?
  /// Writers that wait in `drained`.
  private lazy var writers = Waiters(on: loop)
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
    guard !isReading else { return }
    isReading = true
    let code = uv_read_start(
      stream,
      { handle, _, buffer in buffer!.pointee = EventLoop.of(handle!.pointee.loop).nativeReadBuffer },
      { handle, count, buffer in
        guard count != 0 else { return }
        let stream = ByteStream.of(handle!)
        stream.loop.inside { _ in stream.received(count, buffer!.pointee.base) }
      })
    if code < 0 { fail(UVError(code: code, operation: "read")) }
  }

  private func received(_ count: Int, _ base: UnsafeMutablePointer<CChar>?) {
    if count > 0 {
      handler?(.bytes(UnsafeRawBufferPointer(start: base, count: count)))
      return
    }
    stopReading()
    if count == Int(UV_EOF.rawValue) {
      handler?(.end)
    } else {
      let error = UVError(code: Int32(count), operation: "read")
      if failure == nil { failure = error }
      writers.resumeAll()
      handler?(.failed(error))
    }
  }

  /// Delivers nothing until `startReading`; the peer is slowed down once the system's buffers are full.
  public func stopReading() {
    loop.preconditionCurrent()
    guard isReading else { return }
    isReading = false
    uv_read_stop(stream)
  }

  // MARK: Writing

  /// Bytes accepted by `write` that the system has not taken yet.
  public var queuedBytes: Int { isClosed ? 0 : uv_stream_get_write_queue_size(stream) }

  /// Whether the other end has closed its sending half. Known even while reading is stopped, unless what it sent before
  /// fills the system's buffers (poll(2), `POLLRDHUP`).
  public var peerHasEnded: Bool {
    var descriptor: Int32 = -1
    guard !isClosed, uv_fileno(pointer(), &descriptor) == 0 else { return true }
    // glibc hides the constant without _GNU_SOURCE.
    var state = pollfd(fd: descriptor, events: 0x2000, revents: 0)
    return poll(&state, 1, 0) > 0
  }

  /// Sends, in order; never waits. An error comes as `.failed` and in `drained()`; what is written after it is dropped.
  public func write(_ bytes: [UInt8]) {
    loop.preconditionCurrent()
    guard !isClosed, failure == nil, !bytes.isEmpty else { return }
    let written = bytes.withUnsafeBytes { raw -> Int32 in
      var buffer = Self.buffer(raw)
      return uv_try_write(stream, &buffer, 1)
    }
    if written == bytes.count { return }
    if written < 0 && written != UVError.tryAgain { return fail(UVError(code: written, operation: "write")) }
    enqueue(PendingWrite(bytes), from: max(0, Int(written)))
  }

  private static func buffer(_ raw: UnsafeRawBufferPointer) -> uv_buf_t {
    // libuv only reads from it.
    uv_buf_init(UnsafeMutablePointer(mutating: raw.baseAddress!.assumingMemoryBound(to: CChar.self)), UInt32(raw.count))
  }

  /// Bytes that wait for the peer, held until libuv is done with them.
  private final class PendingWrite {
    let bytes: [UInt8]
    init(_ bytes: [UInt8]) { self.bytes = bytes }
  }

  private func enqueue(_ pending: PendingWrite, from start: Int) {
    let request = UnsafeMutablePointer<uv_write_t>.allocate(capacity: 1)
    request.initialize(to: uv_write_t())
    request.pointee.data = Unmanaged.passRetained(pending).toOpaque()
    // The pointer outlives the closure: an array's storage stays where it is as long as someone holds the array, and
    // `pending`, which nobody changes, does so until the callback.
    var buffer = pending.bytes.withUnsafeBytes { Self.buffer(UnsafeRawBufferPointer(rebasing: $0[start...])) }
    let error = uv_write(request, stream, &buffer, 1) { request, status in
      let stream = ByteStream.of(request!.pointee.handle)
      ByteStream.release(request!)
      stream.loop.inside { _ in stream.wrote(status) }
    }
    if error < 0 {
      Self.release(request)
      fail(UVError(code: error, operation: "write"))
    }
  }

  private static func release(_ request: UnsafeMutablePointer<uv_write_t>) {
    Unmanaged<PendingWrite>.fromOpaque(request.pointee.data).release()
    request.deallocate()
  }

  private func wrote(_ status: Int32) {
    if status < 0 && !isClosed { return fail(UVError(code: status, operation: "write")) }
    writers.resumeAll()
  }

  private func fail(_ error: UVError) {
    guard failure == nil else { return }
    failure = error
    writers.resumeAll()
    // Not from within `write`: its caller does not expect to be called.
    loop.execute { self.deliverFailure() }
  }

  /// What the peer sent before it went away, such as the reason why, is delivered first.
  private func deliverFailure() {
    var descriptor: Int32 = -1
    guard let failure, !isClosed, uv_fileno(pointer(), &descriptor) == 0 else { return }
    // A peer that is gone has sent little; one that goes on sending is cut off.
    for _ in 0..<64 where isReading {
      let count = Glibc.read(descriptor, loop.readBuffer.baseAddress!, loop.readBuffer.count)
      guard count > 0 else { break }
      handler?(.bytes(UnsafeRawBufferPointer(start: loop.readBuffer.baseAddress!, count: count)))
    }
    stopReading()
    handler?(.failed(failure))
  }

  /// Returns when little is queued, so that a writer faster than its peer does not fill the memory.
  /// - Throws: what the connection failed with; `UVError.cancelled` when it is closed.
  public func drained() async throws(UVError) { try await drained(to: Self.lowWater) }

  /// Returns when at most `limit` bytes are queued.
  /// - Throws: as `drained()`.
  public func drained(to limit: Int) async throws(UVError) {
    await writers.wait(while: { queuedBytes > limit && currentError == nil })
    if let error = currentError { throw error }
  }

  private var currentError: UVError? {
    failure ?? (isClosed ? UVError(code: UVError.cancelled, operation: "write") : nil)
  }

  /// Tells the peer, after what is queued, that nothing more comes. Reading goes on. At most once.
  /// - Throws: what the connection failed with; `UVError.cancelled` when it is closed before all is sent.
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

  /// Closes at once; what is queued is lost, and the peer is told so where the family has a way to.
  public func reset() { close() }

  private func endShutdown(_ status: Int32) {
    let waiter = shutdownWaiter
    shutdownWaiter = nil
    waiter?.resume(returning: status < 0 ? UVError(code: status, operation: "shut down") : nil)
  }

  override func willClose() {
    isReading = false
    handler = nil
    writers.resumeAll()
  }
}

extension EventLoop {
  /// The read buffer as libuv wants it.
  var nativeReadBuffer: uv_buf_t {
    uv_buf_init(readBuffer.baseAddress!.assumingMemoryBound(to: CChar.self), UInt32(readBuffer.count))
  }
}
