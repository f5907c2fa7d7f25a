import CLibUV

/// Calls a handler after a time, once or repeatedly. May be scheduled again at any time.
public final class Timer: LoopHandle, @unchecked Sendable {
  // @unchecked: as LoopHandle.

  private var handler: (() -> Void)?

  public init(on loop: EventLoop) {
    super.init(uv_timer_t.self, kind: "timer", on: loop)
    uv_timer_init(loop.uv, pointer())
    opened()
  }

  /// Replaces what was scheduled before. Times are rounded up to milliseconds; it never fires early.
  public func schedule(after time: Duration, repeating: Duration? = nil, _ handler: @escaping () -> Void) {
    loop.preconditionCurrent()
    guard !isClosed else { return }
    self.handler = handler
    uv_update_time(loop.uv)
    uv_timer_start(
      pointer(),
      { handle in
        let timer = Timer.of(handle!)
        timer.loop.inside { _ in timer.fire() }
      }, time.loopMilliseconds, repeating?.milliseconds ?? 0)
  }

  private func fire() {
    let handler = handler
    // What has fired for the last time holds on to nothing; the handler may schedule anew.
    if uv_is_active(pointer()) == 0 { self.handler = nil }
    handler?()
  }

  /// Nothing is scheduled any more.
  public func cancel() {
    loop.preconditionCurrent()
    guard !isClosed else { return }
    uv_timer_stop(pointer())
    handler = nil
  }

  override func willClose() { handler = nil }
}

extension Duration {
  /// Rounded up; never negative, and what is too long to count is for ever.
  var milliseconds: UInt64 {
    let (seconds, attoseconds) = components
    guard seconds >= 0, attoseconds >= 0 else { return 0 }
    guard seconds < Int64.max / 1000 else { return .max }
    return UInt64(seconds) * 1000 + UInt64((attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
  }

  /// What to tell libuv, whose clock is cut down to whole milliseconds: of the one under way only a part is left.
  fileprivate var loopMilliseconds: UInt64 {
    let milliseconds = milliseconds
    return milliseconds == 0 || milliseconds == .max ? milliseconds : milliseconds + 1
  }
}

extension EventLoop {
  /// Returns after a time. From any task.
  /// - Throws: `CancellationError` at once when the task is cancelled.
  public func sleep(for time: Duration) async throws(CancellationError) {
    let sleep = Sleep()
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        if isCurrent {
          sleep.begin(time, continuation, on: self)
        } else {
          execute { sleep.begin(time, continuation, on: self) }
        }
      }
    } onCancel: {
      execute { sleep.end(isCancelled: true) }
    }
    if sleep.isCancelled { throw CancellationError() }
  }

  private final class Sleep: @unchecked Sendable {
    // @unchecked: touched on the loop's thread, and by the sleeper after it was resumed.
    private(set) var isCancelled = false
    private var timer: Timer?
    private var continuation: CheckedContinuation<Void, Never>?

    func begin(_ time: Duration, _ continuation: CheckedContinuation<Void, Never>, on loop: EventLoop) {
      guard !isCancelled else { return continuation.resume() }
      self.continuation = continuation
      timer = Timer(on: loop)
      timer!.schedule(after: time) { self.end(isCancelled: false) }
    }

    func end(isCancelled: Bool) {
      let continuation = self.continuation
      self.continuation = nil
      // A cancellation that comes too late changes nothing.
      if isCancelled && (continuation != nil || timer == nil) { self.isCancelled = true }
      timer?.close()
      continuation?.resume()
    }
  }
}
