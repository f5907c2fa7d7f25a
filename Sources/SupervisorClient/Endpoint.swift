/// Where a node's API is: `host:port`, `host`, `[::1]:8082`, `http://host:port/path`, `https://host:port/path` for TLS, or,
/// for a node of this machine, `unix:PATH` of its socket.
public struct Endpoint: Hashable, Sendable, CustomStringConvertible {
  /// The port of the API unless another is named.
  public static let defaultPort: UInt16 = 8082

  /// A name or a numeric address, without brackets.
  public let host: String
  public let port: UInt16
  /// The path that takes JSON-RPC; `/` unless another is named.
  public let path: String
  /// The path of a unix socket; `nil` for TCP.
  public let socket: String?
  /// Whether it is called by TLS.
  public let isSecure: Bool

  public init(
    host: String, port: UInt16 = Endpoint.defaultPort, path: String = "/", isSecure: Bool = false
  ) {
    self.isSecure = isSecure
    self.host = host
    self.port = port
    self.path = path
    socket = nil
  }

  /// A node of this machine, by the unix socket in its data directory.
  /// - Parameter socket: a path of any length.
  public init(socket: String) {
    host = "localhost"
    port = 0
    path = "/"
    isSecure = false
    self.socket = socket
  }

  /// Reads an endpoint as people write it.
  /// - Throws: `EndpointError`, whose description says what is wrong.
  public init(parsing text: String) throws(EndpointError) {
    if text.hasPrefix("unix:") {
      let path = String(text.dropFirst(5))
      guard !path.isEmpty, !path.utf8.contains(0) else {
        throw EndpointError(text: text, reason: "the path is missing")
      }
      host = "localhost"
      port = 0
      self.path = "/"
      isSecure = false
      socket = path
      return
    }
    var rest = Substring(text)
    socket = nil
    var scheme = "http"
    if let separator = rest.range(ofFirst: "://") {
      scheme = rest[..<separator.lowerBound].lowercased()
      guard scheme == "http" || scheme == "https" else {
        throw EndpointError(text: text, reason: "only http:// and https:// are spoken")
      }
      rest = rest[separator.upperBound...]
    }
    isSecure = scheme == "https"
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

  /// As it is written: `host:port`, with brackets around an IPv6 address, `https://host:port`, or `unix:PATH`.
  public var description: String {
    socket.map { "unix:\($0)" } ?? (isSecure ? "https://" : "") + Self.authority(host, port)
  }

  /// The value of the Host field.
  public var authority: String { socket == nil ? Self.authority(name, port) : host }

  /// The host as its node knows it: without the zone of an address, which says through which interface this machine
  /// reaches it and means nothing elsewhere (RFC 6874, section 4).
  public var name: String {
    guard host.contains(":"), let zone = host.firstIndex(of: "%") else { return host }
    return String(host[..<zone])
  }

  private static func authority(_ host: String, _ port: UInt16) -> String {
    host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
  }
}

/// A text that is no endpoint.
public struct EndpointError: Error, Hashable, Sendable, CustomStringConvertible {
  public let text: String
  public let reason: String
  public var description: String {
    "\"\(text)\" is not an endpoint (HOST:PORT, http://HOST:PORT/, https://HOST:PORT/ or unix:PATH): \(reason)"
  }
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
