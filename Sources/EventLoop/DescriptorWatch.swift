import CLibUV

/// Tells when a socket that a C library owns can be read or written (uv_poll_t).
///
/// The library reads and writes by itself; the watch must be closed before the library closes the socket.
public final class DescriptorWatch: LoopHandle, @unchecked Sendable {
  // @unchecked: as LoopHandle.

  public struct Events: OptionSet, Sendable {
    public let rawValue: Int32
    public init(rawValue: Int32) { self.rawValue = rawValue }
    public static let readable = Events(rawValue: Int32(UV_READABLE.rawValue))
    public static let writable = Events(rawValue: Int32(UV_WRITABLE.rawValue))
  }

  private var handler: ((Events) -> Void)?

  /// - Throws: what the system refused, such as a descriptor that cannot be watched (a file).
  public static func open(_ descriptor: Int32, on loop: EventLoop) throws(UVError) -> DescriptorWatch {
    let watch = DescriptorWatch(uv_poll_t.self, kind: "descriptor", on: loop)
    try UVError.check(uv_poll_init(loop.uv, watch.pointer(), descriptor), "watch descriptor \(descriptor)")
    watch.opened()
    return watch
  }

  /// Replaces what is watched for. The handler is called again as long as an event holds; on an error of the socket with
  /// all events, so that the library finds it.
  public func watch(_ events: Events, _ handler: @escaping (Events) -> Void) throws(UVError) {
    loop.preconditionCurrent()
    guard !isClosed else { throw UVError(code: UVError.cancelled, operation: "watch a descriptor") }
    self.handler = handler
    try UVError.check(
      uv_poll_start(
        pointer(), events.rawValue,
        { handle, status, events in
          let watch = DescriptorWatch.of(handle!)
          let found: Events = status < 0 ? [.readable, .writable] : Events(rawValue: events)
          watch.loop.inside { _ in watch.handler?(found) }
        }), "watch a descriptor")
  }

  override func willClose() { handler = nil }
}
