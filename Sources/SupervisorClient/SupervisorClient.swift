// JSON-RPC 2.0 to a node of the cluster, whichever can be reached.
import EventLoop
import JSONRPC

/// A client of Hero Supervisor.
///
/// ```swift
/// let client = SupervisorClient(endpoints: [try Endpoint(parsing: "127.0.0.1:8082")], secret: key, loop: loop)
/// let runners = try await client.call("list_runners", .array([]), timeout: .seconds(10))
/// await client.close()
/// ```
/// Calls may be made from any task, several at a time: each takes a connection of its own. `close` must be awaited
/// before the loop is stopped.
public actor SupervisorClient {
  /// What the client bears with.
  public struct Limits: Sendable {
    /// The largest answer, in bytes.
    public var maxAnswerBytes = 64 * 1024 * 1024
    /// How long to look up a name and connect to it, before the next endpoint is tried.
    public var connectTimeout: Duration = .seconds(5)

    public init() {}
  }

  nonisolated let loop: EventLoop
  public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private let transport: NodeTransport
  private var lastID: Int64 = 0

  /// - Parameters:
  ///   - endpoints: at least one; tried in order, and the one that answered last first.
  ///   - secret: a key, sent as `Authorization: Bearer`.
  ///     Control characters in it (the newline at the end of a file) are left out: no key has them.
  ///   - loop: a running loop, whose thread does the work.
  /// - Precondition: `endpoints` is not empty.
  public init(endpoints: [Endpoint], secret: String? = nil, loop: EventLoop, limits: Limits = Limits()) {
    self.loop = loop
    let secret = secret.map { String(decoding: $0.utf8.filter { $0 >= 32 && $0 != 127 }, as: UTF8.self) }
    transport = NodeTransport(endpoints: endpoints, secret: secret, loop: loop, limits: limits)
  }

  /// Calls a method and returns its result.
  /// - Parameters:
  ///   - params: an array or an object; `.null` sends none.
  ///   - timeout: from sending to the whole answer; nil waits for ever, as `job.run` and `job.result` may have to.
  ///   - isIdempotent: the call may be repeated on another node when the connection is lost. A call that creates a job
  ///     is idempotent when it names the job's id.
  public func call(
    _ method: String, _ params: JSON = .null, timeout: Duration? = nil, isIdempotent: Bool = false
  ) async throws(ClientError) -> JSON {
    let id = nextID()
    let (answer, endpoint) = try await transport.send(
      NodeTransport.Request(
        body: envelope(method, params, id: id).serialized(), timeout: timeout, isIdempotent: isIdempotent))
    let json = try parse(answer, from: endpoint)
    return try outcome(json, id: id, status: answer.status, from: endpoint).get()
  }

  /// Calls a method without asking for its result (JSON-RPC 2.0 §4.1); returns once the node has taken it.
  public func notify(_ method: String, _ params: JSON = .null, timeout: Duration? = nil) async throws(ClientError) {
    let (answer, endpoint) = try await transport.send(
      NodeTransport.Request(body: envelope(method, params, id: nil).serialized(), timeout: timeout))
    guard !(200..<300).contains(answer.status) else { return }
    throw status(answer, endpoint)
  }

  /// Calls several methods in one request (JSON-RPC 2.0 §6).
  /// - Returns: an outcome for each call, in the order of the calls.
  /// - Throws: what befell the request as a whole.
  public func batch(
    _ calls: [(method: String, params: JSON)], timeout: Duration? = nil, isIdempotent: Bool = false
  ) async throws(ClientError) -> [Result<JSON, ClientError>] {
    guard !calls.isEmpty else { return [] }
    let ids = calls.map { _ in nextID() }
    let envelopes = zip(calls, ids).map { envelope($0.method, $0.params, id: $1) }
    let (answer, endpoint) = try await transport.send(
      NodeTransport.Request(
        body: JSON.array(envelopes).serialized(), timeout: timeout, isIdempotent: isIdempotent))
    let json = try parse(answer, from: endpoint)
    guard let answers = json.arrayValue else {
      _ = try outcome(json, id: nil, status: answer.status, from: endpoint).get()
      throw .invalidAnswer(endpoint: endpoint, reason: "a batch was answered by a single answer")
    }
    var byID: [Int64: JSON] = [:]
    for answer in answers {
      if let id = answer["id"]?.intValue { byID[id] = answer }
    }
    return ids.map { id in
      guard let json = byID[id] else {
        return .failure(.invalidAnswer(endpoint: endpoint, reason: "a call of the batch was not answered"))
      }
      return outcome(json, id: id, status: answer.status, from: endpoint)
    }
  }

  /// Fetches a page of the node, such as `/health`, `/ready` or `/metrics`.
  public func get(
    _ path: String, timeout: Duration? = nil
  ) async throws(ClientError) -> (status: Int, body: [UInt8]) {
    let (answer, _) = try await transport.send(
      NodeTransport.Request(method: "GET", path: path, timeout: timeout, isIdempotent: true))
    return (answer.status, answer.body)
  }

  /// Closes all connections; calls under way end with an error.
  public func close() async {
    await transport.close()
  }

  private func nextID() -> Int64 {
    lastID += 1
    return lastID
  }

  private func envelope(_ method: String, _ params: JSON, id: Int64?) -> JSON {
    var members: [(key: String, value: JSON)] = [("jsonrpc", "2.0")]
    if let id { members.append(("id", .int(id))) }
    members.append(("method", .string(method)))
    if !params.isNull { members.append(("params", params)) }
    return .object(JSONObject(members: members))
  }

  private func parse(_ answer: HTTPAnswer, from endpoint: Endpoint) throws(ClientError) -> JSON {
    do {
      return try JSON.parse(answer.body)
    } catch {
      guard answer.status == 200 else { throw status(answer, endpoint) }
      throw .invalidAnswer(endpoint: endpoint, reason: "its answer is not JSON: \(error)")
    }
  }

  private func status(_ answer: HTTPAnswer, _ endpoint: Endpoint) -> ClientError {
    let line = answer.body.prefix { $0 >= 32 && $0 < 127 }.prefix(200)
    return .httpStatus(endpoint: endpoint, status: answer.status, reason: String(decoding: line, as: UTF8.self))
  }

  /// Reads one answer of JSON-RPC; `id` nil takes any, as an error about the request as a whole has `null`.
  private func outcome(
    _ json: JSON, id: Int64?, status: Int, from endpoint: Endpoint
  ) -> Result<JSON, ClientError> {
    if let error = json["error"], let code = error["code"]?.intValue {
      let message = error["message"]?.stringValue ?? "the node gave no message"
      return .failure(.rpc(code: Int(code), message: message, data: error["data"]))
    }
    guard status == 200 else { return .failure(.httpStatus(endpoint: endpoint, status: status, reason: "")) }
    guard let result = json["result"] else {
      return .failure(.invalidAnswer(endpoint: endpoint, reason: "it has neither a result nor an error"))
    }
    guard id == nil || json["id"]?.intValue == id else {
      return .failure(.invalidAnswer(endpoint: endpoint, reason: "it answers another call"))
    }
    return .success(result)
  }
}
