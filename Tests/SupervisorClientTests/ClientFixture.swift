import EventLoop
import HTTPServer
import JSONRPC
import Logging
import SupervisorClient
import TLS
import Testing

/// A server that plays the node, on a free port; `run` checks that neither it nor a client leaves a handle behind.
struct ClientFixture {
  let loop: EventLoop
  let server: HTTPServer
  let endpoint: Endpoint

  func client(secret: String? = nil, path: String = "/") -> SupervisorClient {
    SupervisorClient(
      endpoints: [Endpoint(host: endpoint.host, port: endpoint.port, path: path)], secret: secret, loop: loop)
  }

  /// An endpoint where nobody listens.
  func closedEndpoint() async throws -> Endpoint {
    let loop = loop
    return try await onLoop(loop) {
      let listener = try TCPListener.listen(on: loop, address: SocketAddress(host: "127.0.0.1", port: 0)) { _ in }
      defer { listener.close() }
      return Endpoint(host: "127.0.0.1", port: listener.localAddress!.port)
    }
  }

  /// - Parameter tls: with it the server speaks HTTPS, and so does the endpoint.
  static func run(
    tls: TLSContext? = nil, _ handler: @escaping HTTPHandler, _ scenario: (ClientFixture) async throws -> Void
  ) async throws {
    let loop = try EventLoop()
    loop.start()
    let server = HTTPServer(
      loop: loop, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, handler: handler)
    let address = try await server.listen(on: SocketAddress(host: "127.0.0.1", port: 0), tls: tls)
    var failure: (any Error)?
    do {
      let endpoint = Endpoint(host: "127.0.0.1", port: address.port, isSecure: tls != nil)
      try await scenario(ClientFixture(loop: loop, server: server, endpoint: endpoint))
    } catch {
      failure = error
    }
    await server.shutdown(grace: .zero)
    let handlesAreGone = await eventually { (try? await onLoop(loop) { loop.liveHandles.isEmpty }) == true }
    #expect(handlesAreGone)
    await loop.stop()
    if let failure { throw failure }
  }
}

/// Runs a body on the loop's thread.
func onLoop<T: Sendable>(_ loop: EventLoop, _ body: @escaping @Sendable () throws -> T) async throws -> T {
  try await withCheckedThrowingContinuation { continuation in
    loop.execute { continuation.resume(with: Result { try body() }) }
  }
}

/// Answers a call with what `result` makes of it.
func reply(_ request: HTTPRequest, _ result: (JSON) -> JSON) -> HTTPResponse {
  guard let call = try? JSON.parse(request.body) else { return .empty(400) }
  let answer: JSON = ["jsonrpc": "2.0", "id": call["id"] ?? .null, "result": result(call)]
  return .json(answer.serialized())
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

/// The error that a call ends with.
func failure(_ call: () async throws -> JSON) async throws -> ClientError {
  do {
    let result = try await call()
    Issue.record("the call succeeded: \(result)")
    return .cancelled
  } catch let error as ClientError {
    return error
  }
}
