import COpenSSL

/// What all connections of one end have in common: who it is, whom it believes, and how it speaks TLS: 1.2 or 1.3, by suites
/// with forward secrecy and authenticated encryption only, without renegotiation, compression and early data.
///
/// Constant. Who changes certificates makes another one; connections keep the one that they began with.
public final class TLSContext: @unchecked Sendable {
  // @unchecked: an SSL_CTX, which is set up in `init`, and which any thread may make connections from afterwards
  // (openssl-threads(7)).

  let raw: OpaquePointer
  /// The protocols above TLS, as ALPN writes them (RFC 7301); OpenSSL's callback points here.
  private let protocols: UnsafeMutableBufferPointer<UInt8>
  let isServer: Bool
  /// Whether the ends are of equal right, and no name is verified within the handshake.
  let isForPeers: Bool
  /// What ends prove themselves with in place of certificates; a client has one.
  let keys: [PreSharedKey]
  /// Of a client's key; OpenSSL points here.
  let identity: UnsafeMutableBufferPointer<UInt8>

  /// How long a client may go on with a session without another whole handshake.
  private static let ticketSeconds = 7200

  /// A server's.
  /// - Parameters:
  ///   - clients: with any, each client must have a certificate of theirs.
  ///   - protocols: one that the server speaks must be among those that a client names, if it names any.
  public static func server(
    _ identity: TLSIdentity, clients: TrustedAuthorities? = nil, protocols: [String] = ["http/1.1"]
  ) throws(InvalidPEM) -> TLSContext {
    let context = TLSContext(isServer: true, protocols)
    try context.use(identity)
    // Resumed sessions count for those only to whom this context gave them: each makes keys of its own for its tickets.
    hero_ssl_keep_no_sessions(context.raw)
    SSL_CTX_set_session_id_context(context.raw, "hero", 4)
    SSL_CTX_set_timeout(context.raw, ticketSeconds)
    SSL_CTX_set_max_early_data(context.raw, 0)
    SSL_CTX_set_alpn_select_cb(context.raw, selectProtocol, Unmanaged.passUnretained(context).toOpaque())
    guard let clients else { return context }
    clients.install(in: context.raw)
    for authority in clients.authorities { SSL_CTX_add_client_CA(context.raw, authority.raw) }
    SSL_CTX_set_verify(
      context.raw, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, PeerProof.callback)
    return context
  }

  /// A client's.
  /// - Parameters:
  ///   - servers: whose certificates are believed; `nil` for the system's authorities (`SSL_CERT_FILE`, `SSL_CERT_DIR`, or
  ///     OpenSSL's own files).
  ///   - identity: shown to a server that asks for it.
  public static func client(
    servers: TrustedAuthorities? = nil, identity: TLSIdentity? = nil, protocols: [String] = ["http/1.1"]
  ) throws(InvalidPEM) -> TLSContext {
    let context = TLSContext(isServer: false, protocols)
    if let identity { try context.use(identity) }
    if let servers { servers.install(in: context.raw) } else { SSL_CTX_set_default_verify_paths(context.raw) }
    SSL_CTX_set_verify(context.raw, SSL_VERIFY_PEER, PeerProof.callback)
    SSL_CTX_set_alpn_protos(context.raw, context.protocols.baseAddress, UInt32(context.protocols.count))
    return context
  }

  /// A server's that talks to whoever has one of these keys, by TLS 1.3. It has no certificate.
  public static func server(keys: [PreSharedKey], protocols: [String]) -> TLSContext {
    let context = TLSContext(isServer: true, protocols, keys: keys)
    hero_ssl_keep_no_sessions(context.raw)
    SSL_CTX_set_num_tickets(context.raw, 0)
    SSL_CTX_set_max_early_data(context.raw, 0)
    SSL_CTX_set_alpn_select_cb(context.raw, selectProtocol, Unmanaged.passUnretained(context).toOpaque())
    SSL_CTX_set_psk_find_session_callback(context.raw, PreSharedKey.find)
    return context
  }

  /// A client's that talks to a server which has this key, by TLS 1.3.
  public static func client(key: PreSharedKey, protocols: [String]) -> TLSContext {
    let context = TLSContext(isServer: false, protocols, keys: [key])
    SSL_CTX_set_psk_use_session_callback(context.raw, PreSharedKey.use)
    // A server that does not have the key could show a certificate instead: none is believed.
    SSL_CTX_set_verify(context.raw, SSL_VERIFY_PEER, PeerProof.callback)
    SSL_CTX_set_alpn_protos(context.raw, context.protocols.baseAddress, UInt32(context.protocols.count))
    return context
  }

