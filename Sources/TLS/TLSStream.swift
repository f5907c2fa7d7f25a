import COpenSSL
import EventLoop

/// TLS over a TCP connection, on the loop: bytes of the connection go through OpenSSL in memory, and what comes out goes to
/// whoever reads, or back to the connection. It reads and writes as a `TCPStream` does, once the handshake is done.
///
/// Memory is bounded as with a `TCPStream`: while nobody reads, no more than what the loop read at once is kept, and what is
/// written waits in the connection's queue (`drained`).
public final class TLSStream: DuplexStream, @unchecked Sendable {
  // @unchecked: touched on the loop's thread only; the TCP stream's entrances check that.

  private let tcp: TCPStream
  /// OpenSSL's callbacks use it.
  private let context: TLSContext
  private let ssl: OpaquePointer
  private let sealed = SealedBytes()
  private let proof: PeerProof

  /// Gets the outcome of the handshake; `nil` before and after it.
  private var onHandshake: ((TLSError?) -> Void)?
  private var handler: ((ByteStream.ReadEvent) -> Void)?
  private var isReading = false
  /// The handshake is done, and nothing has failed.
  private var isOpen = false
  /// The peer said that it sends no more.
  private var peerEnded = false
  /// Whether `close` or `reset` was called.
  public private(set) var isClosed = false
  /// Why nothing can be read and written any more.
  public private(set) var failure: TLSError?
  /// Bytes that the peer has made this end send, such as updates of keys, since the peer took all there was to send.
  private var provokedBytes = 0

  /// A peer that makes this end send more than this, and reads nothing, is cut off: the queue would grow without end.
  private static let maxProvokedBytes = 65_536
  /// The most that one record holds (RFC 8446, section 5.1).
  private static let recordBytes = 16_384

  /// The server's end of a connection that was accepted.
  public convenience init(accepting tcp: TCPStream, _ context: TLSContext) {
    precondition(context.isServer, "a server needs a server's context")
    self.init(tcp, context, wanted: "")
    SSL_set_accept_state(ssl)
  }

  /// The client's end.
  /// - Parameter host: the name (sent as SNI) or the numeric address that the server's certificate must have.
  public convenience init(connecting tcp: TCPStream, to host: String, _ context: TLSContext) {
    precondition(!context.isServer, "a client needs a client's context")
    let name = host.last == "." ? String(host.dropLast()) : host
    self.init(tcp, context, wanted: name)
    SSL_set_connect_state(ssl)
    if (try? SocketAddress(host: name, port: 0)) != nil {
      X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name)
    } else {
      SSL_set_hostflags(ssl, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
      SSL_set1_host(ssl, name)
      _ = hero_ssl_set_server_name(ssl, name)
    }
  }

  /// The client's end, to a server that has a key of the context, or a certificate, whose name is for the caller to judge.
  public convenience init(connecting tcp: TCPStream, _ context: TLSContext) {
    precondition(!context.isServer && context.isForPeers, "a client without a name to verify is a peer")
    self.init(tcp, context, wanted: "")
    SSL_set_connect_state(ssl)
  }

  private init(_ tcp: TCPStream, _ context: TLSContext, wanted: String) {
    guard let ssl = SSL_new(context.raw) else { preconditionFailure("OpenSSL has no memory") }
    self.tcp = tcp
    self.context = context
    self.ssl = ssl
    proof = PeerProof(wanted: wanted)
    let bio = sealed.makeBIO()
    SSL_set_bio(ssl, bio, bio)
    proof.attach(to: ssl)
  }

  deinit { SSL_free(ssl) }

  // MARK: Handshake

  /// Begins the handshake. Nothing is delivered before it is done, and nothing may be written.
  /// - Parameter done: gets `nil`, or why there is no connection; called once, unless the stream is deallocated. After an
  ///   error the TCP connection is open still, and is to be closed by the caller.
  public func handshake(_ done: @escaping (TLSError?) -> Void) {
    precondition(onHandshake == nil && !isOpen, "a handshake is made once")
    onHandshake = done
    tcp.startReading { [self] in received($0) }
    advance()
  }

  private func advance() {
    OpenSSLErrors.clear()
    let result = SSL_do_handshake(ssl)
    flush()
    guard result != 1 else {
      isOpen = true
      tcp.stopReading()
      let isAwaited = isReading
      endHandshake(nil)
      // Whoever began to read during the handshake.
      if isAwaited { tcp.loop.execute { self.readFurther() } }
      return
    }
    if SSL_get_error(ssl, result) != SSL_ERROR_WANT_READ { fail(TLSError(.take(), proof)) }
  }

  private func endHandshake(_ error: TLSError?) {
    let done = onHandshake
    onHandshake = nil
    done?(error)
  }

  /// The identity of the key by which both ends have proved themselves; `nil` when they did so by certificates.
  public var keyIdentity: [UInt8]? { isResumed ? proof.keyIdentity : nil }

  /// What the other end has shown, after the handshake.
  public var peerCertificate: PeerCertificate? { isOpen ? PeerCertificate(of: ssl) : nil }

  /// Whether the session of an earlier connection was resumed.
  public var isResumed: Bool { SSL_session_reused(ssl) == 1 }

  // MARK: Reading

  private func received(_ event: ByteStream.ReadEvent) {
    switch event {
    case .bytes(let bytes): sealed.lend(bytes) { if onHandshake != nil { advance() } else { open() } }
    case .end: if !peerEnded { fail(.truncated) }
    case .failed(let error): fail(.transport(error))
    }
  }

