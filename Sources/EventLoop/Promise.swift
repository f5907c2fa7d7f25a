/// A value that comes once, and for which any number of tasks may wait before or after it has come.
///
/// The object is registered wherever the value will be known, before anyone waits, so that there is no moment in which
/// the value or a cancellation could be missed. All calls are made on the loop.
///
///     let answer = Promise<Answer>(on: loop)
///     calls[number] = answer
///     send(request)
///     guard let answer = await answer.valueUnlessCancelled(atMost: .seconds(10)) else { … }
public final class Promise<Value: Sendable>: @unchecked Sendable {
  // @unchecked: touched on the loop's thread only; `preconditionCurrent()` stands at each entrance.

  private let loop: EventLoop
  private let waiters: Waiters
  private var resolution: Value?

  /// - Parameter loop: where the value is set and waited for.
  public init(on loop: EventLoop) {
    self.loop = loop
    waiters = Waiters(on: loop)
  }

  /// The value if it has come.
  public var current: Value? {
    loop.preconditionCurrent()
    return resolution
  }

  /// Sets the value, and resumes those who wait for it. The first value stays.
  /// - Returns: whether this is the first.
  @discardableResult
  public func resolve(_ value: Value) -> Bool {
    loop.preconditionCurrent()
    guard resolution == nil else { return false }
    resolution = value
    waiters.resumeAll()
    return true
  }

  /// Waits for the value, whether or not the task is cancelled.
  public func value() async -> Value {
    await waiters.wait(while: { resolution == nil })
    return resolution!
  }

  /// Waits for the value until the task is cancelled or a time has passed.
  /// - Parameter time: how long to wait at most; `nil` for no limit.
  /// - Returns: the value, also when it has come together with the cancellation; `nil` when it has not come.
  public func valueUnlessCancelled(atMost time: Duration? = nil) async -> Value? {
    await waiters.waitUnlessCancelled(while: { resolution == nil }, atMost: time)
    return resolution
  }
}
