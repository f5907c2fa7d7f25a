import CDirectories
import Glibc

/// The directory that holds the workspaces of a node's jobs, open for as long as this value lives: whatever is made or
/// removed in it is named relative to the descriptor, and no path leads there a second time.
final class WorkDirectory: Sendable {
  let path: String
  let descriptor: Int32
  /// Which mount it is in. What is mounted below it is none of the node's.
  private let mount: UInt64
  private let device: UInt64

  /// Opens the directory, and makes it when it is missing, with mode 0711 whatever the umask: a job of another user walks
  /// through it to its own.
  /// - Throws: `UnusableWorkDirectory` for a symbolic link (open(2), `O_NOFOLLOW`), for what is no directory, and for one
  ///   that belongs to another user than the node's.
  init(at path: String) throws(UnusableWorkDirectory) {
    func refusal(_ reason: String) -> UnusableWorkDirectory { UnusableWorkDirectory(path: path, reason: reason) }
    guard mkdir(path, 0o711) == 0 || errno == EEXIST else { throw refusal("cannot be made: \(Self.text(errno))") }
    let descriptor = hero_open_directory(AT_FDCWD, path)
    guard descriptor >= 0 else {
      let code = errno
      var status = stat()
      guard lstat(path, &status) == 0, status.st_mode & S_IFMT != S_IFDIR else {
        throw refusal("cannot be opened: \(Self.text(code))")
      }
      let kind = status.st_mode & S_IFMT == S_IFLNK ? "is a symbolic link" : "is not a directory"
      throw refusal("\(kind); remove it, and the node makes a directory there")
    }
    var file = hero_file()
    let code = hero_describe(descriptor, &file) == 0 ? 0 : errno
    guard code == 0, file.owner == geteuid(), fchmod(descriptor, 0o711) == 0 else {
      let code = code == 0 ? errno : code
      close(descriptor)
      guard file.owner == geteuid() else {
        throw refusal("belongs to uid \(file.owner) and not to the node's own, \(geteuid()); remove it, or chown it")
      }
      throw refusal("cannot be used: \(Self.text(code))")
    }
    self.path = path
    self.descriptor = descriptor
    mount = file.mount
    device = file.device
  }

  deinit { close(descriptor) }

  /// Whether an open file lies in the same mount.
  func shares(_ file: hero_file) -> Bool { file.mount == mount && file.device == device }

  /// Opens a directory in it.
  /// - Returns: a descriptor, or -1 with `errno`.
  func open(_ name: FileName) -> Int32 { hero_open_directory(descriptor, name.bytes) }

  /// The names of all entries, in no order.
  /// - Returns: those that could be read; none when the directory is gone.
  func names() -> [FileName] {
    let listing = hero_open_directory(descriptor, ".")
    guard listing >= 0 else { return [] }
    defer { close(listing) }
    let entries = EntryBuffer()
    var names: [FileName] = []
    while entries.read(listing) {
      while let entry = entries.next() { names.append(FileName(copying: entry.name)) }
    }
    return names
  }

  private static func text(_ code: Int32) -> String { String(cString: strerror(code)) }
}

/// Why a directory cannot hold the workspaces of a node.
public struct UnusableWorkDirectory: Error, Hashable, Sendable, CustomStringConvertible {
  public let path: String
  /// Completes "PATH …", and says what to do.
  public let reason: String

  public var description: String { "\(path) \(reason)" }
}

/// Reads the entries of directories by getdents64(2): the names are bytes, and the memory is used again for each directory.
final class EntryBuffer {
  struct Entry {
    /// Valid until the buffer reads again.
    let name: UnsafePointer<CChar>
    let isDirectory: Bool
  }

  private static let size = 32_768
  // Memory that the system fills, and whose names go back to the system as they are.
  private let bytes = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 8)
  private var offset = 0
  private var count = 0

  deinit { bytes.deallocate() }

  /// Reads the next entries of an open directory; `next` answers them.
  /// - Returns: whether there were any; if not, `errno` is 0 at the directory's end.
  func read(_ directory: Int32) -> Bool {
    errno = 0
    offset = 0
    count = max(0, hero_read_entries(directory, bytes, Self.size))
    return count > 0
  }

  /// The next entry that was read, without `.` and `..`.
  func next() -> Entry? {
    // getdents(2), struct linux_dirent64: d_ino, d_off, d_reclen at 16, d_type at 18, d_name from 19 on with its NUL.
    while offset < count {
      let record = bytes + offset
      offset += Int(record.load(fromByteOffset: 16, as: UInt16.self))
      let name = UnsafePointer((record + 19).assumingMemoryBound(to: CChar.self))
      guard strcmp(name, ".") != 0 && strcmp(name, "..") != 0 else { continue }
      return Entry(name: name, isDirectory: record.load(fromByteOffset: 18, as: UInt8.self) == UInt8(DT_DIR))
    }
    return nil
  }
}
