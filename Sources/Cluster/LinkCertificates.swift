import TLS

/// What a node shows to its peers, and whom it believes, where peer links are made by certificates.
///
/// Constant; whoever reads the files again makes another one.
public final class LinkCertificates: Sendable {
  let listener: TLSContext
  let dialler: TLSContext
  let authorities: TrustedAuthorities

  /// - Parameters:
  ///   - identity: of this node; others look for its name in it.
  ///   - authorities: the cluster's.
  /// - Throws: for a certificate that is of no use for TLS.
  public init(_ identity: TLSIdentity, authorities: TrustedAuthorities) throws(InvalidPEM) {
    self.authorities = authorities
    listener = try .server(identity, peers: authorities, protocols: LinkSecurity.protocols)
    dialler = try .client(identity, peers: authorities, protocols: LinkSecurity.protocols)
  }
}

/// How the other end of a link has shown that it is a member.
enum LinkProof: Sendable {
  /// By a key of the ring, of which this is the identity.
  case key([UInt8])
  case certificate(PeerCertificate)
}
