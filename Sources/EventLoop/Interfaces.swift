import CLibUV
import Glibc

extension SocketAddress {
  /// Every address of the machine (0.0.0.0 or ::).
  public var isUnspecified: Bool { host == "0.0.0.0" || host == "::" }

  /// An address at which others reach a socket that is bound to this one: the same, or, when it is bound to every address
  /// of the machine, the first that is not the loopback's (netdevice(7)).
  public func reachable(on loop: EventLoop) -> SocketAddress {
    guard isUnspecified else { return self }
    var list: UnsafeMutablePointer<uv_interface_address_t>?
    var count: Int32 = 0
    guard uv_interface_addresses(&list, &count) == 0, let list else { return self }
    defer { uv_free_interface_addresses(list, count) }
    let wanted = Int32(family)
    for interface in UnsafeBufferPointer(start: list, count: Int(count)) where interface.is_internal == 0 {
      var address = interface.address
      let found = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          Int32($0.pointee.sa_family) == wanted ? SocketAddress($0) : nil
        }
      }
      if let found, let reachable = try? SocketAddress(host: found.host, port: port) { return reachable }
    }
    let loopback = wanted == AF_INET ? "127.0.0.1" : "::1"
    return (try? SocketAddress(host: loopback, port: port)) ?? self
  }
}
