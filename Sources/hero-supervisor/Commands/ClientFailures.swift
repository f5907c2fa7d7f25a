import JSONRPC
import SupervisorClient
import TLS

/// The client's errors as a person at a prompt needs them: what failed, where, what to do.
extension CommandFailure {
  /// - Parameter endpoints: all that were tried.
  init(_ error: ClientError, calling method: String, endpoints: [String], hasKey: Bool) {
    switch error {
    case .cannotConnect(_, let reason):
      let place = endpoints.count == 1 ? "a node at \(endpoints[0])" : "any of \(endpoints.joined(separator: ", "))"
      self.init(
        message: "cannot reach \(place): \(reason)",
        hints: ["start one with `hero-supervisor node`, or name another with --endpoint or HERO_ENDPOINTS"],
        status: .unreachable)
    case .notSecured(_, let reason): self.init(message: "\(error)", hints: reason.hints, status: .unreachable)
    case .rpc(let code, let message, let data):
      self.init(refused: method, code: code, message: message, data: data, hasKey: hasKey)
    // A proxy says by the last two that it reached no node, or lost it.
    case .connectionLost, .timedOut, .httpStatus(_, status: 502, _), .httpStatus(_, status: 504, _):
      self.init(
        message: "\(method): \(error)", hints: ["the node may have carried it out, or still be at it"],
        status: .unreachable)
    case .httpStatus: self.init(message: "\(method): \(error)", status: .refused)
    case .invalidAnswer, .cancelled: self.init(message: "\(method): \(error)", status: .unreachable)
    }
  }

  /// A JSON-RPC error of the node, with what `data` says beside it.
  init(refused method: String, code: Int, message: String, data: JSON?, hasKey: Bool) {
    var hints: [String] = []
    if case .object(let members)? = data {
      for member in members.members { hints.append("\(member.key): \(member.value.cell)") }
    }
    switch code {
    case -32001 where hasKey:
      hints.append("the key is not one that may do this; use another by --secret-file or HERO_SECRET")
    case -32001:
      hints.append(
        "give a key by --secret-file or HERO_SECRET; the local node's own goes to its socket only, unix:PATH")
    case -32601: hints.append("`hero-supervisor rpc rpc.discover` lists the methods of this node")
    case -32002 where data?["key"] != nil: hints.append("`hero-supervisor key list` shows the keys there are")
    case -32002 where data?["job"] != nil: hints.append("`hero-supervisor job list` shows the jobs there are")
    case -32002 where data?["node"] != nil, -32005: hints.append(Self.seeMembers)
    case -32002: hints.append("`hero-supervisor runner list` shows the runners there are")
    default: break
    }
    self.init(message: "\(method) was refused: \(message) (\(code))", hints: hints, status: .refused, code: code)
  }

  private static let seeMembers = "`hero-supervisor cluster members` shows the nodes and their states"

  /// An answer that is not what the contract promises.
  static func unexpected(_ method: String, _ answer: JSON) -> CommandFailure {
    CommandFailure(
      message: "\(method) answered something unexpected: \(answer.text.prefix(200))", status: .failed)
  }
}