  public func startReading(_ handler: @escaping (ByteStream.ReadEvent) -> Void) {
    tcp.loop.preconditionCurrent()
    guard !isClosed else { return }
    self.handler = handler
    guard !isReading else { return }
    isReading = true
    guard isOpen else { return }
    // What is here already comes first, but not within the call.
    if sealed.isEmpty { readFurther() } else { tcp.loop.execute { self.readFurther() } }
  }

  private func readFurther() {
    if !sealed.isEmpty { open() }
    guard isReading, isOpen, !peerEnded, !isClosed else { return }
    tcp.startReading { [self] in received($0) }
  }

  public func stopReading() {
    isReading = false
    // A handshake goes on.
    if onHandshake == nil { tcp.stopReading() }
  }

  /// Opens what has come, as long as the reader wants it.
  private func open() {
    withUnsafeTemporaryAllocation(byteCount: Self.recordBytes, alignment: 16) { buffer in
      while isReading, isOpen, !peerEnded, !isClosed {
        var count = 0
        OpenSSLErrors.clear()
        let result = SSL_read_ex(ssl, buffer.baseAddress, buffer.count, &count)
        if result == 1 {
          handler?(.bytes(UnsafeRawBufferPointer(rebasing: buffer[..<count])))
          // Without another look, which would find nothing: records are taken one by one, and each as a whole.
          if sealed.isEmpty && SSL_pending(ssl) == 0 { return answerPeer() }
          continue
        }
        switch SSL_get_error(ssl, result) {
        case SSL_ERROR_WANT_READ: return answerPeer()
        case SSL_ERROR_ZERO_RETURN:
          peerEnded = true
          stopReading()
          answerPeer()
          handler?(.end)
        default: fail(TLSError(.take(), proof))
        }
      }
    }
  }

  /// Sends what reading has made OpenSSL say.
  private func answerPeer() {
    guard !isClosed else { return }
    if queuedBytes == 0 { provokedBytes = 0 }
    provokedBytes += flush()
    if provokedBytes > Self.maxProvokedBytes { fail(.violation(reason: "it asks and does not read the answers")) }
  }

  // MARK: Writing

  public var queuedBytes: Int { tcp.queuedBytes }
  /// Bytes given to the connection so far, as `queuedBytes` counts them.
  public private(set) var writtenBytes = 0
  public var peerAddress: SocketAddress? { tcp.peerAddress }
  public var peerHasEnded: Bool { tcp.peerHasEnded }
  /// This end, `nil` when it is closed.
  public var localAddress: SocketAddress? { tcp.localAddress }

  public func write(_ bytes: [UInt8]) {
    tcp.loop.preconditionCurrent()
    guard isOpen, !isClosed, !bytes.isEmpty else { return }
    sealed.reserve(for: bytes.count)
    OpenSSLErrors.clear()
    var count = 0
    // The connection takes any number of bytes at once: this writes all, or the connection is broken.
    guard SSL_write_ex(ssl, bytes, bytes.count, &count) == 1 else {
      let error = TLSError(.take(), proof)
      // Not from within `write`: its caller does not expect to be called.
      return tcp.loop.execute { self.fail(error) }
    }
    flush()
  }

  /// Hands what OpenSSL has to say to the connection.
  /// - Returns: how many bytes that were.
  @discardableResult
  private func flush() -> Int {
    let count = sealed.send { tcp.write($0) }
    writtenBytes += count
    return count
  }

  public func drained() async throws(UVError) {
    try await tcp.drained()
    if let failure { throw failure.asStreamError }
  }

  public func drained(to limit: Int) async throws(UVError) {
    try await tcp.drained(to: limit)
    if let failure { throw failure.asStreamError }
  }

  /// Sends close_notify, then ends the sending half of the connection.
  public func shutdownWrite() async throws(UVError) {
    tcp.loop.preconditionCurrent()
    if let failure { throw failure.asStreamError }
    sayGoodbye()
    try await tcp.shutdownWrite()
  }

  private func sayGoodbye() {
    guard isOpen, !isClosed else { return }
    OpenSSLErrors.clear()
    SSL_shutdown(ssl)
    _ = OpenSSLErrors.take()
    flush()
  }

  // MARK: Ending

  private func fail(_ error: TLSError) {
    guard failure == nil, !isClosed else { return }
    failure = error
    isOpen = false
    // The alert that tells the peer why.
    flush()
    isReading = false
    tcp.stopReading()
    if onHandshake != nil { endHandshake(error) } else { handler?(.failed(error.asStreamError)) }
  }

  public func reset() {
    guard !isClosed else { return }
    end()
    tcp.reset()
  }

  /// Says so to the peer, and closes the connection; what is queued is lost.
  public func close() {
    guard !isClosed else { return }
    sayGoodbye()
    end()
    tcp.close()
  }

  private func end() {
    isClosed = true
    isReading = false
    handler = nil
    endHandshake(.closed)
  }
}

extension TLSStream {
  /// Makes the handshake.
  /// - Throws: why there is no connection, `.closed` when the task is cancelled. The stream is closed then.
  public func handshake() async throws(TLSError) {
    let outcome = Promise<TLSError?>(on: tcp.loop)
    handshake { outcome.resolve($0) }
    guard let error = await outcome.valueUnlessCancelled() else {
      close()
      throw .closed
    }
    if let error {
      close()
      throw error
    }
  }
}
