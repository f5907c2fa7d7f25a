import Cluster

extension RunnerRegistry {
  /// Has the whole cluster forget a node that failed or left, which it would do by itself after 72 hours. Jobs that only that
  /// node has are unknown from then on, unless it comes back.
  public func forgetNode(_ target: NodeName) async throws(SupervisorError) {
    guard let cluster else { throw .nodeUnavailable(target, "this node is in no cluster") }
    do throws(ForgetRefusal) { try await cluster.forget(target.member) } catch {
      switch error {
      case .unknown: throw .nodeUnavailable(target, "this node knows no member of that name")
      case .present:
        throw .nodeUnavailable(
          nil, "node \(target) takes part; stop it first, or wait until it is found to have failed")
      case .unwritable(let reason):
        throw .store(.unavailable("the disk does not take it: \(reason)", retryAfterMilliseconds: 1000))
      }
    }
    ownership.keep(await cluster.members)
    planReview()
    changed()
  }
}
