import CLibUV
import Glibc

/// The path of a unix socket, of any length (unix(7)).
///
/// An address has room for 107 bytes. A longer path is reached through a descriptor of its directory, as
/// `/proc/self/fd/N/NAME`: that needs neither a link nor another working directory, which all threads would share.
struct LocalAddress: CustomStringConvertible {
  static let maximumBytes = 107

  let path: String
  /// Of the directory, `.` for a name alone.
  let directory: String
  let name: String

  init(_ path: String) {
    self.path = path
    let slash = path.utf8.lastIndex(of: UInt8(ascii: "/"))
    name = String(slash.map { path[path.utf8.index(after: $0)...] } ?? path[...])
    directory = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
  }

  var description: String { path }

  /// Opens the directory, only to be named by the descriptor.
  func openDirectory() throws(UVError) -> Int32 {
    let descriptor = open(directory, Int32(HERO_O_PATH) | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw UVError(errno: errno, operation: "open the directory \(directory)") }
    return descriptor
  }

  /// Calls `body` with the address as bind(2) and connect(2) take it.
  /// - Parameter directory: a descriptor of the directory, for a path that is too long.
  /// - Returns: what `body` returned, or -1 with `errno` for a name that is too long even so.
  func withSockaddr(_ directory: Int32, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
    let short = path.utf8.count <= Self.maximumBytes ? path : "/proc/self/fd/\(directory)/\(name)"
    guard short.utf8.count <= Self.maximumBytes, !short.utf8.contains(0) else {
      errno = short.utf8.contains(0) ? EINVAL : ENAMETOOLONG
      return -1
    }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let offset = MemoryLayout<sockaddr_un>.offset(of: \.sun_path)!
    return withUnsafeMutableBytes(of: &address) { bytes in
      UnsafeMutableRawBufferPointer(rebasing: bytes[offset...]).copyBytes(from: short.utf8)
      let size = socklen_t(offset + short.utf8.count + 1)
      return body(bytes.baseAddress!.assumingMemoryBound(to: sockaddr.self), size)
    }
  }

  /// A socket of this family that does not block, closed on exec.
  static func makeSocket() throws(UVError) -> Int32 {
    let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    let descriptor = socket(AF_UNIX, type, 0)
    guard descriptor >= 0 else { throw UVError(errno: errno, operation: "create a socket") }
    return descriptor
  }

  /// Connects a socket; a unix socket does that at once or not at all.
  /// - Returns: 0, or `errno`: `EAGAIN` when the listener's backlog is full.
  func connect(_ descriptor: Int32) -> Int32 {
    var place: Int32 = -1
    if path.utf8.count > Self.maximumBytes {
      do throws(UVError) { place = try openDirectory() } catch { return -error.code }
    }
    defer { if place >= 0 { close(place) } }
    return withSockaddr(place) { Glibc.connect(descriptor, $0, $1) } == 0 ? 0 : errno
  }
}
