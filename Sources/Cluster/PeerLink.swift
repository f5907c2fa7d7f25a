import EventLoop
import Gossip
import TLS

// One connection between two nodes that know each other: many calls at a time, both ways. This file has its calls and its
// end; requests of the peer are in `PeerLink+Serving.swift`, frames in `PeerLink+Frames.swift`, what has to do with time
// in `PeerLink+Clock.swift`.

/// What a request on a link is for.
public enum LinkChannel: UInt8, Sendable {
  /// A distributed call.
  case invocation = 1
  /// All that is known of the membership, for the same from the other end.
  case exchange = 2
}

actor PeerLink {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  /// The other end.
  nonisolated let peer: Introduction
  /// Whether this end made the connection.
  nonisolated let isDialler: Bool
  nonisolated var name: MemberName { peer.name }
  /// Of the protocol: the highest that both ends speak.
  nonisolated let version: UInt8

  typealias Server = @Sendable (LinkChannel, [UInt8]) async throws -> [UInt8]

  enum End: Sendable {
    /// One of both ends closed it on purpose.
    case closed
    /// It broke, or became useless.
    case lost(String)
  }

  /// A request that waits for its answer.
  struct Call {
    let result: Promise<Result<[UInt8], ClusterError>>
    let deadline: Duration?
    var answer: Assembly?
  }

  let stream: TLSStream
  /// By what its peer has shown that it is a member.
  nonisolated let proof: LinkProof
  let limits: LinkLimits
  var frames = FrameBuffer()
  var outbox = Outbox()
  /// Frames that go out together at the end of this turn of the loop.
  var outgoing: [UInt8] = []
  var isFlushPlanned = false
  var isPumping = false {
    didSet { progressClosing() }
  }
  /// Bytes given to the connection so far.
  var written: Int { stream.writtenBytes }

  var calls: [UInt64: Call] = [:]
  private var lastCall: UInt64 = 0
  var pings: [UInt64: Promise<Bool>] = [:]

  /// Requests of the peer that are being carried out, and whose answers are wanted.
  var serving: [UInt64: Task<Void, Never>] = [:]
  var arriving: [UInt64: Arriving] = [:]
  /// Requests that are being carried out, those that nobody waits for any more among them, and bytes of all requests.
  var running = 0 {
    didSet { progressClosing() }
  }
  var requestBytes = 0
  let server: Server

  private let onEnd: @Sendable (PeerLink, End) -> Void
  private(set) var hasEnded = false
  /// This end makes no new calls, nor does the other. It has said so once all its requests are sent. When both have, it
  /// closes with the last call.
  private var isRetiring = false
  private var hasSaidSo = false
  private var peerIsRetiring = false
  /// Runs from the end until nothing is left; who waits for that.
  private var closing: Timer?
  private let closingWaiters: Waiters

  let clock: Timer
  var clockDeadline: Duration?
  var watch: LinkWatch

  init(
    _ stream: TLSStream, peer: Introduction, proof: LinkProof, version: UInt8, isDialler: Bool,
    on loop: EventLoop, limits: LinkLimits, server: @escaping Server,
    onEnd: @escaping @Sendable (PeerLink, End) -> Void
  ) {
    self.stream = stream
    self.peer = peer
    self.version = version
    self.isDialler = isDialler
    self.proof = proof
    self.loop = loop
    self.limits = limits
    self.server = server
    self.onEnd = onEnd
    closingWaiters = Waiters(on: loop)
    clock = Timer(on: loop)
    watch = LinkWatch(limits, at: MonotonicClock.now)
  }

  /// Whether calls may be made on it.
  var isUsable: Bool { !hasEnded && !isRetiring }

  // MARK: Calls

  /// Sends a request and waits for its answer.
  /// - Parameter deadline: until when; `nil` for as long as the link lives.
  func request(
    _ channel: LinkChannel, _ body: [UInt8], until deadline: Duration?
  ) async throws(ClusterError) -> [UInt8] {
    guard isUsable else { throw .unreachable(name, reason: "the link is closed") }
    guard body.count < Frame.maximumMessageBytes else {
      throw .invalidAnswer(name, reason: "a call of \(body.count) bytes is too big for a link")
    }
    if Task.isCancelled { throw .cancelled }
    let call = takeNumber()
    let result = Promise<Result<[UInt8], ClusterError>>(on: loop)
    calls[call] = Call(result: result, deadline: deadline)
    send(.request(call), channel: channel, body)
    planClock(deadline)
    planClock()
    if let result = await result.valueUnlessCancelled() { return try result.get() }
    giveUp(call, .cancelled)
    throw .cancelled
  }

  /// The caller waits no longer; the peer may stop working on it.
  func giveUp(_ call: UInt64, _ error: ClusterError) {
    guard calls[call] != nil else { return }
    // Of what it has not heard, it need not hear that nobody wants it.
    if outbox.remove(.request(call)) != 0 { post(.cancel, call: call) }
    finish(call, .failure(error))
  }

  func finish(_ number: UInt64, _ result: Result<[UInt8], ClusterError>) {
    guard let call = calls.removeValue(forKey: number) else { return }
    call.result.resolve(result)
    progressRetirement()
  }

  /// Whether the peer answers at all; no faster than the network, and not before all that was sent earlier.
  func ping(within time: Duration? = nil) async -> Bool {
    guard !hasEnded else { return false }
    let call = takeNumber()
    let pong = Promise<Bool>(on: loop)
    // Registered first: a link that cannot send it ends, and with it the wait.
    pings[call] = pong
    post(.ping, call: call)
    planClock()
    return await pong.valueUnlessCancelled(atMost: time) ?? false
  }

  func takeNumber() -> UInt64 {
    lastCall += 1
    return lastCall
  }

  // MARK: End

  /// Another link takes its place, or no calls are to be made any more: it closes once both ends know and the calls under
  /// way are over.
  func retire() {
    guard isUsable else { return }
    isRetiring = true
    progressRetirement()
    planClock()
  }

  func peerRetired() {
    peerIsRetiring = true
    retire()
    progressRetirement()
  }

  /// Whether the peer has still to say that it makes no more calls.
  var awaitsRetirement: Bool { isRetiring && !peerIsRetiring }

  func progressRetirement() {
    guard isRetiring, !hasEnded else { return }
    if !hasSaidSo && outbox.requests == 0 {
      hasSaidSo = true
      post(.retire, call: 0)
    }
    if hasSaidSo && peerIsRetiring && calls.isEmpty && serving.isEmpty && arriving.isEmpty && outbox.isEmpty {
      close(within: limits.stall)
    }
  }

  /// Says goodbye, and ends it; calls that are under way fail.
  /// - Parameter time: how long the last bytes may take on their way.
  func close(within time: Duration) {
    if hasEnded { return limitClosing(to: time) }
    post(.goodbye, call: 0)
    flush()
    end(.closed, closingWithin: time)
  }

  /// All calls fail at once. The first reason stays.
  func end(_ end: End) { self.end(end, closingWithin: nil) }

  private func end(_ end: End, closingWithin time: Duration?) {
    guard !hasEnded else { return }
    hasEnded = true
    clock.close()
    let (calls, pings, tasks) = (calls, pings, serving)
    (self.calls, self.pings, serving, arriving, outbox, outgoing) = ([:], [:], [:], [:], Outbox(), [])
    for call in calls.values { call.result.resolve(.failure(.nodeLost(name))) }
    for ping in pings.values { ping.resolve(false) }
    for task in tasks.values { task.cancel() }
    closing = Timer(on: loop)
    limitClosing(to: time ?? limits.goodbyeTime)
    if time == nil { stream.close() } else { sayGoodbye() }
    onEnd(self, end)
    progressClosing()
  }

  /// What was written still goes out. The peer's end is waited for: a socket that is closed while bytes of the peer arrive
  /// throws away what it has not sent (RFC 2525, §2.17).
  private func sayGoodbye() {
    stream.startReading { event in
      if case .bytes = event { return }
      self.assumeIsolated { link in
        link.stream.close()
        link.progressClosing()
      }
    }
    Task(executorPreference: loop) { [stream] in try? await stream.shutdownWrite() }
  }

  private func limitClosing(to time: Duration) {
    closing?.schedule(after: time) { self.assumeIsolated { $0.endClosing() } }
  }

  /// Requests that are still carried out, though they were cancelled, are waited for as long as the last bytes.
  private func progressClosing() {
    if closing != nil && stream.isClosed && !isPumping && running == 0 { endClosing() }
  }

  private func endClosing() {
    stream.close()
    closing?.close()
    closing = nil
    closingWaiters.resumeAll()
  }

  /// Returns when nothing of it is left on the loop. After its end.
  func closed() async { await closingWaiters.wait(while: { closing != nil }) }
}
