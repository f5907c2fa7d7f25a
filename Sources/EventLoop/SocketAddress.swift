import CLibUV
import Glibc

/// A numeric IPv4 or IPv6 address with a port, written `127.0.0.1:8082` or `[::1]:8082`.
public struct SocketAddress: Hashable, Sendable, CustomStringConvertible {
  private enum Storage: Hashable, Sendable {
    /// Address and port in network byte order.
    case v4(UInt32, UInt16)
    case v6(UInt64, UInt64, UInt16, scope: UInt32)
  }
  private let storage: Storage

  private init(_ storage: Storage) { self.storage = storage }

  /// - Parameters:
  ///   - host: a numeric address, without brackets.
  ///   - port: 0 lets the system choose.
  /// - Throws: `UVError.invalid` when it is not numeric.
  public init(host: String, port: UInt16) throws(UVError) {
    var v4 = sockaddr_in()
    if uv_ip4_addr(host, Int32(port), &v4) == 0 {
      storage = .v4(v4.sin_addr.s_addr, v4.sin_port)
      return
    }
    var v6 = sockaddr_in6()
    try UVError.check(uv_ip6_addr(host, Int32(port), &v6), "read the address \"\(host)\"")
    storage = Self.storage(v6)
  }

  /// From `HOST:PORT`, numeric.
  public init(parsing text: String) throws(UVError) {
    let failure = UVError(code: UVError.invalid, operation: "read the address \"\(text)\"")
    guard let colon = text.lastIndex(of: ":") else { throw failure }
    let digits = text[text.index(after: colon)...]
    // Int's reading would also allow a sign.
    guard digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }), let port = UInt16(digits)
    else { throw failure }
    var host = text[..<colon]
    if host.first == "[" && host.last == "]" {
      host = host.dropFirst().dropLast()
    } else if host.contains(":") {
      throw failure
    }
    do { try self.init(host: String(host), port: port) } catch { throw failure }
  }

  init?(_ address: UnsafePointer<sockaddr>?) {
    guard let address else { return nil }
    let raw = UnsafeRawPointer(address)
    switch Int32(address.pointee.sa_family) {
    case AF_INET:
      let v4 = raw.loadUnaligned(as: sockaddr_in.self)
      storage = .v4(v4.sin_addr.s_addr, v4.sin_port)
    case AF_INET6: storage = Self.storage(raw.loadUnaligned(as: sockaddr_in6.self))
    default: return nil
    }
  }

  /// From a call in the manner of getsockname(2): fills in the address, answers 0 if it could.
  init?(_ name: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<Int32>) -> Int32) {
    var memory = sockaddr_storage()
    var size = Int32(MemoryLayout<sockaddr_storage>.size)
    let address = withUnsafeMutableBytes(of: &memory) { bytes -> SocketAddress? in
      let address = bytes.baseAddress!.assumingMemoryBound(to: sockaddr.self)
      return name(address, &size) == 0 ? SocketAddress(address) : nil
    }
    guard let address else { return nil }
    self = address
  }

  private static func storage(_ v6: sockaddr_in6) -> Storage {
    withUnsafeBytes(of: v6.sin6_addr) {
      .v6(
        $0.loadUnaligned(as: UInt64.self), $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self), v6.sin6_port,
        scope: v6.sin6_scope_id)
    }
  }

  public var port: UInt16 {
    switch storage {
    case .v4(_, let port), .v6(_, _, let port, _): UInt16(bigEndian: port)
    }
  }

  /// The address without port and brackets.
  public var host: String {
    withSockaddr { address in
      var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN) + 1)
      uv_ip_name(address, &text, text.count)
      return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
  }

  /// The bytes of the address as they go over a network: 4 or 16.
  public var bytes: [UInt8] {
    switch storage {
    case .v4(let address, _): withUnsafeBytes(of: address) { Array($0) }
    case .v6(let high, let low, _, _):
      withUnsafeBytes(of: high) { Array($0) } + withUnsafeBytes(of: low) { Array($0) }
    }
  }

  /// In 127.0.0.0/8, or ::1.
  public var isLoopback: Bool {
    switch storage {
    case .v4(let address, _): UInt32(bigEndian: address) >> 24 == 127
    case .v6(let high, let low, _, _): high == 0 && UInt64(bigEndian: low) == 1
    }
  }

  /// In 169.254.0.0/16 or fe80::/10: of no use beyond one wire.
  public var isLinkLocal: Bool {
    switch storage {
    case .v4(let address, _): UInt32(bigEndian: address) >> 16 == 0xA9FE
    case .v6(let high, _, _, _): UInt64(bigEndian: high) >> 54 == 0xFE80 >> 6
    }
  }

  /// An IPv4 address as itself where an IPv6 socket writes it as `::ffff:10.0.0.1` (RFC 4291, §2.5.5.2).
  public var unmapped: SocketAddress {
    guard case .v6(0, let low, let port, _) = storage, UInt64(bigEndian: low) >> 32 == 0xFFFF else { return self }
    return SocketAddress(.v4(UInt32(truncatingIfNeeded: UInt64(bigEndian: low)).bigEndian, port))
  }

  /// The same as a socket that is bound to `own` can send to it.
  public func mapped(for own: SocketAddress) -> SocketAddress {
    guard case .v4(let address, let port) = storage, case .v6 = own.storage else { return self }
    return SocketAddress(.v6(0, (0xFFFF << 32 | UInt64(UInt32(bigEndian: address))).bigEndian, port, scope: 0))
  }

  public var description: String {
    if case .v4 = storage { return "\(host):\(port)" }
    return "[\(host)]:\(port)"
  }

  /// AF_INET or AF_INET6.
  var family: sa_family_t {
    if case .v4 = storage { sa_family_t(AF_INET) } else { sa_family_t(AF_INET6) }
  }

  /// Of what `withSockaddr` passes.
  var sockaddrSize: socklen_t {
    if case .v4 = storage {
      socklen_t(MemoryLayout<sockaddr_in>.size)
    } else {
      socklen_t(MemoryLayout<sockaddr_in6>.size)
    }
  }

  func withSockaddr<Result>(_ body: (UnsafePointer<sockaddr>) -> Result) -> Result {
    var memory = sockaddr_storage()
    return withUnsafeMutableBytes(of: &memory) { bytes in
      switch storage {
      case .v4(let address, let port):
        var v4 = sockaddr_in()
        v4.sin_family = sa_family_t(AF_INET)
        v4.sin_addr.s_addr = address
        v4.sin_port = port
        bytes.storeBytes(of: v4, as: sockaddr_in.self)
      case .v6(let high, let low, let port, let scope):
        var v6 = sockaddr_in6()
        v6.sin6_family = sa_family_t(AF_INET6)
        withUnsafeMutableBytes(of: &v6.sin6_addr) {
          $0.storeBytes(of: high, as: UInt64.self)
          $0.storeBytes(of: low, toByteOffset: 8, as: UInt64.self)
        }
        v6.sin6_port = port
        v6.sin6_scope_id = scope
        bytes.storeBytes(of: v6, as: sockaddr_in6.self)
      }
      return body(bytes.baseAddress!.assumingMemoryBound(to: sockaddr.self))
    }
  }

  /// The addresses of a host name, by getaddrinfo(3) on a thread of its own (`NameLookups`); a numeric address needs no
  /// look-up. Who asks for a name that is being looked up waits for the same answer.
  /// - Throws: libuv's `UV_EAI_…`, mostly `EAI_NONAME` (no such host) or `EAI_AGAIN` (the name server does not answer);
  ///   `UVError.cancelled` when the task is cancelled, at once.
  public static func resolve(host: String, port: UInt16, on loop: EventLoop) async throws(UVError) -> [SocketAddress] {
    if let numeric = try? SocketAddress(host: host, port: port) { return [numeric] }
    var addresses = try await loop.lookups.addresses(of: host).map { $0.with(port: port) }
    // A hosts file may name one of them only; both are this machine (RFC 6761, section 6.3).
    if host.lowercased() == "localhost" {
      for loopback in ["127.0.0.1", "::1"] {
        guard let address = try? SocketAddress(host: loopback, port: port), !addresses.contains(address) else {
          continue
        }
        addresses.append(address)
      }
    }
    return addresses
  }

  private func with(port: UInt16) -> SocketAddress {
    switch storage {
    case .v4(let address, _): SocketAddress(.v4(address, port.bigEndian))
    case .v6(let high, let low, _, let scope): SocketAddress(.v6(high, low, port.bigEndian, scope: scope))
    }
  }
}
