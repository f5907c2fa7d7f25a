import EventLoop
import Glibc

/// Writes files that are complete on disk (fsync) under their name, or not there.
enum AtomicFile {
  /// Puts a file in the place of what may be there.
  /// - Parameters:
  ///   - mode: of the new file, whatever umask(2) says.
  ///   - replaces: without it, a file that is there already stays, and the call fails with `EEXIST`.
  static func write(_ bytes: [UInt8], to path: String, mode: mode_t, replaces: Bool) throws(FileBytes.Failure) {
    let draft = "\(path).new"
    unlink(draft)
    let descriptor = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw FileBytes.Failure(path: path, reason: errorText(errno), code: errno) }
    let writeError = write(bytes, to: descriptor, mode: mode)
    let isWritten = writeError == 0
    close(descriptor)
    // link(2) fails where rename(2) would replace.
    let isNamed = isWritten && (replaces ? rename(draft, path) : link(draft, path)) == 0
    let code = isWritten ? errno : writeError
    if !isNamed || !replaces { unlink(draft) }
    guard isNamed else { throw FileBytes.Failure(path: path, reason: errorText(code), code: code) }
    syncDirectory(of: path)
  }

  /// - Returns: an errno(3), or 0.
  private static func write(_ bytes: [UInt8], to descriptor: Int32, mode: mode_t) -> Int32 {
    do throws(UVError) { try WholeWrite.write(bytes, to: descriptor, "") } catch { return -error.code }
    return fchmod(descriptor, mode) == 0 && fsync(descriptor) == 0 ? 0 : errno
  }

  private static func syncDirectory(of path: String) {
    let directory = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
    let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    fsync(descriptor)
    close(descriptor)
  }
}
