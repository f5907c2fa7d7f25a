import EventLoop
import Glibc

/// A file that is replaced as a whole.
enum DurableFile {
  /// Replaces a file in one step; it and its name are on the disk (fsync) when this returns. Only its owner may read it.
  /// Blocking.
  static func replace(_ path: String, with bytes: [UInt8]) throws(UVError) {
    let draft = "\(path).new"
    unlink(draft)
    let descriptor = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw UVError(errno: errno, operation: "open \(draft)") }
    defer { close(descriptor) }
    try WholeWrite.write(bytes, to: descriptor, "write \(draft)")
    guard fsync(descriptor) == 0, rename(draft, path) == 0 else {
      throw UVError(errno: errno, operation: "write \(path)")
    }
    let directory = open(path.lastIndex(of: "/").map { String(path[...$0]) } ?? ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard directory >= 0 else { throw UVError(errno: errno, operation: "open the directory of \(path)") }
    defer { close(directory) }
    guard fsync(directory) == 0 else { throw UVError(errno: errno, operation: "fsync the directory of \(path)") }
  }
}