  /// A server's that talks by TLS 1.3 to ends with a certificate of these authorities. Whose it is, is for the caller to
  /// judge. Each connection has a whole handshake, so that what was taken back is of no use from then on.
  public static func server(
    _ identity: TLSIdentity, peers: TrustedAuthorities, protocols: [String]
  ) throws(InvalidPEM) -> TLSContext {
    let context = TLSContext(isServer: true, protocols, isForPeers: true)
    try context.use(identity)
    hero_ssl_keep_no_sessions(context.raw)
    SSL_CTX_set_num_tickets(context.raw, 0)
    SSL_CTX_set_max_early_data(context.raw, 0)
    SSL_CTX_set_alpn_select_cb(context.raw, selectProtocol, Unmanaged.passUnretained(context).toOpaque())
    peers.install(in: context.raw)
    SSL_CTX_set_verify(context.raw, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, PeerProof.callback)
    return context
  }

  /// The other end of the same.
  public static func client(
    _ identity: TLSIdentity, peers: TrustedAuthorities, protocols: [String]
  ) throws(InvalidPEM) -> TLSContext {
    let context = TLSContext(isServer: false, protocols, isForPeers: true)
    try context.use(identity)
    peers.install(in: context.raw)
    SSL_CTX_set_verify(context.raw, SSL_VERIFY_PEER, PeerProof.callback)
    SSL_CTX_set_alpn_protos(context.raw, context.protocols.baseAddress, UInt32(context.protocols.count))
    return context
  }

  /// The context of a connection, for OpenSSL's callbacks.
  static func of(_ ssl: OpaquePointer) -> TLSContext? {
    SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), 0).map { Unmanaged<TLSContext>.fromOpaque($0).takeUnretainedValue() }
  }

  private init(isServer: Bool, _ protocols: [String], keys: [PreSharedKey] = [], isForPeers: Bool = false) {
    guard let raw = SSL_CTX_new(isServer ? TLS_server_method() : TLS_client_method()) else {
      preconditionFailure("OpenSSL has no memory")
    }
    self.raw = raw
    self.isServer = isServer
    self.isForPeers = isForPeers || !keys.isEmpty
    let names = protocols.flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }
    self.protocols = .allocate(capacity: names.count)
    _ = self.protocols.initialize(from: names)
    self.keys = keys
    let identity = isServer ? [] : keys.first?.identity ?? []
    self.identity = .allocate(capacity: identity.count)
    _ = self.identity.initialize(from: identity)
    // Said here for all, so that nothing depends on the system's openssl.cnf.
    let lowest = self.isForPeers ? TLS1_3_VERSION : TLS1_2_VERSION
    let suites = keys.isEmpty ? Self.suitesOf13 : PreSharedKey.suiteName
    let isReady =
      hero_ssl_set_versions(raw, lowest, TLS1_3_VERSION) == 1
      && SSL_CTX_set_cipher_list(raw, Self.suitesOf12) == 1 && SSL_CTX_set_ciphersuites(raw, suites) == 1
      && hero_ssl_set_groups(raw, "X25519:P-256:P-384") == 1
    precondition(isReady, "OpenSSL has not what TLS needs: \(OpenSSLErrors.take().text)")
    SSL_CTX_set_security_level(raw, 2)
    hero_ssl_harden(raw)
    // Those of peers are few and busy.
    if !self.isForPeers { hero_ssl_release_buffers(raw) }
    SSL_CTX_set_ex_data(raw, 0, Unmanaged.passUnretained(self).toOpaque())
  }

  deinit {
    SSL_CTX_free(raw)
    protocols.deallocate()
    identity.deallocate()
  }

  private static let suitesOf12 =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    + "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
  private static let suitesOf13 = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

  private func use(_ identity: TLSIdentity) throws(InvalidPEM) {
    let chain = hero_new_chain()
    defer { hero_free_chain(chain) }
    for certificate in identity.chain.dropFirst() {
      X509_up_ref(certificate.raw)
      hero_chain_append(chain, certificate.raw)
    }
    OpenSSLErrors.clear()
    guard SSL_CTX_use_cert_and_key(raw, identity.certificate.raw, identity.key.raw, chain, 1) == 1 else {
      // Such as an RSA key of 1024 bits.
      throw InvalidPEM(part: .certificate, reason: "it is too weak or of no use for TLS: \(OpenSSLErrors.take().text)")
    }
  }

  /// RFC 7301, section 3.2: the first of the server's that the client knows; none at all ends the handshake.
  private static let selectProtocol:
    @convention(c) (
      OpaquePointer?, UnsafeMutablePointer<UnsafePointer<UInt8>?>?, UnsafeMutablePointer<UInt8>?,
      UnsafePointer<UInt8>?, UInt32, UnsafeMutableRawPointer?
    ) -> Int32 = { _, selected, length, offered, count, argument in
      let own = Unmanaged<TLSContext>.fromOpaque(argument!).takeUnretainedValue().protocols
      var choice: UnsafeMutablePointer<UInt8>?
      let outcome = SSL_select_next_proto(
        &choice, length, own.baseAddress, UInt32(own.count), offered, count)
      guard outcome == OPENSSL_NPN_NEGOTIATED else { return SSL_TLSEXT_ERR_ALERT_FATAL }
      selected!.pointee = UnsafePointer(choice)
      return SSL_TLSEXT_ERR_OK
    }
}
