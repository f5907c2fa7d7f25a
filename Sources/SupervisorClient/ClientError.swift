import JSONRPC
import TLS

/// Why a call has no result. The description is a sentence for a terminal.
public enum ClientError: Error, Hashable, Sendable, CustomStringConvertible {
  /// No node was reached, so nothing was done. Of several endpoints this is the last; the reason tells of the others.
  case cannotConnect(endpoint: Endpoint, reason: String)
  /// The node was reached, but not by TLS in a way that both ends accept; so nothing was done.
  case notSecured(endpoint: Endpoint, reason: TLSError)
  /// The node may have received the call, and may have carried it out.
  case connectionLost(endpoint: Endpoint, reason: String)
  /// What answered is not a node, or refused the request before it became a call.
  case httpStatus(endpoint: Endpoint, status: Int, reason: String)
  /// The node's own error (JSON-RPC 2.0 §5.1).
  case rpc(code: Int, message: String, data: JSON?)
  /// What answered does not speak JSON-RPC 2.0.
  case invalidAnswer(endpoint: Endpoint, reason: String)
  /// No answer within the time that the caller gave; the node may still carry the call out.
  case timedOut(endpoint: Endpoint, after: Duration)
  /// The caller's task was cancelled.
  case cancelled

  public var description: String {
    switch self {
    case .cannotConnect(let endpoint, let reason): "cannot reach a node at \(endpoint): \(reason)"
    case .notSecured(let endpoint, let reason): "cannot make a secure connection to \(endpoint): \(reason)"
    case .connectionLost(let endpoint, let reason):
      "the connection to \(endpoint) was lost before the answer came: \(reason)"
    case .httpStatus(let endpoint, let status, let reason):
      "\(endpoint) answered with HTTP status \(status)\(reason.isEmpty ? "" : ": " + reason)"
    case .rpc(let code, let message, _): "\(message) (code \(code))"
    case .invalidAnswer(let endpoint, let reason): "\(endpoint) does not answer as a node does: \(reason)"
    case .timedOut(let endpoint, let duration): "no answer from \(endpoint) within \(duration)"
    case .cancelled: "the call was cancelled"
    }
  }
}

extension ClientError {
  /// Whether the next endpoint may be tried after this.
  /// - Parameter isSafe: whether the request may reach two nodes.
  func letsAnotherNodeTry(isSafe: Bool) -> Bool {
    switch self {
    case .cannotConnect, .notSecured: true
    case .connectionLost, .timedOut: isSafe
    // Whoever answered has sent nothing to anybody.
    case .rpc(code: -32005, _, let data) where data?["outcome"] == "not_done": true
    // The owner cannot be reached from there; that node takes no work now.
    case .rpc(code: -32005, _, _), .rpc(code: -32009, _, _): isSafe
    // That node has too many connections, or a proxy has no node behind it, or lost it (RFC 9110, section 15.6).
    case .httpStatus(_, status: 502...504, _): isSafe
    default: false
    }
  }

  /// Whether a node was asked and has not answered, as a proxy says by 502 and 504.
  var isLoss: Bool {
    switch self {
    case .connectionLost, .timedOut, .httpStatus(_, status: 502, _), .httpStatus(_, status: 504, _): true
    default: false
    }
  }

  /// Whether the endpoint is not the one to turn to next.
  var isOfAway: Bool {
    switch self {
    case .rpc(code: -32009, _, _), .httpStatus(_, status: 503, _): true
    default: isLoss
    }
  }

  /// Whether a node spoke.
  var isAnswer: Bool {
    switch self {
    case .rpc, .httpStatus: !isLoss
    default: false
    }
  }
}
