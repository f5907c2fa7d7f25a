// What the peer asks of this node. All of it is bounded: a peer that wants more than this node can hold is refused, one
// that goes on regardless loses the link.

extension PeerLink {
  /// A request that has not arrived completely.
  struct Arriving {
    var bytes: [UInt8] = []
    /// Its pieces are dropped, the last one with them.
    var isRefused = false
  }

  /// A part of a request that goes on.
  func arrived(_ call: UInt64, _ piece: [UInt8]) throws(LinkFault) {
    if arriving[call] == nil { try begin(call) }
    if arriving[call]!.isRefused { return }
    guard requestBytes + piece.count <= limits.requestBytes else { return refuse(call) }
    requestBytes += piece.count
    arriving[call]!.bytes.append(contentsOf: piece)
  }

  /// The last part of a request, mostly the only one.
  func arrivedLast(_ call: UInt64, _ piece: [UInt8]) throws(LinkFault) {
    if arriving[call] == nil && hasRoom(for: piece.count) {
      try checkIsNew(call)
      requestBytes += piece.count
      return try serve(call, piece)
    }
    try arrived(call, piece)
    let request = arriving.removeValue(forKey: call)!
    if !request.isRefused { try serve(call, request.bytes) }
  }

  private func begin(_ call: UInt64) throws(LinkFault) {
    try checkIsNew(call)
    guard arriving.count < 2 * limits.serving else { throw LinkFault(reason: "requests though they are refused") }
    arriving[call] = Arriving()
    if !hasRoom(for: 0) { refuse(call) }
  }

  private func checkIsNew(_ call: UInt64) throws(LinkFault) {
    guard serving[call] == nil else { throw LinkFault(reason: "a call that is under way already") }
  }

  private func hasRoom(for bytes: Int) -> Bool {
    running + arriving.count < limits.serving && requestBytes + bytes <= limits.requestBytes
      && outbox.answerBytes <= limits.answerBytes
  }

  private func refuse(_ call: UInt64) {
    requestBytes -= arriving[call]!.bytes.count
    arriving[call] = Arriving(isRefused: true)
    post(.refusal, call: call, [Frame.Refusal.overloaded.rawValue])
  }

  private func serve(_ call: UInt64, _ message: [UInt8]) throws(LinkFault) {
    guard let channel = message.first.flatMap(LinkChannel.init(rawValue:)) else {
      throw LinkFault(reason: "a request on an unknown channel")
    }
    running += 1
    serving[call] = Task(executorPreference: loop) { await self.carryOut(call, channel, message) }
  }

  private func carryOut(_ call: UInt64, _ channel: LinkChannel, _ message: [UInt8]) async {
    let answer = try? await server(channel, message)
    running -= 1
    requestBytes -= message.count
    // Unless it was cancelled, or the link ended.
    guard serving.removeValue(forKey: call) != nil else { return }
    if let answer, answer.count <= Frame.maximumMessageBytes {
      send(.answer(call), answer)
    } else {
      post(.refusal, call: call, [(answer == nil ? Frame.Refusal.failed : .tooBig).rawValue])
    }
    progressRetirement()
  }

  /// The peer no longer waits for an answer.
  func cancelled(_ call: UInt64) {
    if let request = arriving.removeValue(forKey: call) { requestBytes -= request.bytes.count }
    serving.removeValue(forKey: call)?.cancel()
    _ = outbox.remove(.answer(call))
    progressRetirement()
  }
}
