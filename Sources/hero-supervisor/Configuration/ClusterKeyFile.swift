import Glibc

/// A file of keys, one a line.
enum ClusterKeyFile {
  struct Failure: Error {
    let reason: String
    /// Whether the file that was named is not one to write to.
    var isOfUsage = false
  }

  /// Puts a key at the end of the file, or makes the file; on disk (fsync) when it returns. A file that is there keeps
  /// its owner and mode, since the node that reads it may run as another user than whoever changes its keys.
  /// - Returns: how many keys the file has now.
  static func add(_ key: ClusterKey, to path: String) throws(Failure) -> Int {
    let present: FileBytes?
    do throws(FileBytes.Failure) { present = try FileBytes.read(path, limit: 1 << 20) } catch {
      guard error.code == ENOENT else { throw Failure(reason: error.reason, isOfUsage: true) }
      present = nil
    }
    guard let present else {
      try write("\(key.written())\n", to: path, flags: O_CREAT | O_EXCL, at: 0)
      return 1
    }
    let count: Int
    do throws(ClusterKeys.InvalidKeys) {
      count = try ClusterKeys.parse(String(decoding: present.bytes, as: UTF8.self)).count
    } catch {
      throw Failure(reason: "it is no file of keys: \(error.reasons.joined(separator: "; "))", isOfUsage: true)
    }
    let separator = present.bytes.isEmpty || present.bytes.last == UInt8(ascii: "\n") ? "" : "\n"
    try write("\(separator)\(key.written())\n", to: path, flags: O_APPEND, at: present.bytes.count)
    if present.isReadableByOthers {
      StandardStreams.error("warning: \(path) is readable by other users; do `chmod 600 \(path)`\n")
    }
    return count + 1
  }

  /// By one write(2), so that a node which reads the file meanwhile sees the line or does not. A part of a line that the
  /// disk had room for is taken back.
  /// - Parameter end: where the file ends before.
  private static func write(_ text: String, to path: String, flags: Int32, at end: Int) throws(Failure) {
    let descriptor = open(path, O_WRONLY | O_CLOEXEC | flags, 0o600)
    guard descriptor >= 0 else { throw Failure(reason: errorText(errno)) }
    defer { close(descriptor) }
    let bytes = Array(text.utf8)
    let count = Glibc.write(descriptor, bytes, bytes.count)
    guard count == bytes.count, fsync(descriptor) == 0 else {
      let reason = count >= 0 && count < bytes.count ? "the disk is full" : errorText(errno)
      ftruncate(descriptor, end)
      if flags & O_EXCL != 0 { unlink(path) }
      throw Failure(reason: reason)
    }
  }
}
