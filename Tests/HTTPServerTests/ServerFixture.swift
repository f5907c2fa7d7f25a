import EventLoop
import HTTPServer
import Logging
import TLS
import Testing

/// A server on a free port of its own loop; `run` checks that nothing of it is left behind.
struct ServerFixture {
  let loop: EventLoop
  let server: HTTPServer
  let address: SocketAddress
  var port: Int { Int(address.port) }

  func client(receiveBuffer: Int32? = nil) throws -> RawClient {
    try RawClient(port: port, receiveBuffer: receiveBuffer)
  }

  /// Sends one stream of bytes on a connection of its own and reads one answer.
  func ask(_ text: String) async throws -> RawClient.Answer {
    let client = try client()
    await client.send(text)
    return try await client.answer()
  }

  /// Runs a scenario, then shuts the server down and checks that every handle was closed.
  static func run(
    _ configuration: HTTPServerConfiguration = .init(), tls: TLSContext? = nil,
    handler: @escaping HTTPHandler = describe, _ scenario: (ServerFixture) async throws -> Void
  ) async throws {
    let loop = try EventLoop()
    loop.start()
    let server = HTTPServer(
      loop: loop, configuration: configuration, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
      handler: handler)
    let address = try await server.listen(on: SocketAddress(host: "127.0.0.1", port: 0), tls: tls)
    var failure: (any Error)?
    do {
      try await scenario(ServerFixture(loop: loop, server: server, address: address))
    } catch {
      failure = error
    }
    await server.shutdown(grace: .zero)
    let handlesAreGone = await eventually { await liveHandles(loop).isEmpty }
    let left = await liveHandles(loop)
    #expect(handlesAreGone, "open handles: \(left)")
    await loop.stop()
    if let failure { throw failure }
  }

  /// Answers what was asked: `METHOD path?query body`.
  @Sendable static func describe(_ request: HTTPRequest) async -> HTTPResponse {
    let query = request.query.map { "?\($0)" } ?? ""
    return .text("\(request.method) \(request.path)\(query) \(String(decoding: request.body, as: UTF8.self))")
  }

  static func liveHandles(_ loop: EventLoop) async -> [String] {
    await withCheckedContinuation { continuation in
      loop.execute { continuation.resume(returning: loop.liveHandles) }
    }
  }
}

/// Whether a condition comes true within two minutes, so long since the machine may be busy with something else.
func eventually(_ condition: () async -> Bool) async -> Bool {
  let clock = ContinuousClock()
  let deadline = clock.now + .seconds(120)
  while clock.now < deadline {
    if await condition() { return true }
    try? await Task.sleep(for: .milliseconds(2))
  }
  return await condition()
}
