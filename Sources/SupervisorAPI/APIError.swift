import JSONRPC
import Supervisor

// The one place where the domain's errors become JSON-RPC errors.

extension JSONRPCError {
  init(_ error: SupervisorError) {
    switch error {
    case .outOfScope(let id): self = .notFound("job", id.rawValue)
    case .runnerNotFound(let name): self = .notFound("runner", name.rawValue)
    case .queueConflict(let name, let queue):
      self = .conflict(
        "Runner \"\(name)\" is registered with queue \"\(queue)\"",
        data: ["runner": .string(name.rawValue), "queue": .string(queue.rawValue)])
    case .runnerState(let name, let state, let reason):
      self = .wrongState(
        "Runner \"\(name)\" is \(state.rawValue): \(reason)",
        data: ["runner": .string(name.rawValue), "state": .string(state.rawValue)])
    case .executorNotAllowed(_, let runner, let allowed):
      let names = allowed.map(\.rawValue).joined(separator: ", ")
      self = .invalidParams(
        field: "params.job.executor", expected: "an executor of runner \"\(runner)\" (\(names))")
    case .invalidJob(let field, let reason):
      self = JSONRPCError(
        code: -32602, message: "Invalid params: params.job.\(field) \(reason)",
        data: ["field": .string("params.job.\(field)"), "expected": .string(reason)])
    case .draining: self = .unavailable("the node is stopping", retryAfterMilliseconds: 1000)
    case .joining: self = .unavailable("the node is joining its cluster", retryAfterMilliseconds: 500)
    case .nodeNotReached(let node, let reason): self = .unreachable([node], reason, outcome: "not_done")
    case .callLost(let node, let reason): self = .unreachable([node], reason, outcome: "unknown")
    case .ownerUnreachable(let nodes, let reason): self = .unreachable(nodes, reason)
    case .moving(let id, let node):
      self = .unreachable([node], "job \(id) waits for the new owner of its runner", job: id)
    case .nodeUnavailable(let node?, let reason):
      self = JSONRPCError(
        code: -32002, message: "No node \"\(node)\": \(reason)", data: ["node": .string(node.rawValue)])
    case .nodeUnavailable(nil, let reason):
      self = .wrongState("Not possible: \(reason)", data: ["reason": .string(reason)])
    case .store(let error): self.init(error)
    }
  }

  /// - Parameters:
  ///   - outcome: what is known of the call itself, where it is one that one node was to carry out.
  ///   - job: one that a node has, and that cannot be asked for at present.
  private static func unreachable(
    _ nodes: [NodeName], _ reason: String, outcome: String? = nil, job: JobID? = nil
  ) -> JSONRPCError {
    let names = nodes.map(\.rawValue)
    var data: JSONObject = ["node": .string(names.first ?? ""), "nodes": .array(names.map(JSON.string))]
    if let outcome { data["outcome"] = .string(outcome) }
    if let job { data["job"] = .string(job.rawValue) }
    return JSONRPCError(
      code: -32005, message: "Cannot reach \(names.joined(separator: ", ")): \(reason)", data: .object(data))
  }

  private init(_ error: JobStoreError) {
    switch error {
    case .notFound(let id): self = .notFound("job", id.rawValue)
    case .conflict(let id):
      self = .conflict(
        "Job \"\(id)\" exists already with other fields", data: ["job": .string(id.rawValue)])
    case .wrongState(let id, let status):
      self = .wrongState(
        "Job \"\(id)\" is \(status.rawValue)",
        data: ["job": .string(id.rawValue), "status": .string(status.rawValue)])
    case .unavailable(let reason, let milliseconds):
      self = .unavailable(reason, retryAfterMilliseconds: milliseconds)
    case .invalidCursor:
      self = .invalidParams(field: "params.cursor", expected: "what an earlier page answered as next")
    case .cancelled: self = .unavailable("the call was cancelled", retryAfterMilliseconds: 1000)
    case .fenced(let id):
      self = .unavailable("the runner of job \(id) is changing its owner", retryAfterMilliseconds: 100)
    }
  }
}

/// Runs a call of the domain and states its error as JSON-RPC does.
func answering<Value>(
  _ body: () async throws(SupervisorError) -> Value
) async throws(JSONRPCError) -> Value {
  do { return try await body() } catch { throw JSONRPCError(error) }
}
