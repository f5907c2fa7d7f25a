import EventLoop

/// A wire between somebody who connects and a node: keeps what goes to the node, and changes it if it is told to.
actor Wiretap {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private let target: SocketAddress
  private var listener: TCPListener?
  private var streams: [TCPStream] = []
  /// All that went to the node, in clear and sealed.
  private(set) var recording: [UInt8] = []
  private var changes: (@Sendable (inout [UInt8]) -> Void)?
  private(set) var address = ""

  static func make(to address: String, on loop: EventLoop) async throws -> Wiretap {
    let wire = Wiretap(target: try SocketAddress(parsing: address), on: loop)
    try await wire.listen()
    return wire
  }

  private init(target: SocketAddress, on loop: EventLoop) {
    self.target = target
    self.loop = loop
  }

  private func listen() throws {
    let listener = try TCPListener.listen(on: loop, address: SocketAddress(host: "127.0.0.1", port: 0)) { stream in
      Task(executorPreference: self.loop) { await self.join(stream) }
    }
    self.listener = listener
    address = listener.localAddress!.description
  }

  /// Changes the next bytes that go to the node.
  func changeNext(_ change: @escaping @Sendable (inout [UInt8]) -> Void) { changes = change }

  private func join(_ near: TCPStream) async {
    guard let far = try? await TCPStream.connect(to: target, on: loop) else { return near.close() }
    streams += [near, far]
    near.startReading { event in self.assumeIsolated { $0.toNode(event, near, far) } }
    far.startReading { event in
      guard case .bytes(let bytes) = event else { return near.close() }
      near.write(Array(bytes))
    }
  }

  private func toNode(_ event: ByteStream.ReadEvent, _ near: TCPStream, _ far: TCPStream) {
    guard case .bytes(let bytes) = event else { return far.close() }
    var sent = Array(bytes)
    changes?(&sent)
    changes = nil
    recording += sent
    far.write(sent)
  }

  func close() {
    listener?.close()
    for stream in streams { stream.close() }
  }
}
