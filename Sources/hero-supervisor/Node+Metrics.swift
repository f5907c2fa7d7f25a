import Cluster
import Gossip
import HTTPServer
import Supervisor
import SupervisorAPI

// What the parts of a node count, for `GET /metrics`.

extension Node {
  func families(_ store: NodeStore, _ registry: RunnerRegistry) async -> [Metrics.Family] {
    guard let server else { return [] }
    let http = await server.statistics
    return await clusterFamilies(registry) + store.families() + auditFamilies() + tlsFamilies(http.handshakes) + [
      .init(
        "hero_job_containment", "gauge", "1 for the means by which all processes of a job are found at its end.",
        [([("means", groups == nil ? "subreaper" : "control_group")], 1)]),
      .init(
        "hero_job_sandbox", "gauge", "1 for each executor whose jobs run in a sandbox, by the network that they have.",
        configuration.executors.compactMap { executor in
          executor.sandbox.map {
            ([("executor", executor.name.rawValue), ("network", $0.hasNetwork ? "node" : "none")], 1)
          }
        }),
      .init("hero_http_connections", "gauge", "Open connections.", Double(http.open)),
      .init(
        "hero_http_connections_limit", "gauge", "Connections that this node accepts at a time.",
        Double(configuration.api.maxConnections)),
      .init("hero_http_connections_total", "counter", "Accepted connections.", Double(http.accepted)),
      .init("hero_http_requests_total", "counter", "Requests that reached the API.", Double(http.requests)),
      .init("hero_http_received_bytes_total", "counter", "Bytes from clients.", Double(http.bytesIn)),
      .init("hero_http_sent_bytes_total", "counter", "Bytes to clients.", Double(http.bytesOut)),
      .init(
        "hero_http_refused_total", "counter", "Requests that the server turned away, by status.",
        http.refused.sorted { $0.key < $1.key }.map { ([("status", String($0.key))], Double($0.value)) }),
      .init(
        "hero_http_abandoned_total", "counter", "Requests that ended because their client had closed the connection.",
        Double(http.abandoned)),
      .init(
        "hero_http_cut_off_total", "counter",
        "Answers in pieces that were cut off, since their rest could not be made.",
        Double(http.cutOff)),
    ] + budgetFamilies([("requests", http.requestBudget), ("answers", http.answerBudget)])
  }

  private func budgetFamilies(_ budgets: [(of: String, ByteBudget)]) -> [Metrics.Family] {
    func samples<Value: BinaryInteger>(_ known: KeyPath<ByteBudget, Value>, _ strangers: KeyPath<ByteBudget, Value>)
      -> [(labels: [(String, String)], value: Double)]
    {
      budgets.flatMap { of, budget in
        [
          (labels: [("of", of), ("key", "yes")], value: Double(budget[keyPath: known])),
          (labels: [("of", of), ("key", "no")], value: Double(budget[keyPath: strangers])),
        ]
      }
    }
    return [
      .init(
        "hero_http_buffered_bytes", "gauge",
        "Bytes held for requests and for answers under way, by whether their clients have shown a valid key.",
        samples(\.known, \.strangers)),
      .init(
        "hero_http_buffered_bytes_limit", "gauge",
        "How many bytes all may hold together, and how many those without a key.", samples(\.limit, \.strangerLimit)),
      .init(
        "hero_http_buffer_refusals_total", "counter",
        "Times that a request or an answer got no room in these.", samples(\.refusedKnown, \.refusedStrangers)),
    ]
  }

  private func auditFamilies() -> [Metrics.Family] {
    guard let counts = audit?.statistics else { return [] }
    return [
      .init("hero_audit_lines_total", "counter", "Lines of the audit file.", Double(counts.writtenLines)),
      .init(
        "hero_audit_lost_lines_total", "counter", "Lines that could not be written to the audit file.",
        Double(counts.lostLines)),
    ]
  }

