import EventLoop
import TLS
import TLSFixtures
import Testing

/// A loop of its own for one test, which at its end finds no live handle.
func withLoop(_ body: @escaping @Sendable (EventLoop) async throws -> Void) async throws {
  let loop = try EventLoop()
  loop.start()
  let scene = LoopBody(loop: loop)
  let result = await Task(executorPreference: loop) { try await scene.run(body) }.result
  await eventually { await scene.liveHandles.isEmpty }
  let left = await scene.liveHandles
  #expect(left == [], "handles are left open")
  if left.isEmpty { await loop.stop() }
  try result.get()
}

/// Runs a test's body isolated to its loop.
private actor LoopBody {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  init(loop: EventLoop) { self.loop = loop }
  func run(_ body: @Sendable (EventLoop) async throws -> Void) async throws { try await body(loop) }
  var liveHandles: [String] { loop.liveHandles }
}

/// Two ends of a TCP connection on one loop.
struct Wires {
  let client: TCPStream
  let server: TCPStream

  static func make(on loop: EventLoop) async throws -> Wires {
    var accepted: TCPStream?
    let listener = try TCPListener.listen(on: loop, address: SocketAddress(host: "127.0.0.1", port: 0)) {
      accepted = $0
    }
    defer { listener.close() }
    let client = try await TCPStream.connect(to: listener.localAddress!, on: loop)
    try #require(await eventually { accepted != nil })
    return Wires(client: client, server: accepted!)
  }

  func close() {
    client.close()
    server.close()
  }
}

/// Both ends of a TLS connection, and what became of their handshakes.
struct Ends {
  let wires: Wires
  let client: TLSStream
  let server: TLSStream
  let clientError: TLSError?
  let serverError: TLSError?

  /// - Parameter host: what the client believes to call.
  static func make(
    on loop: EventLoop, _ serverContext: TLSContext, _ clientContext: TLSContext, host: String = "localhost"
  ) async throws -> Ends {
    let wires = try await Wires.make(on: loop)
    let server = TLSStream(accepting: wires.server, serverContext)
    let client = TLSStream(connecting: wires.client, to: host, clientContext)
    var outcomes: (client: TLSError??, server: TLSError??) = (nil, nil)
    server.handshake { outcomes.server = .some($0) }
    client.handshake { outcomes.client = .some($0) }
    try #require(await eventually { outcomes.client != nil && outcomes.server != nil }, "the handshake does not end")
    return Ends(
      wires: wires, client: client, server: server, clientError: outcomes.client!, serverError: outcomes.server!)
  }

  func close() {
    client.close()
    server.close()
    wires.close()
  }
}

/// What arrives on a stream, collected.
final class Inbox {
  private(set) var bytes: [UInt8] = []
  private(set) var hasEnded = false
  private(set) var error: UVError?
  let stream: any DuplexStream

  init(_ stream: any DuplexStream) {
    self.stream = stream
    resume()
  }

  func resume() {
    stream.startReading { [self] event in
      switch event {
      case .bytes(let new): bytes += new
      case .end: hasEnded = true
      case .failed(let failure): error = failure
      }
    }
  }

  var text: String { String(decoding: bytes, as: UTF8.self) }
}
