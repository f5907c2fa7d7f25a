import EventLoop

/// Stands between a store and its server, and cuts connections where a network would: on its loop.
final class CuttingProxy: @unchecked Sendable {
  // @unchecked: used on the loop's thread only.

  private struct Pair {
    let client: TCPStream
    let server: TCPStream
    var isMuted = false
    /// Whether nothing comes through.
    var isStalled = false
  }

  let loop: EventLoop
  private let target: SocketAddress
  private var listener: TCPListener!
  private var pairs: [Int: Pair] = [:]
  private var lastPair = 0
  private var isClosed = false
  /// The next transactions of this statement's text reach the server; their answers do not come back.
  private var swallowed: [UInt8]?
  /// From the next message with these words on, its connection is silent, and new connections are refused.
  private var silencing: [UInt8]?
  private(set) var cuts = 0
  /// Whether new connections are refused.
  var isDown = false
  /// Whether it keeps all connections, and nothing comes through.
  private var isFrozen = false
  /// Connections that were accepted while it was frozen.
  private var held: [TCPStream] = []

  static func open(to port: UInt16, on loop: EventLoop) async throws -> CuttingProxy {
    try await Task(executorPreference: loop) { try CuttingProxy(port, loop) }.value
  }

  private init(_ port: UInt16, _ loop: EventLoop) throws {
    self.loop = loop
    target = try SocketAddress(host: "127.0.0.1", port: port)
    listener = try TCPListener.listen(on: loop, address: try SocketAddress(host: "127.0.0.1", port: 0)) {
      [unowned self] client in
      if isDown || isClosed { return client.close() }
      if isFrozen { return held.append(client) }
      Task(executorPreference: loop) { await self.serve(client) }
    }
  }

  func port() async -> UInt16 {
    await Task(executorPreference: loop) { [self] in listener.localAddress!.port }.value
  }

  private func serve(_ client: TCPStream) async {
    guard let server = try? await TCPStream.connect(to: target, on: loop) else { return client.close() }
    guard !isClosed, !isDown else {
      client.close()
      return server.close()
    }
    lastPair += 1
    let number = lastPair
    pairs[number] = Pair(client: client, server: server)
    client.startReading { [unowned self] event in
      guard case .bytes(let bytes) = event else { return end(number) }
      if isFrozen || pairs[number]?.isStalled == true { return }
      let sent = Array(bytes)
      if let words = silencing, sent.contains(words) {
        silencing = nil
        isDown = true
        pairs[number]?.isStalled = true
        return
      }
      if let words = swallowed, sent.contains(words) {
        swallowed = nil
        pairs[number]?.isMuted = true
      }
      server.write(sent)
    }
    server.startReading { [unowned self] event in
      guard case .bytes(let bytes) = event else { return end(number) }
      if isFrozen { return }
      guard pairs[number]?.isMuted == true else { return client.write(Array(bytes)) }
      // The server has done it, and nobody hears of it.
      cuts += 1
      end(number)
    }
  }

  private func end(_ number: Int) {
    guard let pair = pairs.removeValue(forKey: number) else { return }
    pair.client.close()
    pair.server.close()
  }

  /// The answer to the next message that has these words in it is lost, with its connection.
  func swallow(_ words: String) async {
    await Task(executorPreference: loop) { [self] in swallowed = Array(words.utf8) }.value
  }

  /// The connection with the next message that has these words in it is silent from then on, and no other can be made;
  /// those that there are stay.
  func silence(_ words: String) async {
    await Task(executorPreference: loop) { [self] in silencing = Array(words.utf8) }.value
  }

  /// Whether that has happened.
  func hasSilenced() async -> Bool { await Task(executorPreference: loop) { [self] in silencing == nil }.value }

  /// All connections end, and new ones are refused, or accepted again.
  func setDown(_ isDown: Bool) async {
    await Task(executorPreference: loop) { [self] in
      self.isDown = isDown
      if isDown { for number in Array(pairs.keys) { end(number) } }
    }.value
  }

  /// From now on it is silent, as a host that is cut off behind a proxy: nothing is refused, and nothing answered.
  func freeze() async {
    await Task(executorPreference: loop) { [self] in isFrozen = true }.value
  }

  func close() async {
    await Task(executorPreference: loop) { [self] in
      isClosed = true
      listener.close()
      for number in Array(pairs.keys) { end(number) }
      for client in held { client.close() }
      held = []
    }.value
  }

  func cutCount() async -> Int { await Task(executorPreference: loop) { [self] in cuts }.value }
}

extension [UInt8] {
  fileprivate func contains(_ words: [UInt8]) -> Bool {
    count >= words.count
      && indices.dropLast(words.count - 1).contains { self[$0..<$0 + words.count].elementsEqual(words) }
  }
}
