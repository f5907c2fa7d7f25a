import JSONRPC
import Supervisor

// Methods about the cluster: who is in it, and where runners live.

extension SupervisorAPI {
  var clusterMethods: [String: Method<APICall>] {
    [
      "cluster.members": Method(byName: ["secret"]) { (params, call) async throws(JSONRPCError) in
        try authenticator.admit(.reading, params, call).requireAllRunners()
        return .array(await registry.members().map(JSON.member))
      },
      "cluster.status": Method(byName: ["secret"]) { (params, call) async throws(JSONRPCError) in
        try authenticator.admit(.reading, params, call).requireAllRunners()
        return .clusterStatus(await registry.clusterStatus())
      },
      "node.drain": Method(parameters: ["params"]) { (params, call) async throws(JSONRPCError) in
        _ = try authenticator.require([.admin], secret: try params.optionalString("secret"), call)
        try params.refuseOthers(than: ["secret", "node", "undo"])
        let node: NodeName = try params.name("node")
        let undo = try params.bool("undo", default: false)
        try await answering { () async throws(SupervisorError) in try await registry.drainNode(node, undo: undo) }
        return .null
      },
      "cluster.forget": Method(parameters: ["params"]) { (params, call) async throws(JSONRPCError) in
        _ = try authenticator.require([.admin], secret: try params.optionalString("secret"), call)
        try params.refuseOthers(than: ["secret", "node"])
        let node: NodeName = try params.name("node")
        try await answering { () async throws(SupervisorError) in try await registry.forgetNode(node) }
        return .null
      },
      "runner.move": Method(parameters: ["params"]) { (params, call) async throws(JSONRPCError) in
        _ = try authenticator.require([.admin], secret: try params.optionalString("secret"), call)
        try params.refuseOthers(than: ["secret", "name", "node"])
        let name: RunnerName = try params.name("name")
        let node: NodeName = try params.name("node")
        try await answering { () async throws(SupervisorError) in try await registry.move(name, to: node) }
        return .null
      },
    ]
  }
}

extension JSON {
  fileprivate static func member(_ member: ClusterMember) -> JSON {
    [
      "name": .string(member.name.rawValue), "state": .string(member.state), "address": .string(member.address),
      "api": .string(member.api), "incarnation": .int(Int64(clamping: member.incarnation)),
      "zone": .string(member.zone), "version": .string(member.version), "runners": .int(Int64(member.runners)),
      "since": time(member.since), "draining": .bool(member.isDraining),
      "problems": .array(member.problems.map(JSON.string)),
    ]
  }

  fileprivate static func clusterStatus(_ status: ClusterStatus) -> JSON {
    func names(_ names: [NodeName]) -> JSON { .array(names.map { .string($0.rawValue) }) }
    let members = status.members.map { (key: $0.key, value: JSON.int(Int64($0.value))) }.sorted { $0.key < $1.key }
    return [
      "node": .string(status.node.rawValue), "cluster": .string(status.cluster),
      "members": .object(JSONObject(members: members)),
      "runners": [
        "owned": .int(Int64(status.ownedRunners)), "total": .int(Int64(status.runners)),
        "unavailable": .int(Int64(status.unavailableRunners)),
      ],
      "unreachable": names(status.unreachable), "health": .int(Int64(status.health)),
      "ready": .bool(status.unreadiness == nil), "reason": status.unreadiness.map(JSON.string) ?? .null,
      "handover": [
        "jobs": .int(Int64(status.jobsToHandOver)), "in_doubt": .int(Int64(status.jobsInDoubt)),
      ], "store": store(status.sharedStore), "links": .array(status.pathFaults.map(link)),
      "alone": status.solitude.map(JSON.string) ?? .null,
    ]
  }

  /// A fault, by the member that hears nothing and the one that is not heard.
  private static func link(_ report: ReportedFault) -> JSON {
    let (observer, peer) = (JSON.string(report.observer.rawValue), JSON.string(report.fault.peer.rawValue))
    let (from, to) = report.fault.kind == .noUDPTo ? (observer, peer) : (peer, observer)
    return [
      "from": from, "to": to, "missing": report.fault.kind == .noLink ? "link" : "udp", "seen_by": observer,
      "reason": .string(report.fault.reason),
    ]
  }

  private static func store(_ status: SharedStoreStatus?) -> JSON {
    guard let status else { return ["shared": false] }
    let lease = status.leaseRemaining.map { JSON.double(max(0, ($0 / .milliseconds(100)).rounded() / 10)) }
    return [
      "shared": true, "lease_remaining_seconds": lease ?? .null, "schema": .int(Int64(status.schema)),
      "known_schema": .int(Int64(status.knownSchema)), "connections_made": .int(Int64(status.reconnections)),
    ]
  }
}
