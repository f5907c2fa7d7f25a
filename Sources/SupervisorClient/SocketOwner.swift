import Glibc

/// Whose listener at a unix socket is taken for a node: nothing is sent to another.
public enum SocketOwner {
  /// - Parameter uid: who listens there (unix(7), `SO_PEERCRED`).
  /// - Returns: why that is no node of ours; `nil` when it is the caller's own or root's, or when root calls the node of
  ///   whoever the socket's directory belongs to.
  static func refusal(ofListener uid: UInt32, at path: String) -> String? {
    if uid == 0 || uid == geteuid() { return nil }
    if geteuid() == 0, uid == owner(ofDirectoryOf: path) { return nil }
    return "uid \(uid) listens there, which is neither yours nor root"
  }

  /// The user whose directory a socket lies in; `nil` when that cannot be told.
  public static func owner(ofDirectoryOf path: String) -> UInt32? {
    let end = path.utf8.lastIndex(of: UInt8(ascii: "/"))
    let directory = end.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    var status = stat()
    return stat(directory, &status) == 0 ? status.st_uid : nil
  }
}
