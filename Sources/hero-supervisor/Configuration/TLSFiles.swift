import Supervisor
import TLS

/// The files of `api.tls`, by absolute paths: read at the start, and again when the node is told to (SIGHUP).
struct TLSFiles: Hashable, Sendable {
  var certificate: String
  var key: String
  var clientCA: String?
  var clientCRL: String?

  struct Loaded: Sendable {
    var context: TLSContext
    var validity: CertificateValidity
    /// What an operator should change though it works.
    var warnings: [TLSFileProblem]
  }

  /// Reads all files, and makes of them what connections need.
  /// - Throws: every problem there is; what is in use stays as it is then.
  func load() throws(TLSFileFailure) -> Loaded {
    var files = TLSFileReader(section: "api.tls")
    let certificate = files.read(self.certificate, "certificate", as: .certificate)
    let key = files.read(self.key, "key", as: .key)
    let clientCA = clientCA.flatMap { files.read($0, "client_ca", as: .authorities) }
    let clientCRL = clientCRL.flatMap { files.read($0, "client_crl", as: .revocations) }
    if let failure = files.failure { throw failure }
    guard let certificate, let key else { preconditionFailure("a file was neither read nor missed") }
    do throws(InvalidPEM) {
      let identity = try TLSIdentity(certificate: certificate, key: key)
      var clients: TrustedAuthorities?
      if let clientCA { clients = try TrustedAuthorities(pem: clientCA, revocations: clientCRL) }
      return Loaded(
        context: try TLSContext.server(identity, clients: clients), validity: CertificateValidity(identity),
        warnings: files.warnings)
    } catch {
      throw files.failure(error.part, error.reason)
    }
  }
}

/// When a certificate counts, in seconds since 1970.
struct CertificateValidity: Hashable, Sendable {
  var notBefore: Int64
  var notAfter: Int64

  /// How long before the end it is warned of.
  private static let warningSeconds: Int64 = 30 * 86_400

  /// What to tell an operator at a time; `nil` while all is well. A certificate that has expired is no error: a node that
  /// did not start would help nobody, and clients say by themselves what is wrong.
  func warning(at now: Int64) -> String? {
    if now > notAfter { return "the certificate expired on \(Self.date(notAfter)), clients refuse it; renew it" }
    if now < notBefore {
      return "the certificate is valid from \(Self.date(notBefore)) on, clients refuse it until then"
    }
    guard notAfter - now < Self.warningSeconds else { return nil }
    return "the certificate expires in \((notAfter - now) / 86_400) days, on \(Self.date(notAfter)); renew it"
  }

  init(notBefore: Int64, notAfter: Int64) {
    self.notBefore = notBefore
    self.notAfter = notAfter
  }

  init(_ identity: TLSIdentity) { self.init(notBefore: identity.notBefore, notAfter: identity.notAfter) }

  static func date(_ seconds: Int64) -> String { "\(Timestamp(milliseconds: seconds * 1000))" }
}
