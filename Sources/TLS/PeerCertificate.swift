import COpenSSL
import Glibc

/// The certificate that the other end of a connection has shown, with those between it and its authority.
public final class PeerCertificate: Sendable {
  private let leaf: Certificate
  private let chain: Owned

  /// - Returns: `nil` for a connection whose peer has shown none.
  init?(of ssl: OpaquePointer) {
    guard let raw = SSL_get1_peer_certificate(ssl) else { return nil }
    leaf = Certificate(owning: raw)
    chain = Owned(hero_peer_chain(ssl)) { hero_free_chain($0) }
  }

  /// `DNS:node-1.example, IP Address:10.0.0.1`; empty without a subjectAltName.
  public var names: String { leaf.alternativeNames }

  /// Whether it is for that name of DNS (RFC 6125): one of its alternative names, without regard to case; patterns and the
  /// subject do not count.
  public func isFor(_ name: String) -> Bool { leaf.isFor(name) }

  /// Whether the authorities vouch for it now, which may have taken it back since the connection was made.
  public func isBelieved(by authorities: TrustedAuthorities) -> Bool {
    let store = Owned(X509_STORE_new()) { X509_STORE_free($0) }
    authorities.install(inStore: store.raw)
    let context = Owned(X509_STORE_CTX_new()) { X509_STORE_CTX_free($0) }
    defer { OpenSSLErrors.clear() }
    return withExtendedLifetime(store) {
      X509_STORE_CTX_init(context.raw, store.raw, leaf.raw, chain.raw) == 1 && X509_verify_cert(context.raw) == 1
    }
  }
}
