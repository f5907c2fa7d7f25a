// What the peer asks of this node. All of it is bounded: a peer that wants more than this node can hold is refused, one
// that goes on regardless loses the link.

extension PeerLink {
  /// A request that has not arrived completely.
  struct Arriving {
    /// Of one that was refused only the pieces are counted, until the last or until the peer knows.
    var isRefused = false
    var message: Assembly
    /// What it takes of the room for all requests.
    let length: Int
  }

  func arrived(_ call: UInt64, whole message: [UInt8]) throws(LinkFault) {
    try checkIsNew(call)
    guard hasRoom(for: message.count) else { return refuse(call) }
    requestBytes += message.count
    try serve(call, message)
  }

  func arrived(_ call: UInt64, start: [UInt8]) throws(LinkFault) {
    try checkIsNew(call)
    guard arriving.count < 2 * limits.serving else { throw LinkFault(reason: "requests though they are refused") }
    var message = try Assembly(start)
    let length = message.bytes.count + message.missing
    guard message.missing > 0 else { throw LinkFault(reason: "a message in one piece that says it has more") }
    if hasRoom(for: length) {
      requestBytes += length
      arriving[call] = Arriving(message: message, length: length)
    } else {
      message.forget()
      arriving[call] = Arriving(isRefused: true, message: message, length: 0)
      refuse(call)
    }
  }

  func arrived(_ call: UInt64, piece: [UInt8]) throws(LinkFault) {
    guard arriving[call] != nil else { throw LinkFault(reason: "a piece of nothing") }
    let isRefused = arriving[call]!.isRefused
    if isRefused { try arriving[call]!.message.drop(piece.count) } else { try arriving[call]!.message.add(piece) }
    guard arriving[call]!.message.missing == 0 else { return }
    let message = arriving.removeValue(forKey: call)!.message
    if !isRefused { try serve(call, message.bytes) }
  }

  private func checkIsNew(_ call: UInt64) throws(LinkFault) {
    guard serving[call] == nil, arriving[call] == nil else {
      throw LinkFault(reason: "a call that is under way already")
    }
  }

  private func hasRoom(for bytes: Int) -> Bool {
    running + arriving.count < limits.serving && requestBytes + bytes <= limits.requestBytes
      && outbox.answerBytes <= limits.answerBytes
  }

  private func refuse(_ call: UInt64) { post(.refusal, call: call, [Frame.Refusal.overloaded.rawValue]) }

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
    if let request = arriving.removeValue(forKey: call) { requestBytes -= request.length }
    serving.removeValue(forKey: call)?.cancel()
    _ = outbox.remove(.answer(call))
    progressRetirement()
  }
}
