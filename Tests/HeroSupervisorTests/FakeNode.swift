import EventLoop
import Glibc
import HTTPServer
import JSONRPC
import Logging
import Synchronization

/// A node that answers what a test tells it to, and remembers what it was asked.
final class FakeNode: Sendable {
  struct Call: Sendable {
    let method: String
    let params: JSON
    /// The header `Authorization`.
    let authorization: String?
  }

  let endpoint: String
  private let loop: EventLoop
  private let server: HTTPServer
  private let recorded: Recorder

  private final class Recorder: Sendable {
    let calls = Mutex<[Call]>([])
  }

  /// Starts on a free port of the loopback interface.
  /// - Parameters:
  ///   - unreachable: the members that its answers are missing.
  ///   - socket: the path of a unix socket to listen at besides.
  ///   - port: of the loopback interface; any free one for 0.
  ///   - answer: the result of a call, or the error to answer with.
  init(
    unreachable: String? = nil, socket: String? = nil, port: UInt16 = 0,
    _ answer: @escaping @Sendable (Call) async throws(JSONRPCError) -> JSON
  ) async throws {
    let loop = try EventLoop()
    let recorded = Recorder()
    loop.start()
    self.loop = loop
    self.recorded = recorded
    server = HTTPServer(loop: loop, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }) { request in
      guard let body = try? JSON.parse(request.body) else { return .empty(400) }
      let call = Call(
        method: body["method"]?.stringValue ?? "", params: body["params"] ?? .null,
        authorization: request.headers["authorization"])
      recorded.calls.withLock { $0.append(call) }
      var members: JSONObject = ["jsonrpc": "2.0", "id": body["id"] ?? .null]
      do throws(JSONRPCError) { members["result"] = try await answer(call) } catch { members["error"] = error.json }
      var response = HTTPResponse.json(JSON.object(members).serialized())
      if let unreachable { response.headers.append(("Hero-Unreachable", unreachable)) }
      return response
    }
    endpoint = "\(try await server.listen(on: try SocketAddress(host: "127.0.0.1", port: port)))"
    if let socket { try await server.listen(atSocket: socket, for: [geteuid()]) }
  }

  /// What it was asked so far.
  var calls: [Call] { recorded.calls.withLock { $0 } }

  /// Waits until a method was called.
  func called(_ method: String, within limit: Duration = .seconds(120)) async -> Bool {
    let clock = ContinuousClock()
    let deadline = clock.now + limit
    while clock.now < deadline {
      if calls.contains(where: { $0.method == method }) { return true }
      try? await Task.sleep(for: .milliseconds(5))
    }
    return false
  }

  func stop() async {
    await server.shutdown(grace: .zero)
    await loop.stop()
  }
}
