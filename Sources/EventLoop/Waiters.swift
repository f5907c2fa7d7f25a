/// Tasks that wait until a condition over state of the loop no longer holds.
///
/// Whoever changes the state calls `resumeAll`; each waiting task then checks its own condition again.
///
///     await idle.wait(while: { isBusy })
///     isBusy = true
///
/// The condition is evaluated in the same step that begins the wait, so no wake-up is lost in between, and no other code
/// of the loop runs between its last evaluation and the return of the call. All calls are made on the loop.
public final class Waiters: @unchecked Sendable {
  // @unchecked: touched on the loop's thread only; `preconditionCurrent()` stands at each entrance.

  private struct Wait {
    let number: UInt64
    /// Unsafe only in that nobody checks for one resume: a wait is taken out of `waits` in the call that resumes it. A
    /// checked one costs an allocation for every wait.
    let continuation: UnsafeContinuation<Void, Never>
    /// Closed with the resumption, so that a wait that has ended leaves no handle open.
    let timer: Timer?

    func resume() {
      timer?.close()
      continuation.resume()
    }
  }

  private let loop: EventLoop
  /// In the order in which they began.
  private var waits: [Wait] = []
  private var lastNumber: UInt64 = 0

  /// - Parameter loop: where the state lives that conditions look at, and where the tasks wait.
  public init(on loop: EventLoop) { self.loop = loop }

  deinit { precondition(waits.isEmpty, "tasks still wait") }

  /// Whether no task waits.
  public var isEmpty: Bool {
    loop.preconditionCurrent()
    return waits.isEmpty
  }

  /// Waits while a condition holds, whether or not the task is cancelled. Returns at once if it does not hold.
  /// - Parameter condition: evaluated on the loop, at the start and after each `resumeAll`.
  public func wait(while condition: () -> Bool) async {
    loop.preconditionCurrent()
    while condition() {
      await withUnsafeContinuation { continuation in
        loop.preconditionCurrent()
        guard condition() else { return continuation.resume() }
        waits.append(Wait(number: takeNumber(), continuation: continuation, timer: nil))
      }
    }
  }

  /// Waits while a condition holds, until the task is cancelled or a time has passed.
  /// - Parameters:
  ///   - condition: evaluated on the loop, at the start and after each `resumeAll`.
  ///   - time: how long to wait at most; `nil` for no limit.
  ///   - isolation: the caller's actor.
  /// - Returns: whether the condition no longer holds; `false` when the task is cancelled or the time has passed before.
  @discardableResult
  public func waitUnlessCancelled(
    while condition: () -> Bool, atMost time: Duration? = nil, isolation: isolated (any Actor)? = #isolation
  ) async -> Bool {
    loop.preconditionCurrent()
    // The clock that timers of the loop follow.
    let deadline = time.map { SuspendingClock.now + $0 }
    while condition() {
      if Task.isCancelled { return false }
      let rest = deadline.map { SuspendingClock.now.duration(to: $0) }
      if let rest, rest <= .zero { return false }
      let number = takeNumber()
      await withTaskCancellationHandler {
        // An asynchronous closure stays on the caller's actor only if it captures it.
        _ = isolation
        await withUnsafeContinuation { continuation in
          loop.preconditionCurrent()
          // A cancellation that came before the handler was installed is seen here; one that comes from now on is
          // carried out on the loop, after this body.
          guard condition(), !Task.isCancelled else { return continuation.resume() }
          let timer = rest.map { rest in
            let timer = Timer(on: loop)
            timer.schedule(after: rest) { self.resume(number) }
            return timer
          }
          waits.append(Wait(number: number, continuation: continuation, timer: timer))
        }
      } onCancel: {
        loop.execute { self.resume(number) }
      }
    }
    return true
  }

  /// Has every waiting task check its condition again, in the order in which they began to wait. Not within the call.
  public func resumeAll() {
    loop.preconditionCurrent()
    // Nothing is added meanwhile: a resumed task runs later.
    for wait in waits { wait.resume() }
    waits.removeAll(keepingCapacity: waits.count <= 16)
  }

  /// Resumes one wait, unless it has ended before.
  private func resume(_ number: UInt64) {
    guard let index = waits.firstIndex(where: { $0.number == number }) else { return }
    waits.remove(at: index).resume()
  }

  private func takeNumber() -> UInt64 {
    lastNumber += 1
    return lastNumber
  }
}
