import EventLoop
import Gossip
import TLS

/// How the ends of peer links prove that they are members, by TLS 1.3: with a key that is derived from one of the ring
/// (RFC 8446, section 4.2.11), or by certificates of the cluster's authority, which say of each member who it is and can be
/// taken back one by one. Either way with Diffie-Hellman keys of the connection alone, so that a key which becomes known
/// later opens nothing that was recorded.
///
/// Constant; whoever gets another ring or other certificates makes another one.
struct LinkSecurity: Sendable {
  private let listener: TLSContext
  private let dialler: TLSContext
  /// The identities of the ring's keys, in its order; none where certificates are in their place.
  private let identities: [[UInt8]]
  private let authorities: TrustedAuthorities?

  init(_ keyring: Keyring, _ certificates: LinkCertificates? = nil) {
    authorities = certificates?.authorities
    if let certificates {
      identities = []
      listener = certificates.listener
      dialler = certificates.dialler
      return
    }
    let keys = (0..<keyring.count).map { number in
      PreSharedKey(
        identity: keyring.derivedKey(number, label: "hero link 2 identity"),
        key: keyring.derivedKey(number, label: "hero link 2 key"))
    }
    identities = keys.map(\.identity)
    listener = .server(keys: keys, protocols: Self.protocols)
    // Its first key, which may be any of the listener's.
    dialler = .client(key: keys[0], protocols: Self.protocols)
  }

  static let protocols = ["hero-peer/2"]

  func listening(_ tcp: TCPStream) -> TLSStream { TLSStream(accepting: tcp, listener) }
  func dialling(_ tcp: TCPStream) -> TLSStream { TLSStream(connecting: tcp, dialler) }

  /// What the other end of a connection has shown; `nil` if it is not what this asks for.
  func proof(of stream: TLSStream) -> LinkProof? {
    guard authorities != nil else { return stream.keyIdentity.map { .key($0) } }
    return stream.peerCertificate.map { .certificate($0) }
  }

  /// Why a member of that name cannot have a link by this proof, or not any more; `nil` if it can.
  func refusal(of proof: LinkProof, by name: MemberName) -> LinkRefusal? {
    switch proof {
    case .key(let identity): return identities.contains(identity) ? nil : .notOfThisCluster
    case .certificate(let certificate):
      guard let authorities else { return .notOfThisCluster }
      guard certificate.isBelieved(by: authorities) else {
        return .untrusted("its certificate is not believed any more")
      }
      guard certificate.isFor(name.rawValue) else {
        let names = certificate.names.isEmpty ? "no member" : certificate.names
        return .untrusted("its certificate is for \(names), and not for \(name)")
      }
      return nil
    }
  }

  /// What a failed handshake says of the other end.
  func refusal(after error: TLSError) -> LinkRefusal {
    switch error {
    case .transport(let error): return .connection(error.message)
    case .closed: return .closed
    // Its time was up, or this node's was while it stood still: that says nothing of keys. An end by close_notify is one.
    case .truncated, .refused(alert: 0): return .connection("the peer closed it during the handshake")
    case .untrusted where authorities != nil, .noCertificate where authorities != nil,
      _ where error.isRefusedCertificate && authorities != nil:
      return .untrusted(error.description)
    // A listener that does not know the key ends it by an alert; what is no node at all, in any way.
    default: return .notOfThisCluster
    }
  }

  /// Whether links that are made now have that proof.
  func prefers(_ proof: LinkProof) -> Bool {
    if case .key(let identity) = proof { return identities.first == identity }
    return true
  }
}
