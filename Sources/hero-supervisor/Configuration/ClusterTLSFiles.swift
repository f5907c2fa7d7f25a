import Cluster
import Glibc
import TLS

/// The files of `cluster.tls`, by absolute paths: read at the start, and again when the node is told to (SIGHUP).
struct ClusterTLSFiles: Hashable, Sendable {
  var certificate: String
  var privateKey: String
  var ca: String
  var crl: String?

  /// What is wrong with one of the files; `reason` never repeats what is in it.
  struct Problem: Hashable, Sendable, CustomStringConvertible {
    /// The key below `cluster.tls`.
    var setting: String
    var reason: String
    /// Whether the file is not there, as on another machine than the one that will use it.
    var isAbsence = false

    var description: String { "cluster.tls.\(setting): \(reason)" }
  }

  struct Failure: Error, Hashable, Sendable, CustomStringConvertible {
    var problems: [Problem]
    var description: String { problems.map(\.description).joined(separator: "; ") }
  }

  struct Loaded: Sendable {
    var certificates: LinkCertificates
    var validity: CertificateValidity
    /// What an operator should change though it works.
    var warnings: [Problem]
  }

  /// Reads all files, and makes of them what links need.
  /// - Parameter name: of this node, which its certificate must be for.
  /// - Throws: every problem there is; what is in use stays as it is then.
  func load(for name: String) throws(Failure) -> Loaded {
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
    let key = read(privateKey, "private_key", isSecret: true)
    let ca = read(self.ca, "ca")
    let crl = crl.flatMap { read($0, "crl") }
    guard problems.isEmpty, let certificate, let key, let ca else { throw Failure(problems: problems) }
    let loaded: Loaded
    let identity: TLSIdentity
    do throws(InvalidPEM) {
      identity = try TLSIdentity(certificate: certificate, key: key)
      let authorities = try TrustedAuthorities(pem: ca, revocations: crl)
      loaded = Loaded(
        certificates: try LinkCertificates(identity, authorities: authorities),
        validity: CertificateValidity(notBefore: identity.notBefore, notAfter: identity.notAfter), warnings: warnings)
    } catch {
      throw Failure(problems: [problem(error)])
    }
    guard identity.isFor(name) else {
      let names = identity.names.isEmpty ? "no name at all" : identity.names
      let reason = "\(self.certificate): expected a certificate for this node, DNS:\(name), but it is for \(names)"
      throw Failure(problems: [Problem(setting: "certificate", reason: reason)])
    }
    return loaded
  }

  private func problem(_ error: InvalidPEM) -> Problem {
    switch error.part {
    case .certificate: Problem(setting: "certificate", reason: "\(certificate): \(error.reason)")
    case .key: Problem(setting: "private_key", reason: "\(privateKey): \(error.reason)")
    case .authorities: Problem(setting: "ca", reason: "\(ca): \(error.reason)")
    case .revocations: Problem(setting: "crl", reason: "\(crl ?? ""): \(error.reason)")
    }
  }
}
