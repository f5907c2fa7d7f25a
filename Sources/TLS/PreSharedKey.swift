import COpenSSL

/// A key that both ends have from elsewhere (RFC 8446, section 4.2.11), with the name by which the server finds it.
public struct PreSharedKey: Sendable {
  public let identity: [UInt8]
  public let key: [UInt8]

  /// - Parameters:
  ///   - identity: travels in clear; it must not tell anything about the key.
  ///   - key: uniformly random, of 32 bytes at least.
  public init(identity: [UInt8], key: [UInt8]) {
    self.identity = identity
    self.key = key
  }

  /// The one suite of connections by keys: a key belongs to the hash of one.
  static let suiteName = "TLS_AES_256_GCM_SHA384"
  private static let suite: [UInt8] = [0x13, 0x02]

  /// The key as OpenSSL wants it: as the session of an earlier connection.
  private func session(for ssl: OpaquePointer?) -> OpaquePointer? {
    guard let session = SSL_SESSION_new() else { return nil }
    let isMade =
      SSL_SESSION_set1_master_key(session, key, key.count) == 1
      && SSL_SESSION_set_cipher(session, SSL_CIPHER_find(ssl, Self.suite)) == 1
      && SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1
    guard isMade else {
      SSL_SESSION_free(session)
      return nil
    }
    return session
  }

  /// SSL_CTX_set_psk_find_session_callback(3): without a key of that name the handshake fails, since a server that has keys
  /// has no certificate.
  static let find:
    @convention(c) (
      OpaquePointer?, UnsafePointer<UInt8>?, Int, UnsafeMutablePointer<OpaquePointer?>?
    ) -> Int32 = { ssl, identity, count, session in
      session!.pointee = nil
      guard let ssl, let context = TLSContext.of(ssl), let proof = PeerProof.of(ssl) else { return 0 }
      let wanted = Array(UnsafeBufferPointer(start: identity, count: count))
      guard let key = context.keys.first(where: { $0.identity == wanted }) else { return 1 }
      session!.pointee = key.session(for: ssl)
      proof.keyIdentity = key.identity
      return session!.pointee == nil ? 0 : 1
    }

  /// SSL_CTX_set_psk_use_session_callback(3).
  static let use:
    @convention(c) (
      OpaquePointer?, OpaquePointer?, UnsafeMutablePointer<UnsafePointer<UInt8>?>?, UnsafeMutablePointer<Int>?,
      UnsafeMutablePointer<OpaquePointer?>?
    ) -> Int32 = { ssl, _, identity, count, session in
      guard let ssl, let context = TLSContext.of(ssl), let key = context.keys.first,
        let made = key.session(for: ssl), let proof = PeerProof.of(ssl)
      else { return 0 }
      identity!.pointee = UnsafePointer(context.identity.baseAddress)
      count!.pointee = context.identity.count
      session!.pointee = made
      proof.keyIdentity = key.identity
      return 1
    }
}
