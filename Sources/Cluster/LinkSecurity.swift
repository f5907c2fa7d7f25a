import EventLoop
import Gossip
import TLS

/// How the ends of peer links prove that they are members: TLS 1.3 with a key that is derived from one of the ring
/// (RFC 8446, section 4.2.11), and Diffie-Hellman keys of the connection alone, so that a key which becomes known later opens
/// nothing that was recorded.
///
/// Constant; whoever gets another ring makes another one.
struct LinkSecurity: Sendable {
  private let listener: TLSContext
  private let dialler: TLSContext
  /// The identities of the ring's keys, in its order.
  private let identities: [[UInt8]]

  init(_ keyring: Keyring) {
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

  private static let protocols = ["hero-peer/2"]

  func listening(_ tcp: TCPStream) -> TLSStream { TLSStream(accepting: tcp, listener) }
  func dialling(_ tcp: TCPStream) -> TLSStream { TLSStream(connecting: tcp, dialler) }

  /// Whether a link's key is in the ring.
  func knows(_ identity: [UInt8]) -> Bool { identities.contains(identity) }
  /// Whether links that are made now have that key.
  func prefers(_ identity: [UInt8]) -> Bool { identities.first == identity }
}
