// One client's connection: requests out of its bytes, one after the other to the handler, answers back in order.
//
//   read handler ──parse──▶ queue (bounded) ──▶ serve() ──handler──▶ output ──▶ one write
//
// The read handler runs on the loop, outside any task; `serve` is the one task that lives as long as the connection.
// When the queue is full reading stops, and when the peer does not read its answers no further request is handled, so
// a connection never holds more than a bounded number of requests and answers.
import EventLoop
import Logging

/// What all connections of a listener share; constant.
struct ConnectionSetup: Sendable {
  let loop: EventLoop
  let configuration: HTTPServerConfiguration
  let timeouts: TimeoutsInMilliseconds
  let hosts: HostPolicy
  let crossOrigin: CrossOrigin
  let trustedProxies: TrustedProxies
  let logger: Logger
  let handler: HTTPHandler
}

actor HTTPConnection {
  /// Answers joined into one write; a longer body is written by itself and not copied.
  private static let joinedBytes = 64 * 1024
  /// What is read and thrown away after the last request before the connection is given up.
  private static let maxDiscardedBytes = 1024 * 1024

  nonisolated let setup: ConnectionSetup
  nonisolated var unownedExecutor: UnownedSerialExecutor { setup.loop.asUnownedSerialExecutor() }
  private let stream: ByteStream
  private let server: HTTPServer
  private let peer: HTTPPeer
  private let isTrustedProxy: Bool
  private var task: Task<Void, Never>?

  private let parser: RequestParser
  private var head: RequestHead?
  private var admission: Admission
  private var wantsContinue = false
  /// What could not be parsed because the queue was full; reading is stopped while it is not nil.
  private var unparsed: [UInt8]?
  private var stopsParsing = false
  private var discardedBytes = 0

  private var queue = RequestQueue()
  /// `serve`, while it waits for the next request.
  private let idleServer: Waiters
  private var isHandling = false

  private var output: [UInt8] = []
  private var isFlushScheduled = false

  private var peerEnded = false
  private var isDraining = false
  private var isLingering = false
  private var isClosed = false
  private var deadlines = ConnectionDeadlines()
  private(set) var counters = ConnectionCounters()

  init(_ stream: ByteStream, from peer: HTTPPeer, server: HTTPServer, setup: ConnectionSetup) {
    self.stream = stream
    self.server = server
    self.setup = setup
    self.peer = peer
    if case .address(let address) = peer {
      isTrustedProxy = setup.trustedProxies.contains(address)
    } else {
      isTrustedProxy = false
    }
    idleServer = Waiters(on: setup.loop)
    admission = Admission(hosts: setup.hosts)
    parser = RequestParser(limits: setup.configuration, wantsOrigin: !setup.crossOrigin.isOff)
  }

  /// Starts to read and to serve.
  /// - Parameter refusal: the only thing this client will hear, when it came too many.
  func start(refusing refusal: Refusal? = nil) {
    if let refusal { refuse(refusal) } else { awaitNextRequest() }
    startReading()
    // Without the preference Swift 6.3 resumes every continuation on the global executor first, and only then here.
    task = Task(executorPreference: setup.loop) { [self] in await serve() }
  }

  /// Lets requests in flight be answered with `Connection: close`; an idle connection is closed at once.
  func drain() {
    isDraining = true
    if isIdle { close() }
  }

  /// Closes by a reset: the peer must not take a cut answer for a whole one.
  func abort() {
    guard !isClosed else { return }
    stream.reset()
    close()
  }

  /// Acts on what is due.
  func sweep(now: UInt64) {
    switch deadlines.expired(now: now, unwritten: stream.queuedBytes) {
    case nil: break
    case .idle, .lingering: close()
    case .head: refuse(Refusal(408, "the head of the request did not come in time"))
    case .body: refuse(Refusal(408, "the body of the request did not come in time"))
    case .halfClosed, .stalledWrite: abort()
    }
  }

  // MARK: reading

  /// Nothing is owed to the peer, and the peer has begun nothing.
  private var isIdle: Bool {
    !isHandling && queue.isEmpty && isBetweenRequests && !isLingering && output.isEmpty && stream.queuedBytes == 0
  }

  private var isBetweenRequests: Bool { parser.phase == .boundary && unparsed == nil }

  private func startReading() {
    stream.startReading { [self] event in assumeIsolated { $0.onRead(event) } }
  }

  private func onRead(_ event: ByteStream.ReadEvent) {
    switch event {
    case .bytes(let bytes):
      counters.bytesIn &+= UInt64(bytes.count)
      if stopsParsing { discard(bytes.count) } else { parse(bytes) }
    case .end:
      peerEnded = true
      if isLingering { return close() }
      if !stopsParsing, parser.phase != .boundary { refuse(Refusal(400, "the request ended too early")) }
      deadlines.halfClosed(at: setup.loop.nowMilliseconds + setup.timeouts.halfCloseGrace)
      idleServer.resumeAll()
    case .failed:
      close()
    }
  }

  private func parse(_ bytes: UnsafeRawBufferPointer) {
    var rest = bytes
    while true {
      let (consumed, step) = parser.parse(rest)
      rest = UnsafeRawBufferPointer(rebasing: rest[consumed...])
      switch step {
      case .needsMore:
        if rest.isEmpty { return armReadDeadline() }
      case .head(let head):
        if let refusal = admission.refusal(of: head) { return refuse(refusal) }
        self.head = head
        if head.expectation == .continue, rest.isEmpty { promiseToContinue() }
      case .message:
        enqueueRequest()
        if stopsParsing { return discard(rest.count) }
        if rest.isEmpty { return armReadDeadline() }
        if queue.isFull { return pauseReading(rest) }
      case .refused(let refusal):
        return refuse(refusal)
      }
    }
  }

  private func enqueueRequest() {
    guard let head else { return }
    self.head = nil
    wantsContinue = false
    deadlines.stopReading()
    let body = parser.takeBody()
    var framing = ResponseFraming(closes: !parser.keepsAlive, leavesBodyOut: head.method == .head)
    framing.isHTTP10 = head.isHTTP10
    if !setup.crossOrigin.isOff { framing.extraFields = setup.crossOrigin.fields(for: head.origin) }
    if framing.closes { stopsParsing = true }
    if head.method == .options {
      enqueue(.answer(setup.crossOrigin.answerToOptions(head.headers, origin: head.origin), framing))
    } else {
      let request = HTTPRequest(
        method: head.method, target: head.target, headers: head.headers, body: body, peer: peer,
        client: client(of: head), origin: origin(of: head))
      enqueue(.request(request, framing))
    }
  }

  private func client(of head: RequestHead) -> HTTPPeer {
    guard case .address(let address) = peer, isTrustedProxy, head.proxyField != nil else { return peer }
    return .address(setup.trustedProxies.client(of: head.headers, from: address))
  }

  private func origin(of head: RequestHead) -> RequestOrigin {
    if let field = head.proxyField { return .proxy(field: field) }
    return admission.isForLoopback && peer.isLoopback ? .thisMachine : .elsewhere
  }

  private func enqueue(_ work: RequestQueue.Work) {
    queue.append(work)
    idleServer.resumeAll()
  }

  /// Answers a refusal in its turn, and nothing after it.
  private func refuse(_ refusal: Refusal) {
    guard !stopsParsing, !isClosed else { return }
    stopsParsing = true
    wantsContinue = false
    unparsed = nil
    deadlines.stopReading()
    server.assumeIsolated { $0.noteRefusal(refusal.status) }
    setup.logger.debug(
      "request refused",
      metadata: ["peer": "\(peer)", "status": "\(refusal.status)", "reason": "\(refusal.reason)"])
    enqueue(.answer(refusal.response(setup.configuration), ResponseFraming(closes: true)))
  }

  /// Bytes behind the last request are read only so that the peer can send them and then see our answer.
  private func discard(_ count: Int) {
    discardedBytes += count
    guard discardedBytes > Self.maxDiscardedBytes else { return }
    if isLingering { close() } else { stream.stopReading() }
  }

  // MARK: backpressure

  private func pauseReading(_ rest: UnsafeRawBufferPointer) {
    unparsed = Array(rest)
    deadlines.stopReading()
    stream.stopReading()
  }

  private func resumeReading() {
    guard let bytes = unparsed, queue.hasRoom else { return }
    unparsed = nil
    bytes.withUnsafeBytes { parse($0) }
    guard unparsed == nil, !isClosed else { return }
    startReading()
  }

  // MARK: serving

  private func serve() async {
    while let work = await next() {
      isHandling = true
      var (response, framing) = await answer(work)
      isHandling = false
      guard !isClosed else { return }
      if isDraining { framing.closes = true }
      append(response, framing)
      if framing.closes { return await finish() }
      if queue.isEmpty { flush() } else { scheduleFlush() }
      if stream.queuedBytes > 0 { await awaitPeer() }
      if unparsed != nil { resumeReading() }
      if queue.isEmpty { awaitNextRequest() }
    }
    if !isClosed { await finish() }
  }

  private func answer(_ work: RequestQueue.Work) async -> (HTTPResponse, ResponseFraming) {
    switch work {
    case .answer(let response, let framing): return (response, framing)
    case .request(let request, let framing):
      counters.requests &+= 1
      return (await setup.handler(request), framing)
    }
  }

  /// The next request in order; nil when there will be none.
  private func next() async -> RequestQueue.Work? {
    while queue.isEmpty {
      if isClosed || peerEnded || stopsParsing || (isDraining && isBetweenRequests) { return nil }
      if wantsContinue {
        wantsContinue = false
        writeContinue()
      }
      await idleServer.wait(while: { queue.isEmpty && !isClosed && !peerEnded })
    }
    return queue.removeFirst()
  }

  private func awaitNextRequest() {
    if isBetweenRequests { deadlines.idle(until: setup.loop.nowMilliseconds + setup.timeouts.idle) }
  }

  private func armReadDeadline() {
    let now = setup.loop.nowMilliseconds
    switch parser.phase {
    case .boundary: if queue.isEmpty, !isHandling { deadlines.idle(until: now + setup.timeouts.idle) }
    case .head: deadlines.readingHead(now: now, timeout: setup.timeouts.header)
    case .body, .trailers: deadlines.readingBody(now: now, bytes: parser.bodyCount, setup.timeouts)
    }
  }

  // MARK: writing

  private func append(_ response: HTTPResponse, _ framing: ResponseFraming) {
    output.append(headOf: response, framing)
    guard framing.sendsBody(of: response) else { return }
    if response.body.count <= Self.joinedBytes {
      output.append(contentsOf: response.body)
    } else {
      flush()
      write(response.body)
    }
  }

  private func flush() {
    guard !output.isEmpty, !isClosed else { return }
    write(output)
    // The buffer serves the next answer too, unless one large answer would be remembered for the connection's life.
    if output.capacity > 16 * 1024 { output = [] } else { output.removeAll(keepingCapacity: true) }
  }

  private func write(_ bytes: [UInt8]) {
    counters.bytesOut &+= UInt64(bytes.count)
    stream.write(bytes)
  }

  /// Joins answers to pipelined requests: written when the handlers have nothing more to say in this turn of the loop.
  private func scheduleFlush() {
    if output.count >= Self.joinedBytes { return flush() }
    guard !isFlushScheduled, !output.isEmpty else { return }
    isFlushScheduled = true
    setup.loop.execute { [self] in
      assumeIsolated {
        $0.isFlushScheduled = false
        $0.flush()
      }
    }
  }

  /// Says 100 (Continue) now, or behind the answers that are still owed.
  private func promiseToContinue() {
    if queue.isEmpty, !isHandling, output.isEmpty { writeContinue() } else { wantsContinue = true }
  }

  private func writeContinue() {
    write(Array("HTTP/1.1 100 Continue\r\n\r\n".utf8))
  }

  private func awaitPeer() async {
    deadlines.writing(now: setup.loop.nowMilliseconds, unwritten: stream.queuedBytes, timeout: setup.timeouts.idle)
    do { try await stream.drained() } catch { close() }
    deadlines.written()
  }

  // MARK: closing

  /// Ends after the last answer: half closes, then waits a little for the peer to do the same. Closing at once would
  /// send a reset if the peer is still sending, and a reset may overtake the answer (RFC 9112 §9.6).
  private func finish() async {
    stopsParsing = true
    unparsed = nil
    deadlines.stopReading()
    flush()
    if peerEnded, stream.queuedBytes == 0 { return close() }
    deadlines.writing(now: setup.loop.nowMilliseconds, unwritten: stream.queuedBytes, timeout: setup.timeouts.idle)
    do { try await stream.shutdownWrite() } catch { return close() }
    deadlines.written()
    guard !isClosed, !peerEnded else { return close() }
    isLingering = true
    deadlines.lingering(until: setup.loop.nowMilliseconds + setup.timeouts.linger)
    startReading()
  }

  private func close() {
    guard !isClosed else { return }
    isClosed = true
    stream.close()
    task?.cancel()
    queue = RequestQueue()
    output = []
    unparsed = nil
    idleServer.resumeAll()
    server.assumeIsolated { [counters] in $0.remove(self, counters) }
  }
}
