import EventLoop

/// Who sent a request, or stands before who did.
public enum HTTPPeer: Hashable, Sendable, CustomStringConvertible {
  /// Whoever has this address: the client, or a proxy in front of this node.
  case address(SocketAddress)
  /// A process of this user of this machine, over the unix socket.
  case user(uid: UInt32)

  /// Whether the sender is on this machine.
  public var isLoopback: Bool {
    switch self {
    case .address(let address): address.isLoopback
    case .user: true
    }
  }

  /// `127.0.0.1:40112`, or `uid 1000`.
  public var description: String {
    switch self {
    case .address(let address): "\(address)"
    case .user(let uid): "uid \(uid)"
    }
  }
}
