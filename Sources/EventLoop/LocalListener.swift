import CLibUV
import Glibc

/// Accepts connections at a unix socket that its owner alone may connect to.
///
/// The file goes when the listener is closed. One that a killed process left is replaced; one that somebody listens at
/// is not.
public final class LocalListener: SocketListener, @unchecked Sendable {
  // @unchecked: as LoopHandle.

  private let address: LocalAddress
  private let directory: Int32
  private let file: FileIdentity?

  /// - Parameters:
  ///   - path: of any length; its directory must be one that nobody else may write.
  ///   - onConnection: gets each connection, on the loop.
  /// - Throws: `UVError.addressInUse` when somebody listens there, `UVError.notSocket` when something else has the name,
  ///   and what the system refused.
  public static func listen(
    on loop: EventLoop, path: String, backlog: Int32 = 1024, onConnection: @escaping (LocalStream) -> Void
  ) throws(UVError) -> LocalListener {
    let address = LocalAddress(path)
    let directory = try address.openDirectory()
    let descriptor: Int32
    do throws(UVError) { descriptor = try bound(address, directory, backlog) } catch {
      Glibc.close(directory)
      throw error
    }
    let listener = LocalListener(address, directory, descriptor, on: loop) { connection in
      if let stream = try? LocalStream.adopt(connection, on: loop) { onConnection(stream) }
    }
    do throws(UVError) { try listener.start("listen at \(path)") } catch {
      listener.close()
      throw error
    }
    return listener
  }

  private init(
    _ address: LocalAddress, _ directory: Int32, _ descriptor: Int32, on loop: EventLoop,
    _ onAccept: @escaping (Int32) -> Void
  ) {
    self.address = address
    self.directory = directory
    file = FileIdentity(address.name, in: directory)
    super.init(descriptor, on: loop, onAccept)
  }

  override func willClose() {
    super.willClose()
    // Not one that has taken its place.
    if let file, FileIdentity(address.name, in: directory) == file { unlinkat(directory, address.name, 0) }
    Glibc.close(directory)
  }

  /// A socket with its file, listening.
  private static func bound(
    _ address: LocalAddress, _ directory: Int32, _ backlog: Int32
  ) throws(UVError) -> Int32 {
    let operation = "listen at \(address)"
    let descriptor = try LocalAddress.makeSocket()
    do throws(UVError) {
      try removeStale(address, in: directory)
      guard address.withSockaddr(directory, { bind(descriptor, $0, $1) }) == 0 else {
        throw UVError(errno: errno, operation: operation)
      }
      // Nobody can connect before listen(2): until then its mode is what the umask left.
      guard fchmodat(directory, address.name, 0o600, 0) == 0, Glibc.listen(descriptor, backlog) == 0 else {
        let error = errno
        unlinkat(directory, address.name, 0)
        throw UVError(errno: error, operation: operation)
      }
      return descriptor
    } catch {
      Glibc.close(descriptor)
      throw error
    }
  }

  private static func removeStale(_ address: LocalAddress, in directory: Int32) throws(UVError) {
    guard let file = FileIdentity(address.name, in: directory) else { return }
    guard file.isSocket else { throw UVError(code: UVError.notSocket, operation: "listen at \(address)") }
    let probe = try LocalAddress.makeSocket()
    defer { Glibc.close(probe) }
    switch address.connect(probe) {
    case ECONNREFUSED: unlinkat(directory, address.name, 0)
    default: throw UVError(code: UVError.addressInUse, operation: "listen at \(address)")
    }
  }
}

/// Which file has a name now.
private struct FileIdentity: Equatable {
  let device: UInt
  let inode: UInt
  let isSocket: Bool

  /// `nil` when there is none.
  init?(_ name: String, in directory: Int32) {
    var status = stat()
    guard fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { return nil }
    device = UInt(status.st_dev)
    inode = UInt(status.st_ino)
    isSocket = status.st_mode & S_IFMT == S_IFSOCK
  }
}
