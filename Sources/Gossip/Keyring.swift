import COpenSSL

// Packets are sealed with AES-256-GCM (NIST SP 800-38D), so that only members of the cluster can write or read them. The
// cluster's name is authenticated with them, so that two clusters with one key do not mix.
//
//   format (1)  nonce (12)  sealed packet  tag (16)
//
// A packet that is recorded and sent again is dropped as long as it is remembered (`ReplayFilter`), and does no harm later.

/// The keys of a cluster: all of them open packets, the first one seals. To change the key without a pause, every member
/// first learns the new key, then puts it first, then forgets the old one.
public struct Keyring: Sendable {
  /// Bytes of a key.
  public static let keyBytes = 32
  /// What sealing adds to a packet, in bytes.
  public static let overhead = 1 + nonceBytes + tagBytes

  /// Of the second version of the protocol; the first one (0x68) is not read any more.
  private static let format: UInt8 = 0x69
  private static let nonceBytes = 12
  private static let tagBytes = 16

  let keys: [[UInt8]]
  let cluster: [UInt8]
  /// What packets are sealed with: derived from `keys`, in the same order.
  private let packetKeys: [[UInt8]]

  /// - Parameters:
  ///   - keys: at least one, each of 32 bytes.
  ///   - cluster: the cluster's name.
  /// - Throws: `InvalidKey`, which does not repeat the key.
  public init(keys: [[UInt8]], cluster: String) throws(InvalidKey) {
    guard !keys.isEmpty else { throw InvalidKey(reason: "there is no key") }
    for (number, key) in keys.enumerated() where key.count != Self.keyBytes {
      throw InvalidKey(reason: "key \(number + 1) has \(key.count) bytes, expected \(Self.keyBytes)")
    }
    // Its length is a byte where it is part of a key's derivation.
    guard cluster.utf8.count <= 255 else { throw InvalidKey(reason: "the cluster's name has more than 255 bytes") }
    let name = Array(cluster.utf8)
    self.keys = keys
    self.cluster = name
    packetKeys = keys.map { Self.derive(from: $0, "hero gossip 2", name) }
  }

  /// Why keys cannot be used.
  public struct InvalidKey: Error, Hashable, Sendable {
    public let reason: String
  }

  /// A new random key.
  public static func makeKey() -> [UInt8] { random(keyBytes) }

  /// A packet as it travels.
  public func seal(_ packet: [UInt8]) -> [UInt8] {
    // Random nonces of 96 bits: 2³² packets a key are safe (SP 800-38D, §8.3), at 100 a second more than a year.
    let nonce = Self.random(Self.nonceBytes)
    var sealed = [UInt8](repeating: 0, count: packet.count)
    var tag = [UInt8](repeating: 0, count: Self.tagBytes)
    let isSealed = Self.withContext { context in
      var count: Int32 = 0
      return EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), nil, packetKeys[0], nonce) == 1
        && EVP_EncryptUpdate(context, nil, &count, cluster, Int32(cluster.count)) == 1
        && EVP_EncryptUpdate(context, &sealed, &count, packet, Int32(packet.count)) == 1
        && EVP_EncryptFinal_ex(context, nil, &count) == 1
        && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, Int32(tag.count), &tag) == 1
    }
    // With a valid key this fails only when memory is exhausted.
    precondition(isSealed, "AES-256-GCM failed")
    return [Self.format] + nonce + sealed + tag
  }

  /// - Returns: `nil` when the bytes were not sealed by this cluster with one of these keys.
  public func open(_ bytes: [UInt8]) -> [UInt8]? {
    guard bytes.count > Self.overhead, bytes[0] == Self.format else { return nil }
    let nonce = Array(bytes[1..<(1 + Self.nonceBytes)])
    let sealed = Array(bytes[(1 + Self.nonceBytes)..<(bytes.count - Self.tagBytes)])
    var tag = Array(bytes.suffix(Self.tagBytes))
    for key in packetKeys {
      var packet = [UInt8](repeating: 0, count: sealed.count)
      let isOpen = Self.withContext { context in
        var count: Int32 = 0
        return EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), nil, key, nonce) == 1
          && EVP_DecryptUpdate(context, nil, &count, cluster, Int32(cluster.count)) == 1
          && EVP_DecryptUpdate(context, &packet, &count, sealed, Int32(sealed.count)) == 1
          && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, Int32(tag.count), &tag) == 1
          && EVP_DecryptFinal_ex(context, nil, &count) == 1
      }
      if isOpen { return packet }
    }
    return nil
  }

  /// The beginning of a sealed packet's nonce.
  /// - Precondition: `open` opened it.
  static func nonce(of sealed: UnsafeRawBufferPointer) -> UInt64 {
    sealed.loadUnaligned(fromByteOffset: 1, as: UInt64.self)
  }

  private static func withContext(_ body: (OpaquePointer) -> Bool) -> Bool {
    guard let context = EVP_CIPHER_CTX_new() else { return false }
    defer { EVP_CIPHER_CTX_free(context) }
    return body(context)
  }

  static func random(_ count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    precondition(RAND_bytes(&bytes, Int32(count)) == 1, "no random numbers")
    return bytes
  }
}
