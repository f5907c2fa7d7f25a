import CLibUV

extension EventLoop {
  /// Runs blocking work on libuv's thread pool, which all loops of the process share. From any task.
  /// - Throws: what `body` throws. Work that has been handed over is not cancelled.
  public func blocking<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await onThreadPool(body)
  }

  /// As `blocking`, with the error's type kept.
  func onThreadPool<Value: Sendable, Failure: Error>(
    _ body: @escaping @Sendable () throws(Failure) -> Value
  ) async throws(Failure) -> Value {
    let result = await withCheckedContinuation { (continuation: CheckedContinuation<Result<Value, Failure>, Never>) in
      let work = Work {
        let result = Result(catching: body)
        return { continuation.resume(returning: result) }
      }
      if isCurrent { work.submit(to: self) } else { execute { work.submit(to: self) } }
    }
    return try result.get()
  }

  private final class Work: @unchecked Sendable {
    // @unchecked: handed from the loop to a thread of the pool and back by libuv, which orders the accesses.
    private let body: @Sendable () -> @Sendable () -> Void
    private var completion: (@Sendable () -> Void)?

    init(_ body: @escaping @Sendable () -> @Sendable () -> Void) { self.body = body }

    func submit(to loop: EventLoop) {
      let request = UnsafeMutablePointer<uv_work_t>.allocate(capacity: 1)
      request.initialize(to: uv_work_t())
      request.pointee.data = Unmanaged.passRetained(self).toOpaque()
      uv_queue_work(
        loop.uv, request,
        { request in
          let work = Unmanaged<Work>.fromOpaque(request!.pointee.data).takeUnretainedValue()
          work.completion = work.body()
        },
        { request, _ in
          let loop = EventLoop.of(request!.pointee.loop)
          let work = Unmanaged<Work>.fromOpaque(request!.pointee.data).takeRetainedValue()
          request!.deallocate()
          loop.inside { _ in work.completion?() }
        })
    }
  }
}
