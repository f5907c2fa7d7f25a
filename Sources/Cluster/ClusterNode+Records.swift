import Gossip

// Records, as far as they pass by: `RecordKeeper` keeps them.

extension ClusterNode {
  /// States records; peers with a link know them before the caller goes on.
  public func announce(_ records: [Record]) async {
    await gossip?.perform { swim, now in records.flatMap { swim.record($0, at: now) } }
    await tell(MembershipState(records: records))
  }

  /// Statements that were refused since a counter was higher than time allows.
  public var refusedLeaps: Int {
    get async { await gossip?.membership.refusedLeaps ?? 0 }
  }

  /// All records, by kind and name.
  public var allRecords: [Record] {
    get async { await gossip?.membership.records.all ?? [] }
  }

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
