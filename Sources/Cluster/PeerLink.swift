import EventLoop
import Gossip

// One connection between two nodes that know each other: many calls at a time, both ways. What is read and written as
// bytes is in `PeerLink+Frames.swift`.

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

  typealias Server = @Sendable (PeerLink, LinkChannel, [UInt8]) async throws -> [UInt8]

  enum End: Sendable {
    /// One of both ends closed it on purpose.
    case closed
    /// It broke, or became useless.
    case lost(String)
  }

  /// A request that waits for its answer.
  struct Call {
    let continuation: CheckedContinuation<Result<[UInt8], ClusterError>, Never>
    let deadline: Duration?
    var pieces: [UInt8] = []
  }

  let stream: TCPStream
  let sealing: FrameCipher
  let opening: FrameCipher
  var received: [UInt8] = []
  /// Frames that go out together at the end of this turn of the loop.
  var outgoing: [UInt8] = []
  var isFlushPlanned = false

  var calls: [UInt64: Call] = [:]
  private var lastCall: UInt64 = 0
  /// Requests of the peer that are being carried out, and those that have not arrived completely.
  var serving: [UInt64: Task<Void, Never>] = [:]
  var incoming: [UInt64: [UInt8]] = [:]
  private let server: Server
  private let onEnd: @Sendable (PeerLink, End) -> Void
  private(set) var hasEnded = false
  /// This end makes no new calls and has said so; nor does the other. Then it closes when the last call is over.
  private var isRetiring = false
  private var peerIsRetiring = false
  private var pingWaiters: [UInt64: CheckedContinuation<Bool, Never>] = [:]
  private let clock: Timer
  private var clockDeadline: Duration?
  /// When something arrived last.
  var lastReceived: Duration
  private var unansweredPing: Duration?

  /// Requests of one peer carried out at a time; it may wait for as many results.
  static let maximumServing = 16_384
  /// A link on which a call waits, and nothing arrives for this long, is pinged; as long again without an answer, and it
  /// is lost.
  static let silence = Duration.seconds(5)
  /// A sender waits while more than this many bytes are on their way.
  static let highWater = 1 << 20

  init(
    _ stream: TCPStream, peer: Introduction, isDialler: Bool, sealing: FrameCipher, opening: FrameCipher,
    on loop: EventLoop, server: @escaping Server, onEnd: @escaping @Sendable (PeerLink, End) -> Void
  ) {
    self.stream = stream
    self.peer = peer
    self.isDialler = isDialler
    self.sealing = sealing
    self.opening = opening
    self.loop = loop
    self.server = server
    self.onEnd = onEnd
    clock = Timer(on: loop)
    lastReceived = MonotonicClock.now
  }

  /// Whether calls may be made on it.
  var isUsable: Bool { !hasEnded && !isRetiring }
  var callsUnderWay: Int { calls.count + serving.count }

  // MARK: Calls

  /// Sends a request and waits for its answer.
  /// - Parameter limit: how long the answer may take; `nil` for as long as the link lives.
  func request(
    _ channel: LinkChannel, _ body: [UInt8], within limit: Duration?
  ) async throws(ClusterError) -> [UInt8] {
    guard isUsable else { throw .unreachable(name, reason: "the link is closed") }
    guard body.count < Frame.maximumMessageBytes else {
      throw .invalidAnswer(name, reason: "a call of \(body.count) bytes is too big for a link")
    }
    lastCall += 1
    let call = lastCall
    let deadline = limit.map { MonotonicClock.now + $0 }
    try await send(.request, .requestPiece, call: call, [channel.rawValue] + body)
    return try await withTaskCancellationHandler {
      await withCheckedContinuation { wait(call, Call(continuation: $0, deadline: deadline)) }
    } onCancel: {
      loop.execute { self.assumeIsolated { $0.giveUp(call, .cancelled) } }
    }.get()
  }

  private func wait(_ number: UInt64, _ call: Call) {
    guard !hasEnded else { return call.continuation.resume(returning: .failure(.nodeLost(name))) }
    calls[number] = call
    planClock(call.deadline)
    planClock(MonotonicClock.now + Self.silence)
  }

  /// The caller waits no longer; the peer may stop working on it.
  private func giveUp(_ number: UInt64, _ error: ClusterError) {
    guard let call = calls.removeValue(forKey: number) else { return }
    post(.cancel, call: number)
    call.continuation.resume(returning: .failure(error))
    closeIfRetired()
  }

  func finish(_ number: UInt64, _ result: Result<[UInt8], ClusterError>) {
    guard let call = calls.removeValue(forKey: number) else { return }
    call.continuation.resume(returning: result)
    closeIfRetired()
  }

  /// Whether the peer answers at all; no faster than the network, and not before all that was sent earlier.
  func ping() async -> Bool {
    guard !hasEnded else { return false }
    lastCall += 1
    let number = lastCall
    post(.ping, call: number)
    return await withCheckedContinuation { pingWaiters[number] = $0 }
  }

  func ponged(_ number: UInt64) {
    pingWaiters.removeValue(forKey: number)?.resume(returning: true)
  }

  // MARK: Serving

  /// A request of the peer is complete.
  func serve(_ number: UInt64, _ message: [UInt8]) {
    guard let channel = message.first.flatMap(LinkChannel.init(rawValue:)) else {
      return end(.lost("a request on an unknown channel"))
    }
    guard serving.count < Self.maximumServing, serving[number] == nil else {
      return post(.refusal, call: number, [Frame.Refusal.overloaded.rawValue])
    }
    serving[number] = Task(executorPreference: loop) { await self.carryOut(number, channel, message) }
  }

  private func carryOut(_ number: UInt64, _ channel: LinkChannel, _ message: [UInt8]) async {
    do {
      let answer = try await server(self, channel, message)
      if serving[number] != nil { try await send(.answer, .answerPiece, call: number, answer) }
    } catch {
      if serving[number] != nil { post(.refusal, call: number, [Frame.Refusal.failed.rawValue]) }
    }
    serving[number] = nil
    closeIfRetired()
  }

  // MARK: End

  /// Another link takes its place: it closes once both ends know and its calls are over.
  func retire() {
    guard !isRetiring else { return }
    isRetiring = true
    post(.retire, call: 0)
    closeIfRetired()
  }

  func peerRetired() {
    peerIsRetiring = true
    retire()
    closeIfRetired()
  }

  private func closeIfRetired() {
    if isRetiring && peerIsRetiring && calls.isEmpty && serving.isEmpty && incoming.isEmpty { close() }
  }

  func close() {
    guard !hasEnded else { return }
    post(.goodbye, call: 0)
    flush()
    end(.closed)
  }

  /// All calls fail at once. The first reason stays.
  func end(_ end: End) {
    guard !hasEnded else { return }
    hasEnded = true
    // What was queued, a goodbye mostly, still goes out; a peer that does not read it is not waited for.
    if case .closed = end, stream.queuedBytes > 0 {
      Task(executorPreference: loop) { await self.closeAfterSending() }
    } else {
      stream.close()
    }
    clock.close()
    let calls = self.calls
    self.calls = [:]
    for call in calls.values { call.continuation.resume(returning: .failure(.nodeLost(name))) }
    for task in serving.values { task.cancel() }
    serving = [:]
    let waiters = pingWaiters
    pingWaiters = [:]
    for waiter in waiters.values { waiter.resume(returning: false) }
    onEnd(self, end)
  }

  private func closeAfterSending() async {
    let timer = Timer(on: loop)
    timer.schedule(after: .milliseconds(200)) { [stream] in stream.close() }
    try? await stream.shutdownWrite()
    timer.close()
    stream.close()
  }

  // MARK: Time

  private func planClock(_ deadline: Duration?) {
    guard let deadline, !hasEnded, deadline < clockDeadline ?? .seconds(Int64.max / 2) else { return }
    clockDeadline = deadline
    clock.schedule(after: max(.zero, deadline - MonotonicClock.now)) { [unowned self] in
      self.assumeIsolated { $0.clockFired() }
    }
  }

  private func clockFired() {
    clockDeadline = nil
    let now = MonotonicClock.now
    for (number, call) in calls { if let deadline = call.deadline, now >= deadline { giveUp(number, .timedOut(name)) } }
    guard !hasEnded, !calls.isEmpty else {
      unansweredPing = nil
      return
    }
    if now - lastReceived >= Self.silence {
      if let pinged = unansweredPing, lastReceived < pinged, now - pinged >= Self.silence {
        return end(.lost("no answer for \(Self.silence * 2)"))
      }
      if unansweredPing == nil || lastReceived >= unansweredPing! {
        unansweredPing = now
        lastCall += 1
        post(.ping, call: lastCall)
      }
    } else {
      unansweredPing = nil
    }
    planClock(calls.values.compactMap(\.deadline).min())
    planClock((unansweredPing.map { max($0, lastReceived) } ?? lastReceived) + Self.silence)
  }
}
