import SupervisorClient
import TLS

/// What the command line uses for `https://` endpoints: the authorities that it believes, and its own certificate.
extension ClientOptions {
  /// - Returns: `nil` without an endpoint by TLS, or when the system's authorities will do.
  func tls(_ environment: [String: String], _ endpoints: [Endpoint]) throws(CommandFailure) -> TLSContext? {
    guard endpoints.contains(where: \.isSecure) else { return nil }
    let authorities = try NamedFile(caFile, "--ca-file", "HERO_CA_FILE", environment)
    let certificate = try NamedFile(tlsCertificate, "--tls-certificate", "HERO_TLS_CERTIFICATE", environment)
    let key = try NamedFile(tlsKey, "--tls-key", "HERO_TLS_KEY", environment)
    guard (certificate == nil) == (key == nil) else {
      throw CommandFailure(
        message: "a client's certificate needs its key: give both --tls-certificate and --tls-key", status: .usage)
    }
    do throws(InvalidPEM) {
      var identity: TLSIdentity?
      if let certificate, let key { identity = try TLSIdentity(certificate: certificate.bytes, key: key.bytes) }
      guard authorities != nil || identity != nil else { return nil }
      var servers: TrustedAuthorities?
      if let authorities { servers = try TrustedAuthorities(pem: authorities.bytes) }
      return try TLSContext.client(servers: servers, identity: identity)
    } catch {
      let file =
        switch error.part {
        case .certificate: certificate
        case .key: key
        case .authorities, .revocations: authorities
        }
      throw CommandFailure(message: "\(file?.place ?? ""): \(error.reason)", status: .usage)
    }
  }

  /// A file that was named by a flag or a variable.
  private struct NamedFile {
    let bytes: [UInt8]
    /// `--ca-file: PATH`.
    let place: String

    init?(
      _ flag: String?, _ option: String, _ variable: String, _ environment: [String: String]
    ) throws(CommandFailure) {
      guard let path = flag ?? environment[variable], !path.isEmpty else { return nil }
      place = "\(flag == nil ? variable : option): \(path)"
      do throws(FileBytes.Failure) { bytes = try FileBytes.read(path, limit: 1 << 20).bytes } catch {
        throw CommandFailure(message: "\(place): \(error.reason)", status: .usage)
      }
    }
  }
}

extension TLSError {
  /// What to do about it at a client.
  var hints: [String] {
    switch self {
    case .untrusted(.wrongName):
      ["call the node by one of its certificate's names, or give it one with the name that you call"]
    case .untrusted(.unknownAuthority):
      ["name the file of the authority that signed it by --ca-file or HERO_CA_FILE"]
    case .untrusted(.expired), .untrusted(.notYetValid):
      ["give the node a new certificate; is the clock of this machine right?"]
    case .untrusted(.revoked), .untrusted(.other): ["give the node a new certificate"]
    case .refused where isRefusedCertificate:
      ["give a certificate that the node believes by --tls-certificate and --tls-key"]
    case .notTLS, .plainHTTP, .truncated: ["does it speak TLS there? without TLS it is http:// in place of https://"]
    default: []
    }
  }
}
