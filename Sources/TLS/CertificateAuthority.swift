import COpenSSL
import Glibc

/// An authority of one's own: it signs certificates for nodes and clients, and takes them back. Keys are ECDSA on P-256.
public struct CertificateAuthority: Sendable {
  /// Why it does not do what it was asked for, as a sentence.
  public struct Refusal: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String
  }

  /// What a certificate is for.
  public enum Purpose: Hashable, Sendable {
    /// A node is reached by these names and numeric addresses; it may also be a client, of its peers.
    case node(names: [String], addresses: [String])
    case client
  }

  /// A certificate with its key, in PEM.
  public struct Issued: Sendable {
    public let certificate: [UInt8]
    public let key: [UInt8]
    /// In hexadecimal digits; no other certificate has it.
    public let serial: String
    /// The last second in which it is valid, since 1970.
    public let notAfter: Int64
  }

  private let certificate: Certificate
  private let key: Owned

  /// How far the clock of another machine may be behind that of this one, in seconds.
  private static let clockSkew = 3600
  private static let secondsOfDay = 86_400

  /// A new authority.
  /// - Parameters:
  ///   - name: for people; it should not be the name of another authority, also of an earlier one.
  ///   - days: how long it is valid.
  public init(named name: String, days: Int) {
    let key = Owned(hero_new_p256_key()) { EVP_PKEY_free($0) }
    let certificate = Self.draft(subject: name, key: key, days: days)
    X509_set_issuer_name(certificate.raw, X509_get_subject_name(certificate.raw))
    Self.add(
      [
        // It signs certificates of nodes and clients, and none of another authority.
        (NID_basic_constraints, "critical,CA:TRUE,pathlen:0"), (NID_key_usage, "critical,keyCertSign,cRLSign"),
        (NID_subject_key_identifier, "hash"),
      ], to: certificate, issuer: certificate)
    Self.sign(certificate, by: key)
    self.certificate = certificate
    self.key = key
  }

  /// An authority that was made before.
  /// - Parameters:
  ///   - certificate: PEM.
  ///   - key: PEM.
  public init(certificate: [UInt8], key: [UInt8]) throws(InvalidPEM) {
    let identity = try TLSIdentity(certificate: certificate, key: key)
    guard X509_check_ca(identity.certificate.raw) == 1 else {
      throw InvalidPEM(part: .certificate, reason: "it is not the certificate of an authority (\(identity.subject))")
    }
    self.certificate = identity.certificate
    self.key = identity.key
  }

  public var certificatePEM: [UInt8] { certificate.pem }
  public var keyPEM: [UInt8] { Self.pem(of: key) }
  /// The last second in which it is valid, since 1970.
  public var notAfter: Int64 { certificate.notAfter }

  // MARK: Certificates

  /// Signs a certificate for a new key.
  /// - Parameters:
  ///   - name: of the node or the client, for people, of at most 64 bytes.
  ///   - days: how long it is valid, but never longer than the authority.
  /// - Throws: for a purpose's name or address that is none, and when the authority has expired.
  public func issue(_ name: String, for purpose: Purpose, days: Int) throws(Refusal) -> Issued {
    let key = Owned(hero_new_p256_key()) { EVP_PKEY_free($0) }
    let certificate = Self.draft(subject: name, key: key, days: days)
    guard notAfter > Int64(time(nil)) else { throw Refusal(description: "the authority itself has expired") }
    if certificate.notAfter > notAfter {
      X509_set1_notAfter(certificate.raw, X509_get0_notAfter(self.certificate.raw))
    }
    X509_set_issuer_name(certificate.raw, X509_get_subject_name(self.certificate.raw))
    var entries = [
      (NID_basic_constraints, "critical,CA:FALSE"), (NID_key_usage, "critical,digitalSignature"),
      (NID_ext_key_usage, "clientAuth"), (NID_subject_key_identifier, "hash"),
      (NID_authority_key_identifier, "keyid"),
    ]
    if case .node(let names, let addresses) = purpose {
      for name in names where !Self.isHostName(name) {
        throw Refusal(description: "\"\(name)\" is not the name of a host")
      }
      entries[2].1 = "serverAuth,clientAuth"
      let all = names.map { "DNS:\($0)" } + addresses.map { "IP:\($0)" }
      entries.append((NID_subject_alt_name, all.joined(separator: ",")))
    }
    guard Self.add(entries, to: certificate, issuer: self.certificate) else {
      throw Refusal(description: "OpenSSL does not take one of its names or addresses")
    }
    Self.sign(certificate, by: self.key)
    return Issued(
      certificate: certificate.pem, key: Self.pem(of: key), serial: Self.serial(of: certificate),
      notAfter: certificate.notAfter)
  }

  /// A name of DNS: labels of letters, digits, `-` and `_`; the first may be `*`. So nothing of it can be taken for something
  /// else by who reads the names of a certificate.
  private static func isHostName(_ name: String) -> Bool {
    guard (1...253).contains(name.utf8.count) else { return false }
    let labels = name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    return labels.enumerated().allSatisfy { place, label in
      if place == 0, labels.count > 2, label.elementsEqual("*".utf8) { return true }
      return (1...63).contains(label.count)
        && label.allSatisfy { byte in
          switch byte {
          case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
            true
          default: false
          }
        }
    }
  }

  private static func draft(subject: String, key: Owned, days: Int) -> Certificate {
    let certificate = Certificate(owning: X509_new())
    X509_set_version(certificate.raw, 2)
    let number = Owned(BN_new()) { BN_free($0) }
    // 127 random bits, never 0.
    BN_rand(number.raw, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY)
    BN_to_ASN1_INTEGER(number.raw, X509_get_serialNumber(certificate.raw))
    X509_gmtime_adj(X509_getm_notBefore(certificate.raw), -clockSkew)
    X509_gmtime_adj(X509_getm_notAfter(certificate.raw), days * secondsOfDay)
    X509_NAME_add_entry_by_txt(
      X509_get_subject_name(certificate.raw), "CN", MBSTRING_FLAG, Array(subject.utf8), Int32(subject.utf8.count), -1, 0
    )
    X509_set_pubkey(certificate.raw, key.raw)
    return certificate
  }

  @discardableResult
  private static func add(_ entries: [(Int32, String)], to certificate: Certificate, issuer: Certificate) -> Bool {
    var context = X509V3_CTX()
    X509V3_set_ctx(&context, issuer.raw, certificate.raw, nil, nil, 0)
    for (kind, value) in entries {
      OpenSSLErrors.clear()
      guard let entry = X509V3_EXT_nconf_nid(nil, &context, kind, value) else { return false }
      X509_add_ext(certificate.raw, entry, -1)
      X509_EXTENSION_free(entry)
    }
    return true
  }

  private static func sign(_ certificate: Certificate, by key: Owned) {
    precondition(X509_sign(certificate.raw, key.raw, EVP_sha256()) > 0, "ECDSA failed")
  }

  private static func pem(of key: Owned) -> [UInt8] {
    written { PEM_write_bio_PrivateKey($0, key.raw, nil, nil, 0, nil, nil) }
  }

  private static func serial(of certificate: Certificate) -> String {
    let number = Owned(ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate.raw), nil)) { BN_free($0) }
    let digits = BN_bn2hex(number.raw)
    defer { CRYPTO_free(digits, "", 0) }
    return digits.map { String(cString: $0) } ?? ""
  }

  // MARK: Revocation

  /// A revocation list (RFC 5280, section 5) that is valid as long as the authority: who reads it need not be told of a new
  /// one in time, but of a revocation.
  /// - Parameters:
  ///   - serials: certificates to take back, in hexadecimal digits.
  ///   - previous: PEM: the list so far, whose certificates stay taken back.
  /// - Returns: PEM; how many of the certificates were not on the list before.
  public func revocationList(
    adding serials: [String] = [], to previous: [UInt8]? = nil
  ) throws(InvalidPEM) -> (pem: [UInt8], added: Int) {
    let list = try Self.copy(of: previous)
    X509_CRL_set_version(list.raw, 1)
    X509_CRL_set_issuer_name(list.raw, X509_get_subject_name(certificate.raw))
    let now = ASN1_TIME_set(nil, time(nil))
    defer { ASN1_STRING_free(now) }
    // As a certificate's: a reader whose clock is a little behind would take it for a list of the future, and believe nobody.
    let begin = ASN1_TIME_set(nil, time(nil) - Self.clockSkew)
    defer { ASN1_STRING_free(begin) }
    X509_CRL_set1_lastUpdate(list.raw, begin)
    X509_CRL_set1_nextUpdate(list.raw, X509_get0_notAfter(certificate.raw))
    renumber(list)
    var added = 0
    for serial in serials where Self.revoke(serial, in: list, at: now) { added += 1 }
    X509_CRL_sort(list.raw)
    precondition(X509_CRL_sign(list.raw, key.raw, EVP_sha256()) > 0, "ECDSA failed")
    return (written { PEM_write_bio_X509_CRL($0, list.raw) }, added)
  }

  private static func copy(of previous: [UInt8]?) throws(InvalidPEM) -> Owned {
    guard let previous else { return Owned(X509_CRL_new()) { X509_CRL_free($0) } }
    OpenSSLErrors.clear()
    guard let list = withReader(of: previous, { PEM_read_bio_X509_CRL($0, nil, noPassphrase, nil) }) else {
      throw InvalidPEM(
        part: .revocations, reason: "the revocation list in it cannot be read: \(OpenSSLErrors.take().text)")
    }
    return Owned(list) { X509_CRL_free($0) }
  }

  /// Gives the list the number after that of the one before (section 5.2.3).
  private func renumber(_ list: Owned) {
    var number: Int64 = 0
    if let raw = X509_CRL_get_ext_d2i(list.raw, NID_crl_number, nil, nil) {
      let integer = raw.assumingMemoryBound(to: ASN1_INTEGER.self)
      ASN1_INTEGER_get_int64(&number, integer)
      ASN1_INTEGER_free(integer)
    }
    let next = ASN1_INTEGER_new()
    defer { ASN1_INTEGER_free(next) }
    ASN1_INTEGER_set_int64(next, number + 1)
    X509_CRL_add1_ext_i2d(list.raw, NID_crl_number, next, 0, UInt(X509V3_ADD_REPLACE))
    guard X509_CRL_get_ext_by_NID(list.raw, NID_authority_key_identifier, -1) < 0 else { return }
    var context = X509V3_CTX()
    X509V3_set_ctx(&context, certificate.raw, nil, nil, list.raw, 0)
    guard let entry = X509V3_EXT_nconf_nid(nil, &context, NID_authority_key_identifier, "keyid") else { return }
    X509_CRL_add_ext(list.raw, entry, -1)
    X509_EXTENSION_free(entry)
  }

  private static func revoke(
    _ serial: String, in list: Owned, at now: UnsafeMutablePointer<ASN1_TIME>?
  ) -> Bool {
    var number: OpaquePointer?
    guard BN_hex2bn(&number, serial) > 0 else { return false }
    let owned = Owned(number) { BN_free($0) }
    let integer = BN_to_ASN1_INTEGER(owned.raw, nil)
    defer { ASN1_INTEGER_free(integer) }
    var found: OpaquePointer?
    guard X509_CRL_get0_by_serial(list.raw, &found, integer) == 0, let entry = X509_REVOKED_new() else { return false }
    X509_REVOKED_set_serialNumber(entry, integer)
    X509_REVOKED_set_revocationDate(entry, now)
    X509_CRL_add0_revoked(list.raw, entry)
    return true
  }
}
