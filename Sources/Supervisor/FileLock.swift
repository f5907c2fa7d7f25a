import Glibc

/// Says that a live process uses a data directory: flock(2) on a file in it, which the kernel releases with the process,
/// however it ends.
public struct FileLock: Sendable {
  public enum Failure: Error, Sendable {
    /// Another live process holds it; what it wrote into the file.
    case inUse(by: String)
    case cannotOpen(String)
  }

  private let descriptor: Int32

  /// - Throws: `inUse` while another process holds it.
  public init(path: String) throws(Failure) {
    descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw .cannotOpen("\(path): \(String(cString: strerror(errno)))") }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      var text = [UInt8](repeating: 0, count: 64)
      let count = max(0, read(descriptor, &text, text.count))
      close(descriptor)
      throw .inUse(by: String(decoding: text[..<count], as: UTF8.self))
    }
    let holder = Array("pid \(getpid())".utf8)
    ftruncate(descriptor, 0)
    write(descriptor, holder, holder.count)
  }

  /// Unlocks before it closes: a child between fork(2) and execve(2) holds a copy of the descriptor for a moment.
  public func release() {
    flock(descriptor, LOCK_UN)
    close(descriptor)
  }
}
