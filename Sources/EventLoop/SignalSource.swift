import CLibUV

/// Calls a handler, on the loop, when the process gets a signal.
public final class SignalSource: LoopHandle, @unchecked Sendable {
  // @unchecked: as LoopHandle.

  private var handler: (() -> Void)?

  public init(_ signal: Int32, on loop: EventLoop, _ handler: @escaping () -> Void) throws(UVError) {
    super.init(uv_signal_t.self, kind: "signal", on: loop)
    self.handler = handler
    try UVError.check(uv_signal_init(loop.uv, pointer()), "watch signal \(signal)")
    opened()
    let code = uv_signal_start(
      pointer(),
      { handle, _ in
        let source = SignalSource.of(handle!)
        source.loop.inside { _ in source.handler?() }
      }, signal)
    if code < 0 {
      close()
      throw UVError(code: code, operation: "watch signal \(signal)")
    }
  }

  override func willClose() { handler = nil }
}
