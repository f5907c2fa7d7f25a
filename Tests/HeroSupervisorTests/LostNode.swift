import EventLoop

/// A node that takes each request and dies over it: the connection is reset.
final class LostNode: Sendable {
  let endpoint: String
  private let loop: EventLoop
  private let listener: TCPListener

  init() async throws {
    let loop = try EventLoop()
    loop.start()
    let address = try SocketAddress(host: "127.0.0.1", port: 0)
    self.loop = loop
    self.listener = try await withCheckedThrowingContinuation { continuation in
      loop.execute {
        continuation.resume(
          with: Result {
            try TCPListener.listen(on: loop, address: address) { stream in
              stream.startReading { _ in stream.reset() }
            }
          })
      }
    }
    endpoint = await withCheckedContinuation { [listener = self.listener] continuation in
      loop.execute { continuation.resume(returning: listener.localAddress.map { "\($0)" } ?? "") }
    }
  }

  func stop() async {
    await withCheckedContinuation { continuation in
      loop.execute { [listener] in
        listener.close()
        continuation.resume()
      }
    }
    await loop.stop()
  }
}
