import ExactText

// Which names a client may have used to reach this server. A browser sends the name of the page's own site even when
// that name suddenly resolves to 127.0.0.1 (DNS rebinding), so a server on loopback serves loopback names only.

struct HostPolicy: Sendable {
  private enum Rule: Sendable {
    case all
    case loopbackNames
    /// In lower case, without a port: any port will do. With a port: that one only.
    case names(Set<ExactText>)
  }

  private let rule: Rule

  /// - Parameter allowed: as `HTTPServerConfiguration.allowedHosts`.
  init(allowed: [String], isLoopbackListener: Bool) {
    if allowed.contains("*") {
      rule = .all
    } else if !allowed.isEmpty {
      rule = .names(Set(allowed.map { ExactText($0.lowercased()) }))
    } else {
      rule = isLoopbackListener ? .loopbackNames : .all
    }
  }

  /// Whether a request for this authority (`name`, `name:port`, `[::1]:port`) is served.
  func allows(_ authority: String) -> Bool {
    switch rule {
    case .all: return true
    case .loopbackNames: return Self.isLoopback(authority)
    case .names(let names):
      let authority = authority.lowercased()
      let name = Self.name(of: authority)
      // Loopback names need no list: no page can have one of them as the name of its own site.
      return Self.isLoopback(authority) || names.contains(ExactText(authority)) || names.contains(ExactText(name))
    }
  }

  /// Refuses what cannot be a name and a port: a list, user information, a path (RFC 9110 §7.2).
  static func check(_ authority: String) throws(Refusal) {
    for byte in authority.utf8 {
      switch byte {
      case 48...57, 65...90, 97...122: continue
      case 45, 46, 58, 91, 93, 95, 126, 37: continue  // - . : [ ] _ ~ %
      default: throw Refusal(400, "the host name is malformed")
      }
    }
  }

  /// The authority without its port and without the dot of a fully qualified name.
  private static func name(of authority: String) -> String {
    var name = authority.utf8[...]
    if name.first == UInt8(ascii: "[") {
      guard let end = name.firstIndex(of: UInt8(ascii: "]")) else { return authority }
      return String(Substring(name[...end]))
    }
    if let colon = name.firstIndex(of: .colon) { name = name[..<colon] }
    if name.last == UInt8(ascii: ".") { name = name.dropLast() }
    return String(Substring(name))
  }

  /// Whether it is a name that only this machine can mean.
  static func isLoopback(_ authority: String) -> Bool {
    let name = name(of: authority.lowercased())
    if name.isExactly("localhost") || name.isExactly("[::1]") { return true }
    // Nothing longer is an address.
    guard name.utf8.count <= 15, name.utf8.starts(with: "127.".utf8) else { return false }
    let parts = name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    return parts.count == 4 && parts.allSatisfy { UInt8(Substring($0)) != nil }
  }

  /// The authority in an absolute-form target (`http://name:port/path`), which overrides `Host` (RFC 9112 §3.2.2);
  /// nil for an origin-form target and for `*`.
  /// - Throws: `Refusal` (400) for a target that is none of the three.
  static func authority(inTarget target: String, method: HTTPMethod) throws(Refusal) -> String? {
    if target.utf8.first == 47 { return nil }
    if target.isExactly("*"), method == .options { return nil }
    for scheme in ["http://", "https://"]
    where target.utf8.prefix(scheme.utf8.count).lazy.map(\.asciiLowercased).elementsEqual(scheme.utf8) {
      let rest = target.utf8.dropFirst(scheme.utf8.count)
      let authority = String(decoding: rest.prefix { $0 != 47 && $0 != 63 }, as: UTF8.self)
      guard !authority.isEmpty, !authority.utf8.contains(UInt8(ascii: "@")) else { break }
      return authority
    }
    throw Refusal(400, "the request target is neither a path nor an http URL")
  }
}
