/// A block of addresses as CIDR notation writes it (RFC 4632; RFC 4291, section 2.3): `10.0.0.0/8`, `fd00::/8`, or one
/// address alone.
public struct AddressRange: Hashable, Sendable, CustomStringConvertible {
  private let address: SocketAddress
  /// Of the address: 4 or 16.
  private let bytes: [UInt8]
  /// How many of the first bits count.
  private let length: Int

  /// - Returns: `nil` for what is none, and for a block whose address has bits behind its length.
  public init?(_ text: String) {
    let parts = text.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    guard parts.count <= 2, let address = try? SocketAddress(host: String(Substring(parts[0])), port: 0) else {
      return nil
    }
    self.address = address
    bytes = address.bytes
    let bits = bytes.count * 8
    guard parts.count == 2 else {
      length = bits
      return
    }
    guard (1...3).contains(parts[1].count), parts[1].allSatisfy({ $0 &- 48 < 10 }),
      let length = Int(Substring(parts[1])), length <= bits
    else { return nil }
    self.length = length
    guard Self.masked(bytes, length) == bytes else { return nil }
  }

  /// Whether an address lies in it, whatever its port; an IPv4 address also where an IPv6 socket writes it.
  public func contains(_ other: SocketAddress) -> Bool {
    let other = other.unmapped.bytes
    return other.count == bytes.count && Self.masked(other, length) == bytes
  }

  public var description: String { length == bytes.count * 8 ? address.host : "\(address.host)/\(length)" }

  /// With all bits behind the first `length` set to 0.
  private static func masked(_ bytes: [UInt8], _ length: Int) -> [UInt8] {
    bytes.enumerated().map { index, byte in
      let kept = min(max(length - index * 8, 0), 8)
      return byte & ~UInt8(truncatingIfNeeded: 0xFF >> kept)
    }
  }
}
