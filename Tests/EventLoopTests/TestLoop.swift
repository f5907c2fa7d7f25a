import EventLoop
import Glibc
import Testing

// What the tests of this directory share: a loop for one test that ends with no live handle, and waiting for a
// condition with a deadline.

/// A loop of its own for one test, which at its end finds no live handle.
func withLoop(_ body: @escaping @Sendable (EventLoop) async throws -> Void) async throws {
  let loop = try EventLoop()
  loop.start()
  let room = LoopBody(loop: loop)
  let result = await Task(executorPreference: loop) { try await room.run(body) }.result
  await eventually { await room.liveHandles.isEmpty }
  let left = await room.liveHandles
  #expect(left == [], "handles are left open")
  if left.isEmpty { await loop.stop() }
  try result.get()
}

/// Runs a test's body isolated to its loop.
actor LoopBody {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  init(loop: EventLoop) { self.loop = loop }
  func run(_ body: @Sendable (EventLoop) async throws -> Void) async throws { try await body(loop) }
  var liveHandles: [String] { loop.liveHandles }
}

/// Waits until `condition` holds, where the caller runs; at most two minutes, so long since the machine may be busy with
/// something else.
/// - Returns: whether it came to hold.
@discardableResult
func eventually(_ condition: () async -> Bool) async -> Bool {
  let deadline = ContinuousClock.now + .seconds(120)
  while await !condition() {
    if ContinuousClock.now > deadline { return false }
    try? await Task.sleep(for: .milliseconds(1))
  }
  return true
}

let anyPort = try! SocketAddress(host: "127.0.0.1", port: 0)

/// What arrives on a stream, collected; a test waits until enough of it is there.
final class Inbox {
  private(set) var bytes: [UInt8] = []
  private(set) var end: Ending?
  let stream: ByteStream

  enum Ending: Equatable {
    case end
    case failed(Int32)
  }

  init(_ stream: ByteStream) {
    self.stream = stream
    resume()
  }

  func resume() {
    stream.startReading { [self] event in
      switch event {
      case .bytes(let new): bytes += new
      case .end: end = .end
      case .failed(let error): end = .failed(error.code)
      }
    }
  }

  var text: String { String(decoding: bytes, as: UTF8.self) }

  /// All of it, once the peer has ended.
  func whole() async throws -> String {
    try #require(await eventually { end != nil }, "the stream did not end")
    return text
  }
}

/// A connection and the other end of it, and its listener, on one loop.
struct Pair {
  let client: TCPStream
  let server: TCPStream
  let listener: TCPListener

  static func make(on loop: EventLoop) async throws -> Pair {
    var accepted: TCPStream?
    let listener = try TCPListener.listen(on: loop, address: anyPort) { accepted = $0 }
    let client = try await TCPStream.connect(to: listener.localAddress!, on: loop)
    try #require(await eventually { accepted != nil })
    return Pair(client: client, server: accepted!, listener: listener)
  }

  func close() {
    client.close()
    server.close()
    listener.close()
  }
}
