import CLibUV
import Glibc

/// A file in memory without a name (memfd_create(2)), for handing bytes to a child process and getting some back.
///
///     let file = try MemoryFile(bytes)
///     defer { file.close() }
///     // … start a child with `file.descriptor` among its `inherited` descriptors, and wait for its end …
///     let answer = file.read(at: 96, count: 40)
public struct MemoryFile: Sendable {
  /// Closed on exec; `ChildProcess.Options.inherited` passes it on.
  public let descriptor: Int32

  /// - Throws: what memfd_create(2) or write(2) refused: too many open files, no memory.
  public init(_ bytes: [UInt8]) throws(UVError) {
    descriptor = hero_memory_file("order")
    guard descriptor >= 0 else { throw UVError(errno: errno, operation: "make a memory file") }
    do throws(UVError) { try WholeWrite.write(bytes, to: descriptor, "write a memory file") } catch {
      close()
      throw error
    }
  }

  /// Up to `count` bytes from an offset on; fewer at the end of the file.
  public func read(at offset: Int, count: Int) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: count) { buffer, size in
      size = max(0, pread(descriptor, buffer.baseAddress, count, off_t(offset)))
    }
  }

  public func close() { Glibc.close(descriptor) }
}
