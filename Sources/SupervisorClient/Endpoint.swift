/// Where a node's API is: `host:port`, `host`, `[::1]:8082` or `http://host:port/path`.
public struct Endpoint: Hashable, Sendable, CustomStringConvertible {
  /// The port of the API unless another is named.
  public static let defaultPort: UInt16 = 8082

  /// A name or a numeric address, without brackets.
  public let host: String
  public let port: UInt16
  /// The path that takes JSON-RPC; `/` unless another is named.
  public let path: String

  public init(host: String, port: UInt16 = Endpoint.defaultPort, path: String = "/") {
    self.host = host
    self.port = port
    self.path = path
  }

  /// Reads an endpoint as people write it.
  /// - Throws: `EndpointError`, whose description says what is wrong.
  public init(parsing text: String) throws(EndpointError) {
    var rest = Substring(text)
    if let scheme = rest.range(ofFirst: "://") {
      guard rest[..<scheme.lowerBound].lowercased() == "http" else {
        throw EndpointError(text: text, reason: "only http:// is spoken")
      }
      rest = rest[scheme.upperBound...]
    }
    let slash = rest.firstIndex(of: "/") ?? rest.endIndex
    path = slash == rest.endIndex ? "/" : String(rest[slash...])
    let authority = rest[..<slash]
    guard path.utf8.allSatisfy({ $0 > 32 && $0 < 127 }) else {
      throw EndpointError(text: text, reason: "the path has a character that must be percent-encoded")
    }

    let portText: Substring?
    if authority.first == "[" {
      guard let end = authority.firstIndex(of: "]") else { throw EndpointError(text: text, reason: "\"]\" is missing") }
      host = String(authority[authority.index(after: authority.startIndex)..<end])
      let after = authority[authority.index(after: end)...]
      guard after.isEmpty || after.first == ":" else {
        throw EndpointError(text: text, reason: "only a port may follow \"]\"")
      }
      portText = after.isEmpty ? nil : after.dropFirst()
    } else if let colon = authority.firstIndex(of: ":") {
      host = String(authority[..<colon])
      portText = authority[authority.index(after: colon)...]
    } else {
      host = String(authority)
      portText = nil
    }
    let isValid = host.utf8.allSatisfy { $0 > 32 && $0 < 127 && $0 != UInt8(ascii: "@") }
    guard !host.isEmpty, isValid else { throw EndpointError(text: text, reason: "the host is missing or malformed") }
    guard let portText else {
      port = Self.defaultPort
      return
    }
    guard let number = UInt16(portText), number > 0 else {
      throw EndpointError(text: text, reason: "the port must be a number from 1 to 65535")
    }
    port = number
  }

  /// `host:port`, with brackets around an IPv6 address: also the value of the Host field.
  public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// A text that is no endpoint.
public struct EndpointError: Error, Hashable, Sendable, CustomStringConvertible {
  public let text: String
  public let reason: String
  public var description: String { "\"\(text)\" is not an endpoint (HOST:PORT or http://HOST:PORT/): \(reason)" }
}

extension Substring {
  fileprivate func range(ofFirst word: String) -> Range<Index>? {
    var start = startIndex
    while start < endIndex {
      if self[start...].hasPrefix(word) { return start..<index(start, offsetBy: word.count) }
      start = index(after: start)
    }
    return nil
  }
}
