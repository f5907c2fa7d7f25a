import COpenSSL

/// What the peer of one connection has shown of itself: a key, or what was wrong with its certificate. OpenSSL forgets a
/// certificate that does not convince, and an operator needs its names; so they are kept while it is looked at.
final class PeerProof {
  /// The name or address that was called, at a client.
  let wanted: String
  /// The first thing that was wrong.
  private(set) var distrust: TLSError.Distrust?
  /// Of the key that both ends are about to use, or used.
  var keyIdentity: [UInt8]?

  init(wanted: String) { self.wanted = wanted }

  /// Has OpenSSL find this object for a connection, which must not outlive it.
  func attach(to ssl: OpaquePointer) {
    SSL_set_ex_data(ssl, 0, Unmanaged.passUnretained(self).toOpaque())
  }

  static func of(_ ssl: OpaquePointer) -> PeerProof? {
    SSL_get_ex_data(ssl, 0).map { Unmanaged<PeerProof>.fromOpaque($0).takeUnretainedValue() }
  }

  /// SSL_CTX_set_verify(3); the verdict stays OpenSSL's.
  static let callback: @convention(c) (Int32, OpaquePointer?) -> Int32 = { verdict, context in
    guard verdict == 0, let ssl = X509_STORE_CTX_get_ex_data(context, SSL_get_ex_data_X509_STORE_CTX_idx())
    else { return verdict }
    PeerProof.of(OpaquePointer(ssl))?.refused(context)
    return verdict
  }

  private func refused(_ context: OpaquePointer?) {
    guard distrust == nil else { return }
    let certificate = X509_STORE_CTX_get_current_cert(context).map { raw in
      X509_up_ref(raw)
      return Certificate(owning: raw)
    }
    let code = X509_STORE_CTX_get_error(context)
    distrust =
      switch code {
      case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH:
        .wrongName(wanted: wanted, names: certificate?.alternativeNames ?? "")
      case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
        X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
        X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_CERT_UNTRUSTED:
        .unknownAuthority(issuer: certificate?.issuer ?? "")
      case X509_V_ERR_CERT_HAS_EXPIRED: .expired
      case X509_V_ERR_CERT_NOT_YET_VALID: .notYetValid
      case X509_V_ERR_CERT_REVOKED: .revoked
      default: .other(String(cString: X509_verify_cert_error_string(Int(code))))
      }
  }
}
