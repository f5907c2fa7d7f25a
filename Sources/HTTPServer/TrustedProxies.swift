import EventLoop

/// The proxies whose word is believed on where a request comes from.
struct TrustedProxies: Sendable {
  /// More than stand before any node; whoever sends more wants the look at them to take long.
  private static let maximumHops = 32

  private let ranges: [AddressRange]

  init(_ ranges: [AddressRange]) { self.ranges = ranges }

  func contains(_ address: SocketAddress) -> Bool { ranges.contains { $0.contains(address) } }

  /// The client of a request that a trusted proxy passed on: each proxy puts the address that it got the request from at
  /// the end of `X-Forwarded-For`, so it is the last one there that is no trusted proxy. What stands before it is the
  /// client's own word.
  /// - Parameter proxy: the peer.
  /// - Returns: with port 0 if the proxy does not say it; the last trusted one if there is no other.
  func client(of headers: HTTPHeaders, from proxy: SocketAddress) -> SocketAddress {
    var last = proxy
    var hops = 0
    for value in headers.values("x-forwarded-for").reversed() {
      for element in value.utf8.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false).reversed() {
        hops += 1
        guard hops <= Self.maximumHops, let address = Self.address(String(Substring(element))) else { return last }
        last = address
        if !contains(address) { return address }
      }
    }
    return last
  }

  /// An address, with or without a port, as proxies write it.
  private static func address(_ text: String) -> SocketAddress? {
    var bytes = text.utf8[...]
    while let first = bytes.first, first.isBlank { bytes = bytes.dropFirst() }
    while let last = bytes.last, last.isBlank { bytes = bytes.dropLast() }
    // The longest is a mapped address in brackets with a port.
    guard bytes.count <= 64 else { return nil }
    if bytes.first == UInt8(ascii: "["), bytes.last == UInt8(ascii: "]") { bytes = bytes.dropFirst().dropLast() }
    let word = String(Substring(bytes))
    return (try? SocketAddress(host: word, port: 0)) ?? (try? SocketAddress(parsing: word))
  }
}
