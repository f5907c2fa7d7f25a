import Glibc
import Supervisor
import TLS

/// The files of `api.tls`, by absolute paths: read at the start, and again when the node is told to (SIGHUP).
struct TLSFiles: Hashable, Sendable {
  var certificate: String
  var key: String
  var clientCA: String?
  var clientCRL: String?

  /// What is wrong with one of the files; `reason` never repeats what is in it.
  struct Problem: Hashable, Sendable, CustomStringConvertible {
    /// The key below `api.tls`.
    var setting: String
    var reason: String
    /// Whether the file is not there, as on another machine than the one that will use it.
    var isAbsence = false

    var description: String { "api.tls.\(setting): \(reason)" }
  }

  struct Failure: Error, Hashable, Sendable, CustomStringConvertible {
    var problems: [Problem]
    var description: String { problems.map(\.description).joined(separator: "; ") }
  }

  struct Loaded: Sendable {
    var context: TLSContext
    var validity: CertificateValidity
    /// What an operator should change though it works.
    var warnings: [Problem]
  }

  /// Reads all files, and makes of them what connections need.
  /// - Throws: every problem there is; what is in use stays as it is then.
  func load() throws(Failure) -> Loaded {
    var problems: [Problem] = []
    var warnings: [Problem] = []
    func read(_ path: String, _ setting: String, isSecret: Bool = false) -> [UInt8]? {
      do throws(FileBytes.Failure) {
        let file = try FileBytes.read(path, limit: 1 << 20)
        if isSecret, let warning = file.exposure(at: path) {
          warnings.append(Problem(setting: setting, reason: warning))
        }
        return file.bytes
      } catch {
        problems.append(
          Problem(setting: setting, reason: "cannot read \(path): \(error.reason)", isAbsence: error.code == ENOENT))
        return nil
      }
    }
    let certificate = read(self.certificate, "certificate")
    let key = read(self.key, "key", isSecret: true)
    let clientCA = clientCA.flatMap { read($0, "client_ca") }
    let clientCRL = clientCRL.flatMap { read($0, "client_crl") }
    guard problems.isEmpty, let certificate, let key else { throw Failure(problems: problems) }
    do throws(InvalidPEM) {
      let identity = try TLSIdentity(certificate: certificate, key: key)
      var clients: TrustedAuthorities?
      if let clientCA { clients = try TrustedAuthorities(pem: clientCA, revocations: clientCRL) }
      let validity = CertificateValidity(notBefore: identity.notBefore, notAfter: identity.notAfter)
      return Loaded(
        context: try TLSContext.server(identity, clients: clients), validity: validity, warnings: warnings)
    } catch {
      throw Failure(problems: [problem(error)])
    }
  }

  private func problem(_ error: InvalidPEM) -> Problem {
    switch error.part {
    case .certificate: Problem(setting: "certificate", reason: "\(certificate): \(error.reason)")
    case .key: Problem(setting: "key", reason: "\(key): \(error.reason)")
    case .authorities: Problem(setting: "client_ca", reason: "\(clientCA ?? ""): \(error.reason)")
    case .revocations: Problem(setting: "client_crl", reason: "\(clientCRL ?? ""): \(error.reason)")
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

  static func date(_ seconds: Int64) -> String { "\(Timestamp(milliseconds: seconds * 1000))" }
}
