import ArgumentParser
import JSONRPC

/// `hero-supervisor cluster status`: how the cluster is, as one node sees it.
struct ClusterStatus: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status", abstract: "Show how the cluster is, as one node sees it.",
    discussion: """
      "unreachable" names the members whose part is missing in lists. "health" is
      how well the node itself keeps up: 0 is healthy, more makes it more patient
      with others.

      EXAMPLES
        hero-supervisor cluster status
        hero-supervisor cluster status --json | jq -e '.unreachable == []'
      """)

  @OptionGroup var client: ClientOptions

  func run() async throws {
    let status = try await NodeConnection.open(client).call("cluster.status", .array([]))
    if client.json { return StandardStreams.out(status.pretty()) }
    var table = Table([("ABOUT", .left), ("VALUE", .left)])
    for (key, value) in Self.rows(status) { table.add([key, value]) }
    StandardStreams.out(table.rendered)
  }

  /// What is said of each part; a part that the node does not tell of is a dash.
  static func rows(_ status: JSON) -> [(String, String)] {
    let members = status["members"]
    let counts = ["alive", "suspect", "failed", "left"].map { "\(members?[$0]?.cell ?? "-") \($0)" }
    let runners = status["runners"]
    let unreachable = status["unreachable"]?.elements.map(\.cell) ?? []
    var rows = [
      ("node", status["node"]?.cell ?? "-"),
      ("cluster", status["cluster"]?.cell ?? "-"),
      ("ready", readiness(status)),
      ("members", counts.joined(separator: ", ")),
      (
        "runners",
        "\(runners?["owned"]?.cell ?? "-") here, \(runners?["total"]?.cell ?? "-") in all, "
          + "\(runners?["unavailable"]?.cell ?? "-") unavailable"
      ),
      ("unreachable", unreachable.isEmpty ? "-" : unreachable.joined(separator: ", ")),
      ("health", status["health"]?.cell ?? "-"),
      (
        "handover",
        "\(status["handover"]?["jobs"]?.cell ?? "-") jobs wait, \(status["handover"]?["in_doubt"]?.cell ?? "-") in doubt"
      ),
      ("store", store(status["store"])),
    ]
    for link in status["links"]?.elements ?? [] { rows.append(("link", Self.link(link))) }
    if let reason = status["alone"]?.stringValue { rows.append(("alone", reason)) }
    return rows
  }

  private static func link(_ link: JSON) -> String {
    let reason = link["reason"]?.stringValue.flatMap { $0.isEmpty ? nil : ": \($0)" } ?? ""
    let (from, to) = (link["from"]?.cell ?? "-", link["to"]?.cell ?? "-")
    return link["missing"] == "link" ? "none between \(to) and \(from)\(reason)" : "no UDP from \(from) to \(to)"
  }

  private static func store(_ store: JSON?) -> String {
    guard let store, store["shared"] == .bool(true) else { return "of each node" }
    let lease = store["lease_remaining_seconds"]?.cell ?? "-"
    return "shared, lease for \(lease) s, schema \(store["schema"]?.cell ?? "-")"
  }

  private static func readiness(_ status: JSON) -> String {
    let reason = status["reason"]?.stringValue.map { ": \($0)" } ?? ""
    switch status["ready"] {
    case .bool(let isReady): return (isReady ? "yes" : "no") + reason
    default: return "-"
    }
  }
}
