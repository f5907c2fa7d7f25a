import Cluster
import Glibc
import TLS

/// The files of `cluster.tls`, by absolute paths: read at the start, and again when the node is told to (SIGHUP).
struct ClusterTLSFiles: Hashable, Sendable {
  var certificate: String
  var privateKey: String
  var ca: String
  var crl: String?

  struct Loaded: Sendable {
    var certificates: LinkCertificates
    var validity: CertificateValidity
    /// Why the authority cannot vouch for anybody at present, if so: with these files no link could be made.
    var outdated: TLSFileProblem?
    /// What an operator should change though it works.
    var warnings: [TLSFileProblem]
  }

  /// Reads all files, and makes of them what links need.
  /// - Parameters:
  ///   - name: of this node, which its certificate must be for.
  ///   - now: in seconds since 1970.
  /// - Throws: every problem there is; what is in use stays as it is then.
  func load(for name: String, at now: Int64 = Int64(time(nil))) throws(TLSFileFailure) -> Loaded {
    var files = TLSFileReader(section: "cluster.tls")
    let certificate = files.read(self.certificate, "certificate", as: .certificate)
    let key = files.read(privateKey, "private_key", as: .key)
    let ca = files.read(self.ca, "ca", as: .authorities)
    let crl = crl.flatMap { files.read($0, "crl", as: .revocations) }
    if let failure = files.failure { throw failure }
    guard let certificate, let key, let ca else { preconditionFailure("a file was neither read nor missed") }
    let (identity, authorities, certificates): (TLSIdentity, TrustedAuthorities, LinkCertificates)
    do throws(InvalidPEM) {
      identity = try TLSIdentity(certificate: certificate, key: key)
      authorities = try TrustedAuthorities(pem: ca, revocations: crl)
      certificates = try LinkCertificates(identity, authorities: authorities)
    } catch {
      throw files.failure(error.part, error.reason)
    }
    guard identity.isFor(name) else {
      let names = identity.names.isEmpty ? "no name at all" : identity.names
      throw files.failure(.certificate, "expected a certificate for this node, DNS:\(name), but it is for \(names)")
    }
    let outdated = authorities.revocationsOutOfForce(at: now)
    return Loaded(
      certificates: certificates, validity: CertificateValidity(identity),
      outdated: outdated.flatMap { files.failure(.revocations, $0).problems.first }, warnings: files.warnings)
  }
}
