// One client's connection: requests out of its bytes, one after the other to the handler, answers back in order.
//
//   read handler ──parse──▶ queue (bounded) ──▶ serve() ──handler──▶ output ──▶ one write
//
// The read handler runs on the loop, outside any task; `serve` is the one task that lives as long as the connection.
// When the queue is full reading stops, and when the peer does not read its answers no further request is handled, so
// a connection never holds more than a bounded number of requests and answers. What it holds beyond some KiB is counted
// against the budgets of the server.
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
  /// Whether clients may be strangers: somebody knows keys (`HTTPServerConfiguration.keyJudge`).
  let hasStrangers: Bool
  let requestBudget: SharedBudget
  let answerBudget: SharedBudget
  let logger: Logger
  let handler: HTTPHandler
}

actor HTTPConnection {
  /// Answers joined into one write; a longer body is written by itself and not copied.
  private static let joinedBytes = 16 * 1024
  /// What is read and thrown away after the last request before the connection is given up: the rest of any request that
  /// was refused, so that its sender comes to read the answer.
  private var maxDiscardedBytes: Int { max(1024 * 1024, setup.configuration.maxRequestBytes) }

  nonisolated let setup: ConnectionSetup
  nonisolated var unownedExecutor: UnownedSerialExecutor { setup.loop.asUnownedSerialExecutor() }
  private let stream: any DuplexStream
  private let server: HTTPServer
  /// Whose connection it is.
  nonisolated let peer: HTTPPeer
  private let isTrustedProxy: Bool
  private var task: Task<Void, Never>?

  private let parser: RequestParser
  private var head: RequestHead?
  /// Bytes that it holds.
  private var headBytes = 0
  private var admission: Admission
  private var wantsContinue = false
  /// What could not be parsed because the queue was full; reading is stopped while it is not nil.
  private var unparsed: [UInt8]?
  private var stopsParsing = false
  private var discardedBytes = 0

  /// Whether the request that is being read, or was read last, shows a valid key; nil until somebody has to know.
  private var showsKey: Bool?
  /// What is counted of requests, and whether anything is.
  private let requestShare: BudgetShare
  private var countsRequests = false
  /// Bytes of the request that the handler has.
  private var bytesInHand = 0
  /// What is counted for the answer under way; its handler takes room there too.
  private let answerShare: BudgetShare

  private var queue = RequestQueue()
  /// `serve`, while it waits for the next request.
  private let idleServer: Waiters
  private var isHandling = false
  /// Whether an answer is sent whose end is not made yet.
  private var isSendingPieces = false

  private var output: [UInt8] = []
  private var isFlushScheduled = false

  private var peerEnded = false
  private var isDraining = false
  private var isLingering = false
  private var isClosed = false
  private var deadlines = ConnectionDeadlines()
  private(set) var counters = ConnectionCounters()

  init(_ stream: any DuplexStream, from peer: HTTPPeer, server: HTTPServer, setup: ConnectionSetup) {
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
    requestShare = BudgetShare(of: setup.requestBudget)
    answerShare = BudgetShare(of: setup.answerBudget, with: requestShare)
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
    // A peer that left while its bytes were not read is not heard of by reading.
    if isHandling, !peerEnded, !isReading, stream.peerHasEnded { peerHasEnded() }
    switch deadlines.expired(now: now, unwritten: stream.queuedBytes) {
    case nil: break
    case .idle, .lingering: close()
    case .head: refuse(Refusal(408, "the head of the request did not come in time"))
    case .body: refuse(Refusal(408, "the body of the request did not come in time"))
    case .halfClosed:
      counters.abandoned &+= 1
      abort()
    case .stalledWrite: abort()
    }
  }

  // MARK: reading

  /// Nothing is owed to the peer, and the peer has begun nothing.
  private var isIdle: Bool {
    !isHandling && !isSendingPieces && queue.isEmpty && isBetweenRequests && !isLingering && output.isEmpty
      && stream.queuedBytes == 0
  }

  private var isBetweenRequests: Bool { parser.phase == .boundary && unparsed == nil }

  private var isReading: Bool { unparsed == nil && discardedBytes <= maxDiscardedBytes }

  private func startReading() {
    stream.startReading { [self] event in assumeIsolated { $0.onRead(event) } }
  }

  private func onRead(_ event: ByteStream.ReadEvent) {
    switch event {
    case .bytes(let bytes):
      counters.bytesIn &+= UInt64(bytes.count)
      if stopsParsing { discard(bytes.count) } else { parse(bytes) }
    case .end:
      if isLingering { return close() }
      if !stopsParsing, parser.phase != .boundary { refuse(Refusal(400, "the request ended too early")) }
      peerHasEnded()
      idleServer.resumeAll()
    case .failed:
      close()
    }
  }

  private func peerHasEnded() {
    peerEnded = true
    if isHandling { limitHandler() }
  }

  /// A handler that began to work for a peer which has closed its side, or did so meanwhile, has little time left: the peer
  /// is most likely gone.
  private func limitHandler() {
    deadlines.halfClosed(until: setup.loop.nowMilliseconds + setup.timeouts.halfCloseGrace)
  }

  private func parse(_ bytes: UnsafeRawBufferPointer) {
    var rest = bytes
    while true {
      let (consumed, step) = parser.parse(rest)
      rest = UnsafeRawBufferPointer(rebasing: rest[consumed...])
      switch step {
      case .needsMore:
        guard rest.isEmpty else { continue }
        guard countRequests() else { return refuse(forWantOf: heldBytes) }
        return armReadDeadline()
      case .head(let head):
        if let refusal = admission.refusal(of: head) { return refuse(refusal) }
        self.head = head
        headBytes = head.heldBytes
        showsKey = nil
        if case .length(let length) = head.framing, isTooLargeForStranger(Int(length)) {
          return refuse(forWantOf: Int(length))
        }
        if head.expectation == .continue, rest.isEmpty { promiseToContinue() }
      case .message:
        guard countRequests() else { return refuse(forWantOf: heldBytes) }
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
    let bytes = headBytes + body.count
    headBytes = 0
    var framing = ResponseFraming(closes: !parser.keepsAlive, leavesBodyOut: head.method == .head)
    framing.isHTTP10 = head.isHTTP10
    if !setup.crossOrigin.isOff { framing.extraFields = setup.crossOrigin.fields(for: head.origin) }
    if head.method == .options {
      enqueue(.answer(setup.crossOrigin.answerToOptions(head.headers, origin: head.origin), framing))
    } else {
      let request = HTTPRequest(
        method: head.method, target: head.target, headers: head.headers, body: body, peer: peer,
        client: client(of: head), origin: origin(of: head), room: answerShare)
      enqueueJudged(request, framing, bytes)
    }
    if framing.closes { stopsParsing = true }
    // The bytes of what is answered already are gone.
    if countsRequests { _ = countRequests() }
  }

  /// Enqueues a request with what is known of its sender, or what it is answered at once.
  private func enqueueJudged(_ request: HTTPRequest, _ framing: ResponseFraming, _ bytes: Int) {
    guard request.body.count > setup.configuration.strangerRequestBytes, let judge = setup.configuration.keyJudge,
      !senderShowsKey()
    else { return enqueue(.request(request, framing, showsKey: showsKey ?? false), bytes) }
    switch judge.judge(request) {
    case .needsNoKey: enqueue(.request(request, framing, showsKey: false), bytes)
    case .refused(let response, let pause): enqueue(.answer(response, framing, after: pause))
    case .showsKey:
      showsKey = true
      guard countRequests(besides: bytes) else { return refuse(.noRoom) }
      enqueue(.request(request, framing, showsKey: true), bytes)
    }
  }

  private func client(of head: RequestHead) -> HTTPPeer {
    guard case .address(let address) = peer, isTrustedProxy, head.proxyField != nil else { return peer }
    return .address(setup.trustedProxies.client(of: head.headers, from: address))
  }

  private func origin(of head: RequestHead) -> RequestOrigin {
    if let field = head.proxyField { return .proxy(field: field) }
    // What speaks HTTP/1.0 today is a proxy that was told nothing (nginx's default).
    return admission.isForLoopback && peer.isLoopback && !head.isHTTP10 ? .thisMachine : .elsewhere
  }

  private func enqueue(_ work: RequestQueue.Work, _ bytes: Int = 0) {
    queue.append(work, bytes: bytes)
    idleServer.resumeAll()
  }

  /// Answers a refusal in its turn, and nothing after it.
  private func refuse(_ refusal: Refusal) {
    guard !stopsParsing, !isClosed else { return }
    stopsParsing = true
    wantsContinue = false
    forgetUnread()
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
    guard discardedBytes > maxDiscardedBytes else { return }
    if isLingering { close() } else { stream.stopReading() }
  }

  // MARK: budget

  /// Counts what is held of requests.
  /// - Parameter more: bytes of a request that is neither in the parser nor in the queue.
  /// - Returns: whether there is room; if not, what was counted before still is.
  private func countRequests(besides more: Int = 0) -> Bool {
    let held = heldBytes + more
    guard held > setup.configuration.uncountedBytes else {
      guard countsRequests else { return true }
      countsRequests = false
      return requestShare.hold(0)
    }
    countsRequests = true
    // A handler may have found a key that the server does not know of.
    return requestShare.hold(held, isKnown: senderShowsKey() || isHandling && answerShare.isKnown)
  }

  private var heldBytes: Int {
    headBytes + parser.heldBytes + (unparsed?.count ?? 0) + queue.bytes + bytesInHand
  }

  private func senderShowsKey() -> Bool {
    guard let judge = setup.configuration.keyJudge else { return true }
    if let showsKey { return showsKey }
    guard let head else { return false }
    let shows = judge.showsKey(head.headers)
    showsKey = shows
    return shows
  }

  /// Whether so many bytes will never have room, since their sender shows no key.
  private func isTooLargeForStranger(_ bytes: Int) -> Bool {
    bytes > setup.configuration.maxStrangerBytes && !senderShowsKey()
  }

  private func refuse(forWantOf bytes: Int) {
    refuse(isTooLargeForStranger(bytes) ? .tooLargeForStranger(setup.configuration.maxStrangerBytes) : .noRoom)
  }

  /// Counts an answer, from now on instead of what its handler took.
  /// - Returns: whether there is room.
  private func countAnswer(_ bytes: Int, _ request: HTTPRequest) -> Bool {
    let counted = bytes > setup.configuration.uncountedBytes ? bytes : 0
    if answerShare.hold(counted) { return true }
    // A path that asks for no key may be called with one.
    guard setup.configuration.keyJudge?.showsKey(request.headers) == true else { return false }
    return answerShare.hold(counted, isKnown: true)
  }

  private func answerForWantOfRoom() -> HTTPResponse {
    server.assumeIsolated { $0.noteRefusal(Refusal.noRoom.status) }
    return Refusal.noRoom.response(setup.configuration)
  }

  /// Lets go of what will not be served.
  private func forgetUnread() {
    head = nil
    headBytes = 0
    unparsed = nil
    parser.discard()
    _ = countRequests()
  }

  // MARK: backpressure

  private func pauseReading(_ rest: UnsafeRawBufferPointer) {
    unparsed = Array(rest)
    deadlines.stopReading()
    stream.stopReading()
    if !countRequests() { refuse(forWantOf: heldBytes) }
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
    // However it ends, nothing of an answer is left then.
    defer { _ = answerShare.hold(0) }
    while let entry = await next() {
      var (response, framing) = await answer(entry)
      guard !isClosed else { return }
      if isDraining || response.rest != nil && framing.isHTTP10 { framing.closes = true }
      append(response, framing)
      if let rest = response.rest {
        await send(rest, after: response.body.count, framing)
        guard !isClosed else { return }
      }
      if framing.closes { return await finish() }
      if queue.isEmpty { flush() } else { scheduleFlush() }
      if stream.queuedBytes > 0 { await awaitPeer() }
      _ = answerShare.hold(0)
      if unparsed != nil { resumeReading() }
      if queue.isEmpty { awaitNextRequest() }
    }
    if !isClosed { await finish() }
  }

  private func answer(_ entry: RequestQueue.Entry) async -> (HTTPResponse, ResponseFraming) {
    switch entry.work {
    case .answer(let response, let framing, let pause):
      if pause > .zero { try? await setup.loop.sleep(for: pause) }
      return (response, framing)
    case .request(let request, let framing, let showsKey):
      counters.requests &+= 1
      isHandling = true
      bytesInHand = entry.bytes
      // Nothing is held yet, so that this needs no room.
      _ = answerShare.hold(0, isKnown: showsKey || !setup.hasStrangers)
      if peerEnded { limitHandler() }
      let response = await setup.handler(request)
      isHandling = false
      bytesInHand = 0
      if countsRequests { _ = countRequests() }
      if peerEnded { deadlines.halfClosed(until: .max) }
      // Of an answer in pieces what its handler took stays taken.
      let hasRoom =
        response.rest != nil || countAnswer(framing.sendsBody(of: response) ? response.body.count : 0, request)
      return (hasRoom ? response : answerForWantOfRoom(), framing)
    }
  }

  /// The next request in order; nil when there will be none.
  private func next() async -> RequestQueue.Entry? {
    while queue.isEmpty {
      if isClosed || peerEnded || stopsParsing || (isDraining && isBetweenRequests) { return nil }
      if wantsContinue {
        wantsContinue = false
        writeContinue()
        armReadDeadline()
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
    case .boundary: if queue.isEmpty, !isHandling, !isSendingPieces { deadlines.idle(until: now + setup.timeouts.idle) }
    case .head: deadlines.readingHead(now: now, timeout: setup.timeouts.header)
    case .body, .trailers:
      if wantsContinue {
        // The client waits for its 100, which is behind an answer that is still owed: its time begins with that
        // (RFC 9110, section 10.1.1). One that sends all the same needs none.
        if parser.bodyCount == 0 { return deadlines.stopReading() }
        wantsContinue = false
      }
      let isLarge = parser.bodyCount > setup.configuration.strangerRequestBytes
      deadlines.readingBody(
        now: now, bytes: parser.bodyCount, timeout: setup.timeouts.body,
        rate: isLarge && !senderShowsKey() ? setup.timeouts.strangerBytesPerSecond : setup.timeouts.bytesPerSecond)
    }
  }

  // MARK: writing

  private func append(_ response: HTTPResponse, _ framing: ResponseFraming) {
    output.append(headOf: response, framing)
    guard framing.sendsBody(of: response) else { return }
    if response.rest != nil { return append(piece: response.body, framing) }
    if response.body.count <= Self.joinedBytes {
      output.append(contentsOf: response.body)
    } else {
      flush()
      write(response.body)
    }
  }

  private func append(piece: [UInt8], _ framing: ResponseFraming) {
    // A chunk without bytes would be the last one.
    guard !piece.isEmpty else { return }
    if !framing.isHTTP10 { output.appendChunkSize(piece.count) }
    flush()
    write(piece)
    if !framing.isHTTP10 { output.append("\r\n") }
  }

  /// Sends the rest of an answer, a piece at a time: the next is made when the peer has taken the one before. What the
  /// largest takes stays counted to the end, so that an answer which has begun finds room for its next piece.
  /// - Parameter first: the bytes of the piece that was written already, for which its handler has taken room.
  private func send(_ rest: HTTPResponse.Rest, after first: Int, _ framing: ResponseFraming) async {
    isSendingPieces = true
    defer { isSendingPieces = false }
    // A handler that took none has none to pass on.
    var counted = min(first, answerShare.bytes)
    do {
      while true {
        await awaitPeer()
        guard !isClosed else { return }
        guard let piece = try await rest.next() else { break }
        guard !isClosed else { return }
        if piece.count > counted {
          guard answerShare.take(piece.count - counted) else { throw Refusal.noRoom }
          counted = piece.count
        }
        append(piece: piece, framing)
        flush()
      }
      append(piece: rest.end, framing)
      if !framing.isHTTP10 { output.append("0\r\n\r\n") }
    } catch {
      guard !isClosed else { return }
      counters.cutOff &+= 1
      // Who wants more than there is room for is no news; the server says how many were (`warnOfRefusals`).
      let refusal = error as? Refusal
      setup.logger.log(
        level: refusal == nil ? .warning : .debug, "an answer was cut off after its beginning",
        metadata: ["peer": "\(peer)", "reason": "\(refusal?.reason ?? "\(error)")"])
      abort()
    }
  }

  private func flush() {
    guard !output.isEmpty, !isClosed else { return }
    write(output)
    // The buffer serves the next answer too, unless one large answer would be remembered for the connection's life.
    if output.capacity > setup.configuration.uncountedBytes {
      output = []
    } else {
      output.removeAll(keepingCapacity: true)
    }
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
    if queue.isEmpty, !isHandling, !isSendingPieces, output.isEmpty { writeContinue() } else { wantsContinue = true }
  }

  private func writeContinue() {
    write(Array("HTTP/1.1 100 Continue\r\n\r\n".utf8))
  }

  /// Waits until the peer has taken all, since none of it is freed before.
  private func awaitPeer() async {
    // Small answers to pipelined requests, joined: a peer that does not read them is no longer worth their memory when
    // that is short.
    let queued = stream.queuedBytes
    if queued > max(answerShare.bytes, setup.configuration.uncountedBytes), !answerShare.hold(queued) { return abort() }
    armWriteDeadline()
    do { try await stream.drained(to: 0) } catch { close() }
    deadlines.written()
  }

  private func armWriteDeadline() {
    deadlines.writing(
      now: setup.loop.nowMilliseconds, unwritten: stream.queuedBytes, timeout: setup.timeouts.idle,
      rate: setup.timeouts.bytesPerSecond)
  }

  // MARK: closing

  /// Ends after the last answer: half closes, then waits a little for the peer to do the same. Closing at once would
  /// send a reset if the peer is still sending, and a reset may overtake the answer (RFC 9112 §9.6).
  private func finish() async {
    stopsParsing = true
    forgetUnread()
    deadlines.stopReading()
    flush()
    if peerEnded, stream.queuedBytes == 0 { return close() }
    armWriteDeadline()
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
    forgetUnread()
    idleServer.resumeAll()
    server.assumeIsolated { [counters] in $0.remove(self, counters) }
  }
}
