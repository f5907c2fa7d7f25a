import COpenSSL
import EventLoop

/// Why a TLS connection did not come about, or ended. The description is a clause for a log or a terminal.
public enum TLSError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The peer's certificate does not convince.
  case untrusted(Distrust)
  /// The peer gave no certificate, and needs one.
  case noCertificate
  /// The peer ended the connection by an alert (RFC 8446, section 6), by its number.
  case refused(alert: UInt8)
  /// The client spoke HTTP without TLS.
  case plainHTTP
  /// What came is no TLS.
  case notTLS
  /// The two have no version, suite, curve or application protocol in common.
  case incompatible(reason: String)
  /// The peer broke the protocol.
  case violation(reason: String)
  /// The connection ended without the peer's close_notify: something may be missing.
  case truncated
  /// No handshake within the time allowed.
  case timedOut
  /// The connection below failed.
  case transport(UVError)
  /// It was closed, or the task was cancelled, before the handshake was done.
  case closed

  /// What is wrong with a certificate.
  public enum Distrust: Hashable, Sendable {
    /// It has these names, and not the one that was called.
    case wrongName(wanted: String, names: String)
    /// Nobody who is believed has signed it.
    case unknownAuthority(issuer: String)
    case expired
    case notYetValid
    case revoked
    /// Anything else, in OpenSSL's words.
    case other(String)
  }

  public var description: String {
    switch self {
    case .untrusted(.wrongName(let wanted, let names)):
      "its certificate is for \(names.isEmpty ? "no name at all" : names), and not for \(wanted)"
    case .untrusted(.unknownAuthority(let issuer)): "its certificate is signed by an unknown authority (\(issuer))"
    case .untrusted(.expired): "its certificate has expired"
    case .untrusted(.notYetValid): "its certificate is not valid yet"
    case .untrusted(.revoked): "its certificate was revoked"
    case .untrusted(.other(let reason)): "its certificate is not accepted: \(reason)"
    case .noCertificate: "it gave no certificate"
    case .refused(let alert) where Self.certificateAlerts.contains(alert):
      "it does not accept the certificate of this end (TLS alert: \(Self.name(of: alert)))"
    case .refused(let alert): "it refused the connection (TLS alert: \(Self.name(of: alert)))"
    case .plainHTTP: "it speaks HTTP without TLS"
    case .notTLS: "it does not speak TLS"
    case .incompatible(let reason): "the two ends have no TLS in common: \(reason)"
    case .violation(let reason): "it broke the TLS protocol: \(reason)"
    case .truncated: "it ended the connection without saying so by TLS"
    case .timedOut: "no TLS handshake in time"
    case .transport(let error): error.message
    case .closed: "it was closed"
    }
  }

  /// A word for it, as the label of a metric.
  public var label: String {
    switch self {
    case .untrusted, .noCertificate: "certificate"
    case .refused: "alert"
    case .plainHTTP: "plain_http"
    case .notTLS: "not_tls"
    case .incompatible: "incompatible"
    case .violation: "violation"
    case .truncated, .transport, .closed: "closed"
    case .timedOut: "timeout"
    }
  }

  /// Whether the peer refused this end's certificate, or the lack of one. By TLS 1.3 a client hears of that after its
  /// handshake; whatever it has sent by then was never read.
  public var isRefusedCertificate: Bool {
    if case .refused(let alert) = self { return Self.certificateAlerts.contains(alert) }
    return false
  }

  /// bad_certificate, unsupported_certificate, certificate_revoked, certificate_expired, certificate_unknown, unknown_ca,
  /// access_denied, certificate_required (RFC 8446, section 6.2).
  private static let certificateAlerts: Set<UInt8> = [42, 43, 44, 45, 46, 48, 49, 116]

  private static func name(of alert: UInt8) -> String { String(cString: SSL_alert_desc_string_long(Int32(alert))) }

  /// The same as an error of a stream.
  var asStreamError: UVError {
    switch self {
    case .transport(let error): error
    case .closed: UVError(code: UVError.cancelled, operation: "TLS")
    default: UVError(code: UVError.protocolError, operation: "TLS", reason: description)
    }
  }
}

extension TLSError {
  /// What made a call of libssl fail.
  init(_ errors: OpenSSLErrors, _ proof: PeerProof) {
    if let distrust = proof.distrust {
      self = .untrusted(distrust)
      return
    }
    // A reason from 1000 on is an alert of the peer (SSL_AD_REASON_OFFSET).
    if let alert = errors.reasons.first(where: { (1000...1255).contains($0) }) {
      self = .refused(alert: UInt8(alert - 1000))
      return
    }
    for reason in errors.reasons {
      switch reason {
      case SSL_R_HTTP_REQUEST, SSL_R_HTTPS_PROXY_REQUEST: self = .plainHTTP
      case SSL_R_WRONG_VERSION_NUMBER, SSL_R_UNKNOWN_PROTOCOL, SSL_R_RECORD_TOO_SMALL: self = .notTLS
      case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: self = .noCertificate
      case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_VERSION_TOO_LOW, SSL_R_VERSION_TOO_HIGH, SSL_R_NO_SHARED_CIPHER,
        SSL_R_NO_SUITABLE_KEY_SHARE, SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, SSL_R_NO_APPLICATION_PROTOCOL,
        SSL_R_NO_SHARED_GROUPS, SSL_R_NO_PROTOCOLS_AVAILABLE, SSL_R_INAPPROPRIATE_FALLBACK:
        self = .incompatible(reason: errors.text)
      default: continue
      }
      return
    }
    self = .violation(reason: errors.text)
  }
}
