// JSON-RPC 2.0 to a node of the cluster, whichever can be reached.
import EventLoop
import JSONRPC
import TLS

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
    /// How long to look up a name and connect to it, before the next endpoint is tried. Longer than `patience`, so that it
    /// is said which endpoint is silent.
    public var connectTimeout: Duration = .seconds(6)
    /// How long an endpoint may be silent before the next one is asked as well, if the call may be made twice. Beyond the
    /// three seconds in which nodes find a new owner of a runner.
    public var patience: Duration = .seconds(5)
    /// How long an endpoint may send nothing of an answer that waits for no job, before the call ends without a result.
    /// Nodes wait up to ten seconds for each other.
    public var silence: Duration = .seconds(15)
    /// How often somebody is asked about a job that is waited for.
    public var waitCheck: Duration = .seconds(10)
    /// How soon they are asked again when none has answered, since another may only have been slow.
    public var recheck: Duration = .seconds(2)
    /// How long that question may take; the node where the call waits is taken for silent then.
    public var checkTime: Duration = .milliseconds(1500)

    public init() {}
  }

  nonisolated let loop: EventLoop
  public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  let transport: NodeTransport
  nonisolated let limits: Limits
  nonisolated let onNotice: @Sendable (ClientNotice) -> Void
  private var lastID: Int64 = 0

  /// - Parameters:
  ///   - endpoints: at least one; tried in order, and the one that answered last first.
  ///   - secret: a key, sent as `Authorization: Bearer`.
  ///     Control characters in it (the newline at the end of a file) are left out: no key has them.
  ///   - tls: whom endpoints by `https://` must prove to be, and who the client is to them; without one the system's
  ///     authorities are believed.
  ///   - loop: a running loop, whose thread does the work.
  ///   - onNotice: hears, on the loop, of nodes that are silent or lost while others are asked in their place.
  /// - Precondition: `endpoints` is not empty.
  public init(
    endpoints: [Endpoint], secret: String? = nil, tls: TLSContext? = nil, loop: EventLoop, limits: Limits = Limits(),
    onNotice: @escaping @Sendable (ClientNotice) -> Void = { _ in }
  ) {
    self.loop = loop
    self.limits = limits
    self.onNotice = onNotice
    let secret = secret.map { String(decoding: $0.utf8.filter { $0 >= 32 && $0 != 127 }, as: UTF8.self) }
    transport = NodeTransport(
      endpoints: endpoints, secret: secret, tls: tls, loop: loop, limits: limits, onNotice: onNotice)
  }

  /// What a node answered, and what it could not know.
  public struct Answer: Hashable, Sendable {
    public let result: JSON
    /// The members of the cluster that could not be reached: what they have is missing in an answer about the whole
    /// cluster (`Hero-Unreachable`). By name; empty when nothing is missing.
    public let unreachable: [String]
  }

  /// Calls a method and returns its result.
  ///
  /// When an endpoint refuses the connection, or does not prove by TLS who it is, the next one is called at once. When the connection is lost under way,
  /// or the node answers that it cannot reach the owner or that it takes no work now (-32005, -32009, status 503), or a
  /// proxy that it reached no node or lost it (502, 504), the next endpoint is called only if the method may be called twice: `SafeCalls`. So is, beside one that has been silent
  /// for `Limits.patience`, the next; the first answer counts. Each endpoint is called once.
  ///
  /// `job.run` and `job.result` wait for as long as their job takes, across the loss of nodes (`JobWait`).
  /// - Parameters:
  ///   - params: an array or an object; `.null` sends none.
  ///   - timeout: from sending to the whole answer; nil: `Limits.silence` for calls that do not wait for jobs, and no limit
  ///     for those that do.
  public func call(
    _ method: String, _ params: JSON = .null, timeout: Duration? = nil
  ) async throws(ClientError) -> JSON {
    try await answer(to: method, params, timeout: timeout).result
  }

  /// As `call`, with what the answer is missing.
  public func answer(
    to method: String, _ params: JSON = .null, timeout: Duration? = nil
  ) async throws(ClientError) -> Answer {
    if let (job, secret) = JobWait.subject(of: method, params) {
      return try await answer(waitingFor: job, method, params, secret: secret, timeout: timeout)
    }
    return try await plainAnswer(to: method, params, timeout: timeout)
  }

  /// Calls a method as `SafeCalls` says of it, and nothing more.
  /// - Parameters:
  ///   - place: told which endpoint is asked.
  ///   - change: of the request.
  func plainAnswer(
    to method: String, _ params: JSON, timeout: Duration?, at place: NodeTransport.Place? = nil,
    _ change: (inout NodeTransport.Request) -> Void = { _ in }
  ) async throws(ClientError) -> Answer {
    let id = nextID()
    var request = request(envelope(method, params, id: id), [method], timeout)
    request.place = place
    change(&request)
    return try await transport.send(request) { (answer, endpoint) throws(ClientError) in
      let json = try RPCAnswer.json(answer, from: endpoint)
      let result = try RPCAnswer.outcome(json, id: id, status: answer.status, from: endpoint).get()
      let names = answer.unreachable.split(separator: ",").map { $0.trimming { $0 == " " || $0 == "\t" } }
      return Answer(result: result, unreachable: names.filter { !$0.isEmpty })
    }
  }

  /// Calls a method without asking for its result (JSON-RPC 2.0 §4.1); returns once the node has taken it.
  public func notify(_ method: String, _ params: JSON = .null, timeout: Duration? = nil) async throws(ClientError) {
    let request = request(envelope(method, params, id: nil), [method], timeout)
    try await transport.send(request) { (answer, endpoint) throws(ClientError) in
      guard !(200..<300).contains(answer.status) else { return }
      throw RPCAnswer.status(answer, endpoint)
    }
  }

  /// Calls several methods in one request (JSON-RPC 2.0 §6); it goes to another endpoint as a whole or not at all.
  /// - Returns: an outcome for each call, in the order of the calls.
  /// - Throws: what befell the request as a whole.
  public func batch(
    _ calls: [(method: String, params: JSON)], timeout: Duration? = nil
  ) async throws(ClientError) -> [Result<JSON, ClientError>] {
    guard !calls.isEmpty else { return [] }
    let ids = calls.map { _ in nextID() }
    let envelopes = zip(calls, ids).map { envelope($0.method, $0.params, id: $1) }
    let request = request(.array(envelopes), calls.map(\.method), timeout)
    return try await transport.send(request) { (answer, endpoint) throws(ClientError) in
      try RPCAnswer.outcomes(answer, ids: ids, from: endpoint)
    }
  }

  /// Fetches a page of the node, such as `/health`, `/ready` or `/metrics`.
  public func get(
    _ path: String, timeout: Duration? = nil
  ) async throws(ClientError) -> (status: Int, body: [UInt8]) {
    let request = NodeTransport.Request(
      method: "GET", path: path, timeout: timeout, silence: limits.silence, isSafe: true)
    return try await transport.send(request) { (answer, _) in (answer.status, answer.body) }
  }

  /// Closes all connections; calls under way end with an error.
  public func close() async {
    await transport.close()
  }

  private func request(_ body: JSON, _ methods: [String], _ timeout: Duration?) -> NodeTransport.Request {
    let isSafe = methods.allSatisfy(SafeCalls.contains)
    // Nobody can say what became of a call that may not be made twice, so it gets more time.
    let silence = methods.contains(where: SafeCalls.waits) ? nil : isSafe ? limits.silence : limits.silence * 2
    return NodeTransport.Request(body: body.serialized(), timeout: timeout, silence: silence, isSafe: isSafe)
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
}

extension Substring {
  /// Without the characters at its ends that are of a kind.
  fileprivate func trimming(_ isTrimmed: (Character) -> Bool) -> String {
    let rest = drop(while: isTrimmed)
    return rest.lastIndex { !isTrimmed($0) }.map { String(rest[...$0]) } ?? ""
  }
}
