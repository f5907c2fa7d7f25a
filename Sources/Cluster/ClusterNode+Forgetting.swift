import Gossip

extension ClusterNode {
  /// Has all members forget one that failed or left, now instead of after 72 hours. Peers with a link have done so when this
  /// returns, members that are away do when they return.
  /// - Throws: `ForgetRefusal`.
  public func forget(_ peer: MemberName) async throws(ForgetRefusal) {
    guard let swim = await gossip?.membership, swim[peer] != nil else { throw .unknown }
    guard let (subject, body) = swim.forgetting(peer) else { throw .present }
    guard let records else {
      return await announce([
        Record(kind: subject.kind, name: subject.name, version: GossipNode.date, author: name, body: body)
      ])
    }
    do throws(RecordsUnwritable) {
      _ = try await records.change(subject) { (_, _) throws(Never) in .state(body: body) }
    } catch {
      throw .unwritable(error.reason)
    }
  }
}
