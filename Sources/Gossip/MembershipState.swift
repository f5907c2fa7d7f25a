/// All that a member knows: what two members exchange over the peer link.
public struct MembershipState: Hashable, Sendable {
  public var news: [News]
  public var claims: [RunnerClaim]
  public var records: [Record]

  public init(news: [News] = [], claims: [RunnerClaim] = [], records: [Record] = []) {
    self.news = news
    self.claims = claims
    self.records = records
  }
}
