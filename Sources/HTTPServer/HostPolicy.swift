// Which names a client may have used to reach this server. A browser sends the name of the page's own site even when
// that name suddenly resolves to 127.0.0.1 (DNS rebinding), so a server on loopback serves loopback names only.
import ExactText

struct HostPolicy: Sendable {
  private enum Rule: Sendable {
    case all
    case loopbackNames
    /// Without a port: any port will do. With a port: that one only.
    case names(Set<HostAuthority>)
  }

  private let rule: Rule

  /// - Parameter allowed: as `HTTPServerConfiguration.allowedHosts`.
  init(allowed: [String], isLoopbackListener: Bool) {
    if allowed.contains("*") {
      rule = .all
    } else if !allowed.isEmpty {
      rule = .names(Set(allowed.compactMap(HostAuthority.init)))
    } else {
      rule = isLoopbackListener ? .loopbackNames : .all
    }
  }

  /// Judges what a request says of where it goes.
  /// - Parameter authority: empty when it names no host at all (RFC 9112 §3.2).
  /// - Returns: whether it is a loopback name.
  /// - Throws: `Refusal`: 403 for a name that is not served, 400 for what cannot be a name.
  func check(_ authority: String) throws(Refusal) -> Bool {
    let host = HostAuthority(authority)
    if host == nil, !authority.isEmpty { throw Refusal(400, "the host name is malformed") }
    // Loopback names need no list: no page can have one of them as the name of its own site.
    if let host, host.isLoopback { return true }
    switch rule {
    case .all: return false
    case .names(let names):
      guard let host, names.contains(host) || names.contains(host.withoutPort) else { throw .hostNotServed }
      return false
    case .loopbackNames: throw .hostNotServed
    }
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
      guard !authority.isEmpty else { break }
      return authority
    }
    throw Refusal(400, "the request target is neither a path nor an http URL")
  }
}
