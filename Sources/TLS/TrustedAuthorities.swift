import COpenSSL

/// Whose certificates are believed: authorities, and what they have taken back.
public final class TrustedAuthorities: Sendable {
  let authorities: [Certificate]
  let revocations: [Owned]

  /// - Parameters:
  ///   - pem: PEM: one or more certificates of authorities.
  ///   - revocations: PEM: their revocation lists. With any, each certificate is looked up in the list of its authority, and
  ///     refused when there is none or it is out of date.
  public init(pem: [UInt8], revocations: [UInt8]? = nil) throws(InvalidPEM) {
    do throws(UnreadablePEM) { authorities = try Certificate.all(in: pem) } catch {
      throw InvalidPEM(part: .authorities, reason: "a certificate in it cannot be read: \(error.reason)")
    }
    guard !authorities.isEmpty else {
      throw InvalidPEM(part: .authorities, reason: "there is no certificate in it (expected PEM: BEGIN CERTIFICATE)")
    }
    guard let revocations else {
      self.revocations = []
      return
    }
    do throws(UnreadablePEM) {
      self.revocations = try readAll(revocations) { PEM_read_bio_X509_CRL($0, nil, noPassphrase, nil) }.map {
        Owned($0) { X509_CRL_free($0) }
      }
    } catch {
      throw InvalidPEM(part: .revocations, reason: "a revocation list in it cannot be read: \(error.reason)")
    }
    guard !self.revocations.isEmpty else {
      throw InvalidPEM(part: .revocations, reason: "there is no revocation list in it (expected PEM: BEGIN X509 CRL)")
    }
  }

  /// Why a revocation list is not in force at a time, since 1970 in seconds, if so. Nobody whom its authority vouches for is
  /// believed then (RFC 5280, section 6.3.3).
  public func revocationsOutOfForce(at now: Int64) -> String? {
    for list in revocations {
      var second = time_t(now)
      if X509_cmp_time(X509_CRL_get0_lastUpdate(list.raw), &second) > 0 {
        return "the revocation list begins later than now; compare the clocks of this machine and the authority's"
      }
      if let end = X509_CRL_get0_nextUpdate(list.raw), X509_cmp_time(end, &second) < 0 {
        return "the revocation list is out of date; get the authority's present one"
      }
    }
    return nil
  }

  /// Has a context believe them, and nobody else.
  func install(in context: OpaquePointer) {
    install(inStore: SSL_CTX_get_cert_store(context))
  }

  func install(inStore store: OpaquePointer?) {
    for authority in authorities { X509_STORE_add_cert(store, authority.raw) }
    for list in revocations { X509_STORE_add_crl(store, list.raw) }
    if !revocations.isEmpty { X509_STORE_set_flags(store, UInt(X509_V_FLAG_CRL_CHECK)) }
  }
}
