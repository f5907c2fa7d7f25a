import CLibUV
import Glibc

extension SocketAddress {
  /// Every address of the machine (0.0.0.0 or ::).
  public var isUnspecified: Bool { host == "0.0.0.0" || host == "::" }

  /// An address at which others reach a socket that is bound to this one: the same, or, when it is bound to every address
  /// of the machine, the first that is not the loopback's and is known beyond its own wire (netdevice(7)). A socket bound
  /// to `::` takes IPv4 as well (ipv6(7), `IPV6_V6ONLY`).
  public func reachable(on loop: EventLoop) -> SocketAddress {
    guard isUnspecified else { return self }
    let own = Self.ofInterfaces.filter { !$0.isLinkLocal }
    let families = family == sa_family_t(AF_INET) ? [AF_INET] : [AF_INET6, AF_INET]
    for wanted in families {
      if let found = own.first(where: { $0.family == sa_family_t(wanted) }),
        let reachable = try? SocketAddress(host: found.host, port: port)
      {
        return reachable
      }
    }
    return (try? SocketAddress(host: family == sa_family_t(AF_INET) ? "127.0.0.1" : "::1", port: port)) ?? self
  }

  /// Addresses of the interfaces that are up, the loopback left out.
  private static var ofInterfaces: [SocketAddress] {
    var list: UnsafeMutablePointer<uv_interface_address_t>?
    var count: Int32 = 0
    guard uv_interface_addresses(&list, &count) == 0, let list else { return [] }
    defer { uv_free_interface_addresses(list, count) }
    return UnsafeBufferPointer(start: list, count: Int(count)).filter { $0.is_internal == 0 }.compactMap { interface in
      var address = interface.address
      return withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { SocketAddress($0) }
      }
    }
  }
}
