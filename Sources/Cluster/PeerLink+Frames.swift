import EventLoop

// Bytes of a link to frames, and back.

extension PeerLink {
  /// Begins to read; `rest` arrived with the handshake.
  func start(_ rest: [UInt8]) {
    received = rest
    stream.startReading { [unowned self] event in
      self.assumeIsolated { link in
        switch event {
        case .bytes(let bytes):
          link.received.append(contentsOf: bytes)
          link.takeFrames()
        case .end: link.end(.lost("the connection was closed"))
        case .failed(let error): link.end(.lost(error.message))
        }
      }
    }
    takeFrames()
  }

  private func takeFrames() {
    lastReceived = MonotonicClock.now
    var position = 0
    while !hasEnded, received.count - position >= 4 {
      let count = received.withUnsafeBytes {
        Int(UInt32(bigEndian: $0.loadUnaligned(fromByteOffset: position, as: UInt32.self)))
      }
      guard count <= Frame.maximumBytes else { return end(.lost("a frame of \(count) bytes")) }
      guard received.count - position >= 4 + count else { break }
      guard let bytes = opening.open(received[(position + 4)..<(position + 4 + count)]), let frame = Frame(bytes) else {
        return end(.lost("a frame that is not the next one"))
      }
      position += 4 + count
      take(frame)
    }
    received.removeFirst(position)
  }

  private func take(_ frame: Frame) {
    let payload = frame.bytes[Frame.headBytes...]
    switch frame.kind {
    case .requestPiece:
      guard incoming.count < Self.maximumServing, incoming[frame.call, default: []].count < Frame.maximumMessageBytes
      else {
        return end(.lost("a request that is too big"))
      }
      incoming[frame.call, default: []].append(contentsOf: payload)
    case .request:
      if var message = incoming.removeValue(forKey: frame.call) {
        message.append(contentsOf: payload)
        serve(frame.call, message)
      } else {
        serve(frame.call, Array(payload))
      }
    case .answerPiece:
      guard calls[frame.call] != nil else { return }
      guard calls[frame.call]!.pieces.count < Frame.maximumMessageBytes else {
        return end(.lost("an answer that is too big"))
      }
      calls[frame.call]!.pieces.append(contentsOf: payload)
    case .answer:
      guard let call = calls[frame.call] else { return }
      finish(frame.call, .success(call.pieces.isEmpty ? Array(payload) : call.pieces + payload))
    case .refusal:
      let isOverloaded = payload.first == Frame.Refusal.overloaded.rawValue
      finish(
        frame.call,
        .failure(isOverloaded ? .overloaded(name) : .invalidAnswer(name, reason: "it could not carry out the call")))
    case .cancel:
      incoming[frame.call] = nil
      serving.removeValue(forKey: frame.call)?.cancel()
    case .ping: post(.pong, call: frame.call)
    case .pong: ponged(frame.call)
    case .retire: peerRetired()
    case .goodbye: end(.closed)
    }
  }

  // MARK: Sending

  /// A message in as many frames as it takes; between them others get their turn.
  func send(
    _ last: Frame.Kind, _ piece: Frame.Kind, call: UInt64, _ message: [UInt8]
  ) async throws(ClusterError) {
    var rest = message[...]
    while rest.count > Frame.pieceBytes {
      try await room()
      post(piece, call: call, rest.prefix(Frame.pieceBytes))
      rest = rest.dropFirst(Frame.pieceBytes)
    }
    if stream.queuedBytes > Self.highWater { try await room() }
    post(last, call: call, rest)
  }

  /// Waits while the peer is slower than this end, and at least until others had their turn.
  private func room() async throws(ClusterError) {
    flush()
    try? await loop.sleep(for: .zero)
    do { try await stream.drained() } catch { throw .nodeLost(name) }
    if hasEnded { throw .nodeLost(name) }
  }

  /// One frame; it goes out with all others of this turn.
  func post(_ kind: Frame.Kind, call: UInt64, _ payload: some Collection<UInt8> = EmptyCollection()) {
    guard !hasEnded else { return }
    let frame = Frame.encoded(kind, call: call, payload)
    withUnsafeBytes(of: UInt32(frame.count + FrameCipher.tagBytes).bigEndian) { outgoing.append(contentsOf: $0) }
    sealing.seal(frame, into: &outgoing)
    guard !isFlushPlanned else { return }
    isFlushPlanned = true
    loop.execute { self.assumeIsolated { $0.flush() } }
  }

  func flush() {
    isFlushPlanned = false
    guard !outgoing.isEmpty else { return }
    let bytes = outgoing
    outgoing = []
    stream.write(bytes)
  }
}
