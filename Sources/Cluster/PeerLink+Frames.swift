import EventLoop
import Gossip

// Bytes of a link to frames, and back.

extension PeerLink {
  /// Begins to read; `rest` arrived with the handshake.
  func start(_ rest: [UInt8]) {
    guard !hasEnded else { return }
    // The stream holds the link until it is closed.
    stream.startReading { event in
      self.assumeIsolated { link in
        switch event {
        case .bytes(let bytes): link.received(bytes)
        case .end: link.end(.lost("the connection was closed"))
        case .failed(let error): link.end(.lost(error.message))
        }
      }
    }
    rest.withUnsafeBytes { received($0) }
    planClock()
  }

  private func received(_ bytes: UnsafeRawBufferPointer) {
    watch.received(at: MonotonicClock.now)
    do throws(LinkFault) {
      try frames.feed(bytes) { (bytes) throws(LinkFault) in
        if !hasEnded { try take(try Frame(bytes)) }
      }
    } catch {
      end(.lost(error.reason))
    }
  }

  private func take(_ frame: Frame) throws(LinkFault) {
    switch frame.kind {
    case .request: try arrived(frame.call, whole: frame.payload)
    case .requestStart: try arrived(frame.call, start: frame.payload)
    case .requestPiece: try arrived(frame.call, piece: frame.payload)
    case .answer: finish(frame.call, .success(frame.payload))
    case .answerStart: if calls[frame.call] != nil { calls[frame.call]!.answer = try Assembly(frame.payload) }
    case .answerPiece: try answered(frame.call, frame.payload)
    case .refusal: refused(frame.call, frame.payload.first.flatMap(Frame.Refusal.init(rawValue:)))
    case .cancel: cancelled(frame.call)
    case .ping: post(.pong, call: frame.call)
    case .pong: pings.removeValue(forKey: frame.call)?.resolve(true)
    case .retire: peerRetired()
    case .goodbye: end(.closed)
    }
  }

  /// More of an answer; nobody may wait for it any more.
  private func answered(_ call: UInt64, _ piece: [UInt8]) throws(LinkFault) {
    guard calls[call] != nil else { return }
    guard calls[call]!.answer != nil else { throw LinkFault(reason: "a piece of nothing") }
    try calls[call]!.answer!.add(piece)
    if calls[call]!.answer!.missing == 0 { finish(call, .success(calls[call]!.answer!.bytes)) }
  }

  private func refused(_ call: UInt64, _ refusal: Frame.Refusal?) {
    // The rest of a request that is not wanted is not sent.
    if outbox.remove(.request(call)) != nil { post(.cancel, call: call) }
    switch refusal {
    case .overloaded: finish(call, .failure(.overloaded(name)))
    case .tooBig: finish(call, .failure(.invalidAnswer(name, reason: "its answer is too big for a link")))
    case .failed, nil: finish(call, .failure(.invalidAnswer(name, reason: "it could not carry out the call")))
    }
  }

  // MARK: Sending

  /// While so many bytes wait in the stream, messages wait in the outbox, where they can be put in order.
  private static let highWater = 4 * Frame.pieceBytes

  /// A message: at once if it is short and nothing waits, otherwise when its turn comes.
  func send(_ key: Outbox.Key, channel: LinkChannel? = nil, _ body: [UInt8]) {
    guard !hasEnded else { return }
    if outbox.isEmpty && Outbox.isShort(body) && stream.queuedBytes + outgoing.count < Self.highWater {
      let (kind, call): (Frame.Kind, UInt64) =
        switch key {
        case .request(let call): (.request, call)
        case .answer(let call): (.answer, call)
        }
      body.withUnsafeBytes { Frame.append(kind, call: call, channel: channel, $0, to: &outgoing) }
      planFlush()
    } else {
      outbox.add(key, channel: channel, body)
      pump()
    }
  }

  private func pump() {
    guard !isPumping else { return }
    isPumping = true
    Task(executorPreference: loop) { await self.emptyOutbox() }
  }

  private func emptyOutbox() async {
    while !hasEnded && !outbox.isEmpty {
      while stream.queuedBytes + outgoing.count < Self.highWater, let piece = outbox.next() { send(piece) }
      flush()
      progressRetirement()
      // What arrived meanwhile gets its turn, also when the peer takes everything at once.
      try? await loop.sleep(for: .zero)
      // An error ends the link by itself.
      if !hasEnded { do { try await stream.drained() } catch { break } }
    }
    isPumping = false
  }

  private func send(_ piece: Outbox.Piece) {
    let isWhole = piece.isFirst && piece.isLast
    let (kind, call): (Frame.Kind, UInt64) =
      switch piece.key {
      case .request(let call): (isWhole ? .request : piece.isFirst ? .requestStart : .requestPiece, call)
      case .answer(let call): (isWhole ? .answer : piece.isFirst ? .answerStart : .answerPiece, call)
      }
    let total = piece.body.count + (piece.channel == nil ? 0 : 1)
    piece.body.withUnsafeBytes {
      let payload = UnsafeRawBufferPointer(rebasing: $0[piece.range])
      Frame.append(
        kind, call: call, total: piece.isFirst && !isWhole ? total : nil, channel: piece.channel, payload,
        to: &outgoing)
    }
  }

  /// A frame of its own, before all that waits.
  func post(_ kind: Frame.Kind, call: UInt64, _ payload: [UInt8] = []) {
    guard !hasEnded else { return }
    guard stream.queuedBytes + outgoing.count < limits.controlBytes else { return end(.lost("it reads nothing")) }
    payload.withUnsafeBytes { Frame.append(kind, call: call, $0, to: &outgoing) }
    planFlush()
  }

  private func planFlush() {
    guard !isFlushPlanned else { return }
    isFlushPlanned = true
    loop.execute { self.assumeIsolated { $0.flush() } }
  }

  /// Writes what this turn of the loop has brought.
  func flush() {
    isFlushPlanned = false
    guard !outgoing.isEmpty, !hasEnded else { return }
    stream.write(outgoing)
    // The stream keeps what it could not write.
    outgoing.removeAll(keepingCapacity: outgoing.count <= Frame.pieceBytes)
    watch.wrote(written, waiting: stream.queuedBytes, at: MonotonicClock.now)
    if stream.queuedBytes > 0 { planClock() }
  }
}
