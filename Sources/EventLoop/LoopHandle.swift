import CLibUV

/// What all handles of libuv have in common: memory that libuv owns until the handle is closed, once.
///
/// While it is open, libuv's handle holds the Swift object: an object that nobody refers to stays alive until `close`.
public class LoopHandle: @unchecked Sendable {
  // @unchecked: confined to the loop's thread; every entrance checks that.

  public let loop: EventLoop
  let memory: UnsafeMutableRawPointer
  /// A word for it in lists of live handles.
  let kind: String
  /// Whether `close` was called.
  public private(set) var isClosed = false
  private var isOpen = false

  init<Handle>(_ type: Handle.Type, kind: String, on loop: EventLoop) {
    loop.preconditionCurrent()
    self.loop = loop
    self.kind = kind
    memory = .allocate(byteCount: MemoryLayout<Handle>.size, alignment: MemoryLayout<Handle>.alignment)
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: MemoryLayout<Handle>.size)
  }

  deinit {
    precondition(!isOpen, "a handle is freed that libuv still uses")
    memory.deallocate()
  }

  func pointer<Handle>(_ type: Handle.Type = Handle.self) -> UnsafeMutablePointer<Handle> {
    memory.assumingMemoryBound(to: type)
  }

  /// After a successful uv_…_init: from here on libuv knows the memory, and only `close` lets it go.
  func opened() {
    let handle: UnsafeMutablePointer<uv_handle_t> = pointer()
    handle.pointee.data = Unmanaged.passRetained(self).toOpaque()
    isOpen = true
  }

  /// The Swift object of a handle that libuv hands to a callback.
  static func of(_ handle: UnsafeMutableRawPointer) -> Self {
    let data = handle.assumingMemoryBound(to: uv_handle_t.self).pointee.data!
    return unsafeDowncast(Unmanaged<LoopHandle>.fromOpaque(data).takeUnretainedValue(), to: Self.self)
  }

  /// Closes it; whatever waits on it ends with an error. Again is harmless.
  public func close() {
    loop.preconditionCurrent()
    guard !isClosed else { return }
    isClosed = true
    willClose()
    if isOpen { closeHandle() }
  }

  /// Ends what waits on it, and lets go of the handlers.
  func willClose() {}

  /// Gives the memory back once libuv is done with it.
  func closeHandle() {
    uv_close(pointer()) { handle in
      let data = UnsafeMutableRawPointer(handle!).assumingMemoryBound(to: uv_handle_t.self).pointee.data!
      let object = Unmanaged<LoopHandle>.fromOpaque(data).takeRetainedValue()
      object.loop.inside { _ in object.isOpen = false }
    }
  }
}
