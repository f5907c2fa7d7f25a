import COpenSSL
import Glibc

/// One X.509 certificate (RFC 5280).
struct Certificate: Sendable {
  let owned: Owned
  var raw: OpaquePointer { owned.raw }

  /// - Parameter raw: taken over.
  init(owning raw: OpaquePointer?) { owned = Owned(raw) { X509_free($0) } }

  /// All certificates of a PEM file (RFC 7468), in its order; blocks of other kinds are passed over.
  /// - Throws: OpenSSL's words for a block that is no certificate.
  static func all(in pem: [UInt8]) throws(UnreadablePEM) -> [Certificate] {
    try readAll(pem) { PEM_read_bio_X509($0, nil, noPassphrase, nil) }.map(Certificate.init(owning:))
  }

  var pem: [UInt8] { written { PEM_write_bio_X509($0, raw) } }

  /// The last second in which it is valid, since 1970.
  var notAfter: Int64 { seconds(X509_get0_notAfter(raw)) }
  /// The first second in which it is valid, since 1970.
  var notBefore: Int64 { seconds(X509_get0_notBefore(raw)) }

  /// `CN = node-1`.
  var subject: String { Self.text(of: X509_get_subject_name(raw)) }
  var issuer: String { Self.text(of: X509_get_issuer_name(raw)) }

  /// `DNS:node-1.example, IP Address:10.0.0.1`; empty without a subjectAltName.
  var alternativeNames: String {
    let place = X509_get_ext_by_NID(raw, NID_subject_alt_name, -1)
    guard place >= 0, let entry = X509_get_ext(raw, place) else { return "" }
    return shown(written { X509V3_EXT_print($0, entry, 0, 0) })
  }

  /// Whether one of its alternative names is that name of DNS itself, and no pattern for it.
  func isFor(_ name: String) -> Bool {
    // A leading dot would ask for any name below.
    guard !name.utf8.isEmpty, !name.utf8.starts(with: ".".utf8), !name.utf8.contains(0) else { return false }
    let flags = UInt32(X509_CHECK_FLAG_NO_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT)
    return X509_check_host(raw, name, name.utf8.count, flags, nil) == 1
  }

  private static func text(of name: OpaquePointer?) -> String {
    shown(written { hero_print_name($0, name) })
  }
}

/// Why bytes are not what a PEM file should hold.
struct UnreadablePEM: Error { let reason: String }

/// Reads objects until there are no more blocks of their kind.
func readAll(
  _ pem: [UInt8], _ next: (OpaquePointer) -> OpaquePointer?
) throws(UnreadablePEM) -> [OpaquePointer] {
  OpenSSLErrors.clear()
  let objects = withReader(of: pem) { bio in
    var objects: [OpaquePointer] = []
    while let object = next(bio) { objects.append(object) }
    return objects
  }
  let errors = OpenSSLErrors.take()
  guard errors.contains(ERR_LIB_PEM, PEM_R_NO_START_LINE) else { throw UnreadablePEM(reason: errors.text) }
  return objects
}

/// A node cannot ask anybody for a passphrase; without this OpenSSL would ask the terminal.
let noPassphrase: @convention(c) (UnsafeMutablePointer<CChar>?, Int32, Int32, UnsafeMutableRawPointer?) -> Int32 = {
  _, _, _, _ in -1
}

/// A time of OpenSSL in seconds since 1970.
func seconds(_ time: UnsafePointer<ASN1_TIME>?) -> Int64 {
  var parts = tm()
  guard ASN1_TIME_to_tm(time, &parts) == 1 else { return 0 }
  return Int64(timegm(&parts))
}
