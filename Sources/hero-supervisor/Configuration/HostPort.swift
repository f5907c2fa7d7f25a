import EventLoop
import Glibc

/// An address as the configuration writes it: `127.0.0.1:8082`, `[::1]:8082`, `node-2.example:7946`.
struct HostPort: Hashable, Sendable, CustomStringConvertible {
  /// A name or a numeric address, IPv6 without its brackets.
  let host: String
  let port: UInt16

  init(host: String, port: UInt16) {
    self.host = host
    self.port = port
  }

  /// Parses `HOST:PORT`; `nil` when the host or the port is missing or malformed.
  init?(_ text: String) {
    guard let colon = text.lastIndex(of: ":") else { return nil }
    let digits = text[text.index(after: colon)...]
    guard !digits.isEmpty, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let port = UInt16(digits) else {
      return nil
    }
    var host = text[..<colon]
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = host.dropFirst().dropLast()
      guard Self.isIPv6(String(host)) else { return nil }
    } else {
      guard !host.isEmpty, host.utf8.allSatisfy(Self.isHostByte) else { return nil }
    }
    self.init(host: String(host), port: port)
  }

  var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

  /// Whether only this machine can reach it.
  var isLoopback: Bool {
    if host == "localhost" || host == "::1" { return true }
    return host.hasPrefix("127.") && Self.isIPv4(host)
  }

  /// The address itself.
  /// - Throws: for a name other than `localhost`.
  var socketAddress: SocketAddress {
    get throws(UVError) { try SocketAddress(host: host == "localhost" ? "127.0.0.1" : host, port: port) }
  }

  /// Whether a node can listen on it without asking a name server.
  var isLocalAddress: Bool { host == "localhost" || Self.isIPv4(host) || Self.isIPv6(host) }

  private static func isHostByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"):
      true
    default: false
    }
  }

  private static func isIPv4(_ host: String) -> Bool {
    var address = in_addr()
    return inet_pton(AF_INET, host, &address) == 1
  }

  private static func isIPv6(_ host: String) -> Bool {
    var address = in6_addr()
    return inet_pton(AF_INET6, host, &address) == 1
  }
}
