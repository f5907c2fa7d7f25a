import COpenSSL

/// Why a PEM file of an identity or of authorities is of no use; `reason` completes "<path>: …" and never quotes the file.
public struct InvalidPEM: Error, Hashable, Sendable {
  /// Which of the files.
  public enum Part: Hashable, Sendable { case certificate, key, authorities, revocations }

  public let part: Part
  public let reason: String

  public init(part: Part, reason: String) {
    self.part = part
    self.reason = reason
  }
}

/// What one end proves itself with: a certificate, the certificates between it and its authority, and its private key.
public final class TLSIdentity: Sendable {
  let chain: [Certificate]
  let key: Owned
  var certificate: Certificate { chain[0] }

  /// - Parameters:
  ///   - certificate: PEM: the certificate, then those between it and its authority.
  ///   - key: PEM: the certificate's private key, without a passphrase.
  /// - Throws: what is wrong with either, or that they do not belong together.
  public init(certificate: [UInt8], key: [UInt8]) throws(InvalidPEM) {
    do throws(UnreadablePEM) { chain = try Certificate.all(in: certificate) } catch {
      throw InvalidPEM(part: .certificate, reason: "a certificate in it cannot be read: \(error.reason)")
    }
    guard let first = chain.first else {
      throw InvalidPEM(part: .certificate, reason: "there is no certificate in it (expected PEM: BEGIN CERTIFICATE)")
    }
    self.key = try Self.privateKey(in: key)
    OpenSSLErrors.clear()
    guard X509_check_private_key(first.raw, self.key.raw) == 1 else {
      _ = OpenSSLErrors.take()
      throw InvalidPEM(part: .key, reason: "it is not the key of the certificate (\(first.subject))")
    }
  }

  static func privateKey(in pem: [UInt8]) throws(InvalidPEM) -> Owned {
    OpenSSLErrors.clear()
    if let key = withReader(of: pem, { PEM_read_bio_PrivateKey($0, nil, noPassphrase, nil) }) {
      return Owned(key) { EVP_PKEY_free($0) }
    }
    let errors = OpenSSLErrors.take()
    if errors.contains(ERR_LIB_PEM, PEM_R_BAD_PASSWORD_READ) || errors.contains(ERR_LIB_PEM, PEM_R_BAD_DECRYPT) {
      throw InvalidPEM(
        part: .key, reason: "the key has a passphrase, for which nobody can be asked; store it without one")
    }
    // OpenSSL says of it only that nothing knows it.
    if !pem.contains(Array("PRIVATE KEY-----".utf8)) {
      throw InvalidPEM(part: .key, reason: "there is no private key in it (expected PEM: BEGIN PRIVATE KEY)")
    }
    throw InvalidPEM(part: .key, reason: "the key in it cannot be read: \(errors.text)")
  }

  /// The last second in which the certificate is valid, since 1970.
  public var notAfter: Int64 { certificate.notAfter }
  /// The first second in which it is valid, since 1970.
  public var notBefore: Int64 { certificate.notBefore }
  /// `DNS:node-1.example, IP Address:10.0.0.1`; empty without a subjectAltName.
  public var names: String { certificate.alternativeNames }
  /// Whether one of these is that name of DNS itself.
  public func isFor(_ name: String) -> Bool { certificate.isFor(name) }
  /// `CN = node-1`.
  public var subject: String { certificate.subject }
}
