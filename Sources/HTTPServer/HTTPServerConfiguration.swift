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
  /// Clients beyond `maxConnections` that are being told so at a time; one more is reset without a word.
  public var maxRejections: Int { min(256, max(1, maxConnections / 8)) }
  /// Bytes held for requests under way, and as many for answers under way; what does not fit is answered 503.
  public var maxBufferedBytes = 256 * 1024 * 1024
  /// The part of each that all clients share who have shown no valid key: one request of the largest size, and 6 MiB.
  public var maxStrangerBytes = 16 * 1024 * 1024
  /// What a connection may hold of requests, and of answers, without asking the budget: the small ones, which make up
  /// almost all, cost nothing, and go through while strangers hold all that strangers may.
  public var uncountedBytes = 4 * 1024
  /// The largest body that is served without a look at who sends it, since its header or its `keyJudge` says nothing.
  public var strangerRequestBytes = 64 * 1024
  /// Tells clients with a key from strangers; nil: there are no strangers.
  public var keyJudge: (any KeyJudge)?
  /// How long a connection may rest between requests before it is closed without a word, and how long a peer may
  /// leave an answer unread.
  public var idleTimeout: Duration = .seconds(60)
  /// How long a head may take from its first byte to its empty line; later it is answered 408.
  public var headerTimeout: Duration = .seconds(10)
  /// How long a body may take on top of one second for each `minimumBodyBytesPerSecond` of it; later: 408.
  public var bodyTimeout: Duration = .seconds(30)
  /// The rate a slow but honest client must keep, in bytes per second, in sending a body and in reading an answer: 10 MiB
  /// take at most eleven minutes and a half.
  public var minimumBodyBytesPerSecond = 16 * 1024
  /// The same for who has shown no key, from `strangerRequestBytes` on: what they share is not theirs to keep.
  public var minimumStrangerBytesPerSecond = 64 * 1024
  /// How long a client that closed its sending half waits for its answer; then the handler's task is cancelled. A client
  /// that is gone looks the same, and its handler may wait for hours.
  public var halfCloseGrace: Duration = .seconds(1)
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
