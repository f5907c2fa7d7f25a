import ExactText
import Glibc

/// What `Host`, or the target of a request, says of where it goes: a name or an address, and perhaps a port.
///
/// Read more strictly than RFC 3986, section 3.2.2, allows: a name is made of letters, digits, `-` and `_` between single
/// dots, an address stands in brackets if it is of IPv6, and a port is a number from 1 to 65535. So two programs that
/// look at it cannot see two different hosts.
public struct HostAuthority: Hashable, Sendable {
  /// In lower case, without the dot of a fully qualified name; an IPv6 address without its brackets, in its short form.
  private let name: ExactText
  private let isIPv6: Bool
  private let port: UInt16?
  /// Whether only this machine can be meant: `localhost`, 127.0.0.0/8, `[::1]`.
  let isLoopback: Bool

  /// - Returns: `nil` for what is not of that form, and for nothing at all.
  public init?(_ text: String) {
    let bytes = text.utf8
    // A name has at most 253 characters, and a port 5.
    guard bytes.count <= 262 else { return nil }
    let host: Substring.UTF8View
    let rest: Substring.UTF8View
    if bytes.first == UInt8(ascii: "[") {
      guard let end = bytes.firstIndex(of: UInt8(ascii: "]")) else { return nil }
      host = bytes[bytes.index(after: bytes.startIndex)..<end]
      rest = bytes[bytes.index(after: end)...]
      guard let address = Self.ipv6(String(Substring(host))) else { return nil }
      isIPv6 = true
      name = ExactText(address)
      isLoopback = address.isExactly("::1")
    } else {
      let end = bytes.firstIndex(of: .colon) ?? bytes.endIndex
      host = bytes[..<end]
      rest = bytes[end...]
      guard let name = Self.name(host) else { return nil }
      isIPv6 = false
      self.name = ExactText(name)
      isLoopback = name.isExactly("localhost") || Self.isIPv4Loopback(name)
    }
    guard let colon = rest.first else {
      port = nil
      return
    }
    guard colon == .colon, let number = Self.port(rest.dropFirst()) else { return nil }
    port = number
  }

  private init(_ other: HostAuthority, port: UInt16?) {
    name = other.name
    isIPv6 = other.isIPv6
    isLoopback = other.isLoopback
    self.port = port
  }

  var withoutPort: HostAuthority { HostAuthority(self, port: nil) }

  private static func name(_ bytes: Substring.UTF8View) -> String? {
    let name = bytes.last == UInt8(ascii: ".") ? bytes.dropLast() : bytes
    guard (1...253).contains(name.count) else { return nil }
    let labels = name.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    guard labels.allSatisfy({ (1...63).contains($0.count) && $0.allSatisfy(isOfName) }) else { return nil }
    return String(decoding: name.lazy.map(\.asciiLowercased), as: UTF8.self)
  }

  private static func isOfName(_ byte: UInt8) -> Bool {
    byte.isASCIILetter || byte &- 48 < 10 || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_")
  }

  private static func port(_ digits: Substring.UTF8View) -> UInt16? {
    guard digits.first != UInt8(ascii: "0"), digits.allSatisfy({ $0 &- 48 < 10 }) else { return nil }
    return UInt16(Substring(digits))
  }

  /// inet_pton(3), which reads up to a NUL; no zone.
  private static func ipv6(_ text: String) -> String? {
    var address = in6_addr()
    guard !text.utf8.contains(0), inet_pton(AF_INET6, text, &address) == 1 else { return nil }
    var short = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
    guard inet_ntop(AF_INET6, &address, &short, socklen_t(short.count)) != nil else { return nil }
    return String(decoding: short.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  /// inet_pton(3): four numbers in decimal without leading zeros.
  private static func isIPv4Loopback(_ name: String) -> Bool {
    var address = in_addr()
    return inet_pton(AF_INET, name, &address) == 1 && UInt32(bigEndian: address.s_addr) >> 24 == 127
  }
}
