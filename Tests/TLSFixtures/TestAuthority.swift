import TLS

/// An authority of one test, and what it issues.
public struct TestAuthority: Sendable {
  public let authority: CertificateAuthority
  public var pem: [UInt8] { authority.certificatePEM }

  public init(named name: String = "Test authority") { authority = CertificateAuthority(named: name, days: 30) }

  /// What a server at `localhost` and 127.0.0.1 proves itself with.
  /// - Parameter days: below 0 for one that has expired.
  public func node(_ name: String = "node-1", names: [String] = ["localhost"], days: Int = 10) throws
    -> CertificateAuthority.Issued
  {
    try authority.issue(name, for: .node(names: names, addresses: ["127.0.0.1"]), days: days)
  }

  public func client(_ name: String = "client-1") throws -> CertificateAuthority.Issued {
    try authority.issue(name, for: .client, days: 10)
  }

  public func trusted(revocations: [UInt8]? = nil) throws -> TrustedAuthorities {
    try TrustedAuthorities(pem: pem, revocations: revocations)
  }

  /// A server's context with a certificate of this authority.
  public func server(_ issued: CertificateAuthority.Issued? = nil, clients: TrustedAuthorities? = nil) throws
    -> TLSContext
  {
    try TLSContext.server(try (issued ?? node()).identity, clients: clients)
  }
}

extension CertificateAuthority.Issued {
  public var identity: TLSIdentity {
    get throws { try TLSIdentity(certificate: certificate, key: key) }
  }
}
