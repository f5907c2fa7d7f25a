/// All that a member knows: what two members exchange over the peer link.
public struct MembershipState: Hashable, Sendable {
  public var news: [News]
  public var claims: [RunnerClaim]

  public init(news: [News] = [], claims: [RunnerClaim] = []) {
    self.news = news
    self.claims = claims
  }
}
