// Who sends a large request, known before anything is built of it. A small one is cheap to parse, and its methods check
// its key themselves (`Authenticator`); they do so here too, whatever is found out now.

import HTTPServer
import JSONRPC

/// Tells requests that carry a valid key, in the header or as `secret` of their calls, from those of strangers.
public struct RequestKeys: KeyJudge {
  private let authenticator: Authenticator
  private let metrics: Metrics
  private let maximumBatch: Int
  private let audit: AuditTrail?

  /// - Parameter maximumBatch: of as many calls the keys are looked at; what has more is refused in any case.
  public init(authenticator: Authenticator, metrics: Metrics, maximumBatch: Int, audit: AuditTrail? = nil) {
    self.authenticator = authenticator
    self.metrics = metrics
    self.maximumBatch = maximumBatch
    self.audit = audit
  }

  public func showsKey(_ headers: HTTPHeaders) -> Bool {
    HTTPEndpoint.bearer(headers).map(authenticator.knows) ?? false
  }

  public func judge(_ request: HTTPRequest) -> KeyJudgement {
    // Nobody reads the body of any other.
    guard HTTPEndpoint.isRPC(request) else { return .needsNoKey }
    var wrong: [Authenticator.Standing] = []
    let bearer = HTTPEndpoint.bearer(request.headers)
    if let bearer { wrong.append(authenticator.standing(of: bearer)) }
    let scan = SecretScan(request.body, maximumKeys: maximumBatch) { key in
      let standing = authenticator.standing(of: key)
      if !standing.isValid { wrong.append(standing) }
      return standing.isValid
    }
    let missing = "params.secret or the header Authorization: Bearer is missing"
    switch scan.finding {
    case .key: return .showsKey
    case .duplicate(let error): return refuse(.parseError(error), scan)
    case .unknownKeys, .none:
      guard let error = authenticator.refusal(of: APICall(request), withoutKey: missing) else { return .needsNoKey }
      guard let last = wrong.last else {
        audit?.refused("a large request", key: nil, request.client)
        return refuse(error, scan)
      }
      audit?.refused("a large request", key: last, request.client)
      let reasons = wrong.reduce(into: [:]) { $0[$1.reason, default: 0] += 1 }
      let pause = authenticator.guesses.pause(for: request.client, reasons: reasons)
      return refuse(.unauthorized(last.words), scan, after: pause)
    }
  }

  private func refuse(_ error: JSONRPCError, _ scan: SecretScan, after pause: Duration = .zero) -> KeyJudgement {
    metrics.count(method: nil, code: error.code)
    if scan.isNotification { return .refused(.empty(204), after: pause) }
    return .refused(.json(error.answer(to: scan.id ?? .null)), after: pause)
  }
}

extension BudgetShare: AnswerRoom {}