  private func tlsFamilies(_ handshakes: TLSHandshakeStatistics) -> [Metrics.Family] {
    guard let certificate else { return [] }
    return [
      .init(
        "hero_tls_certificate_expiry_timestamp_seconds", "gauge",
        "When the certificate of the API expires, in seconds since 1970.", Double(certificate.validity.notAfter)),
      .init(
        "hero_tls_handshakes_total", "counter", "TLS handshakes with clients that were completed.",
        Double(handshakes.completed)),
      .init(
        "hero_tls_resumed_total", "counter", "Of those, handshakes that went on with an earlier session.",
        Double(handshakes.resumed)),
      .init(
        "hero_tls_failed_handshakes_total", "counter", "TLS handshakes with clients that failed, by reason.",
        handshakes.failed.sorted { $0.key < $1.key }.map { ([("reason", $0.key)], Double($0.value)) }),
    ]
  }

  private func clusterFamilies(_ registry: RunnerRegistry) async -> [Metrics.Family] {
    guard let cluster else { return [] }
    let status = await registry.clusterStatus()
    let gossip = await cluster.statistics
    let faults = await cluster.pathFaults
    let certificates: [Metrics.Family] =
      linkValidity.map {
        [
          .init(
            "hero_cluster_certificate_expiry_timestamp_seconds", "gauge",
            "When the certificate of the peer links expires, in seconds since 1970; missing where they are made by keys.",
            Double($0.notAfter))
        ]
      } ?? []
    return certificates + [
      .init(
        "hero_cluster_members", "gauge", "Members by state, as this node sees them.",
        status.members.sorted { $0.key < $1.key }.map { ([("state", $0.key)], Double($0.value)) }),
      .init("hero_cluster_links", "gauge", "Peers with a link to this node.", Double(await cluster.linked.count)),
      .init(
        "hero_cluster_path_faults", "gauge", "What does not arrive between this node and members that are there.",
        [PathFault.Kind.noLink, .noUDPFrom, .noUDPTo].map { kind in
          ([("kind", "\(kind.label)")], Double(faults.count { $0.kind == kind }))
        }),
      .init(
        "hero_cluster_alone", "gauge", "1 while this node finds none of the others that it was told of.",
        status.solitude == nil ? 0 : 1),
      .init(
        "hero_cluster_health_score", "gauge", "How much this node doubts itself; 0 is healthy.", Double(status.health)),
      .init("hero_cluster_runners", "gauge", "Runners of the whole cluster.", Double(status.runners)),
      .init(
        "hero_cluster_unavailable_runners", "gauge", "Runners without a live owner.", Double(status.unavailableRunners)),
      .init(
        "hero_cluster_handover_jobs", "gauge", "Jobs here that wait for the new owner of their runner.",
        Double(status.jobsToHandOver)),
      .init(
        "hero_cluster_jobs_in_doubt", "gauge", "Jobs that another node may have moved here, waiting for its word.",
        Double(status.jobsInDoubt)),
      .init(
        "hero_gossip_packets_total", "counter", "Datagrams between members.",
        [([("direction", "in")], Double(gossip.receivedPackets)), ([("direction", "out")], Double(gossip.sentPackets))]),
      .init(
        "hero_gossip_bytes_total", "counter", "Bytes of datagrams between members.",
        [([("direction", "in")], Double(gossip.receivedBytes)), ([("direction", "out")], Double(gossip.sentBytes))]),
      .init(
        "hero_gossip_dropped_packets_total", "counter",
        "Datagrams that were not used: of strangers, malformed, or refused by the system when sent.",
        [
          ([("reason", "foreign")], Double(gossip.foreignPackets)),
          ([("reason", "malformed")], Double(gossip.malformedPackets)),
          ([("reason", "unsent")], Double(gossip.failedSends)),
        ]),
      .init(
        "hero_gossip_refused_counters_total", "counter",
        "Statements of members that were refused since a counter was higher than time allows.",
        Double(await cluster.refusedLeaps)),
    ]
  }
}
