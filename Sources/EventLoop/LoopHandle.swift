import CLibUV

/// What all handles of libuv have in common: memory that libuv owns until the handle is closed, once.
public class LoopHandle: @unchecked Sendable {
  // @unchecked: confined to the loop's thread; every entrance checks that.

  public let loop: EventLoop
  let memory: UnsafeMutableRawPointer
  /// Whether `close` was called.
  public private(set) var isClosed = false

  /// - Parameter kind: a word for it in lists of live handles.
  init<Handle>(_ type: Handle.Type, kind: String, on loop: EventLoop) {
    loop.preconditionCurrent()
    self.loop = loop
    memory = .allocate(byteCount: MemoryLayout<Handle>.size, alignment: MemoryLayout<Handle>.alignment)
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: MemoryLayout<Handle>.size)
    self.kind = kind
  }

  private let kind: String
  private var isOpen = false

  deinit { memory.deallocate() }

  func pointer<Handle>(_ type: Handle.Type = Handle.self) -> UnsafeMutablePointer<Handle> {
    memory.assumingMemoryBound(to: type)
  }

  /// After a successful uv_…_init: from here on libuv knows the memory, and only `close` lets it go.
  func opened() {
    let handle: UnsafeMutablePointer<uv_handle_t> = pointer()
    handle.pointee.data = Unmanaged.passRetained(self).toOpaque()
    isOpen = true
    loop.register(self, kind: kind)
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
    guard isOpen else { return }
    uv_close(pointer()) { handle in
      let object = LoopHandle.of(UnsafeMutableRawPointer(handle!))
      object.loop.inside { _ in
        object.loop.unregister(object)
        Unmanaged.passUnretained(object).release()
      }
    }
  }

  /// Ends what waits on it, and lets go of the handlers.
  func willClose() {}
}
