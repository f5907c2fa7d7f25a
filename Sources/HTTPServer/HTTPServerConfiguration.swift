import EventLoop

/// What turns a request into an answer. It runs on the connection's event loop and must not block it.
public typealias HTTPHandler = nonisolated(nonsending) @Sendable (HTTPRequest) async -> HTTPResponse

/// The limits of the server. Each has a default that is safe for a node that strangers can reach.
public struct HTTPServerConfiguration: Sendable {
  /// Largest body, in bytes after transfer coding; more is answered 413.
  public var maxRequestBytes = 10 * 1024 * 1024
  /// Largest request line and header fields together, in bytes; more is answered 431. Also bounds trailers.
  public var maxHeaderBytes = 32 * 1024
  /// Largest request target, in bytes; more is answered 414.
  public var maxTargetBytes = 8 * 1024
  /// Open connections; one more is answered 503 and closed.
  public var maxConnections = 10_000
  /// How long a connection may rest between requests before it is closed without a word, and how long a peer may
  /// leave an answer unread.
  public var idleTimeout: Duration = .seconds(60)
  /// How long a head may take from its first byte to its empty line; later it is answered 408.
  public var headerTimeout: Duration = .seconds(10)
  /// How long a body may take on top of one second for each `minimumBodyBytesPerSecond` of it; later: 408.
  public var bodyTimeout: Duration = .seconds(30)
  /// The rate a slow but honest client must keep, in bytes per second: 10 MiB take at most ten minutes and a half.
  public var minimumBodyBytesPerSecond = 16 * 1024
  /// How long a client that closed its sending half waits for its answer; then the handler's task is cancelled.
  public var halfCloseGrace: Duration = .seconds(60)
  /// How long the server reads on after its last answer, so that the client can read that answer before a reset.
  public var lingerTimeout: Duration = .seconds(2)
  /// Names in `Host` that are served (`HostAuthority`), with or without port; `*` serves all. Loopback names
  /// (`localhost`, `127.0.0.0/8`, `[::1]`) are always served. Empty: these only on a loopback listener, all on any other.
  /// Others are answered 403:
  /// a page in a browser on this machine cannot reach the node by a name it controls (DNS rebinding).
  public var allowedHosts: [String] = []
  /// Proxies whose `X-Forwarded-For` is believed. A request with such a field is not of this machine in any case.
  public var trustedProxies: [AddressRange] = []
  /// Origins that a browser may call from: exact (`https://ops.example`), or `*`. Empty: none (no CORS fields at all).
  public var corsOrigins: [String] = []
  /// Makes the body of an answer that the server gives by itself, from its status and reason; nil: plain text.
  public var errorBody: (@Sendable (_ status: Int, _ reason: String) -> (contentType: String, bytes: [UInt8])?)?

  public init() {}
}
