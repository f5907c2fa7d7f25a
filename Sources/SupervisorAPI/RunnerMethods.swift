import JSONRPC
import Supervisor

// Methods about runners.

extension SupervisorAPI {
  var runnerMethods: [String: Method<APICall>] {
    [
      "list_runners": Method(byName: ["secret"]) { (params, call) throws(JSONRPCError) in
        let grant = try authenticator.admit(.reading, params, call)
        return .array(await registry.list.filter(grant.allows).map { .string($0.rawValue) })
      },
      "register_runner": Method(parameters: ["params"]) { (params, call) async throws(JSONRPCError) in
        let grant = try authenticator.require([.register], secret: try params.optionalString("secret"), call)
        let name: RunnerName = try params.name("name")
        let queue: QueueName = try params.name("queue")
        try grant.require(name)
        try grant.require(queue)
        try await answering { () async throws(SupervisorError) in try await registry.register(name, queue: queue) }
        return .null
      },
      "remove_runner": runnerMethod(scopes: [.register]) { (name, _) throws(SupervisorError) in
        try await registry.remove(name)
        return .null
      },
      "start_runner": runnerMethod(scopes: [.register]) { (name, _) throws(SupervisorError) in
        try await registry.start(name)
        return .null
      },
      "stop_runner": runnerMethod(scopes: [.register], parameters: ["actor_id", "force"]) {
        (name, force) throws(SupervisorError) in
        try await registry.stop(name, force: force)
        return .null
      },
      "get_runner_status": runnerMethod(scopes: .reading) { (name, _) throws(SupervisorError) in
        .runnerStatus(try await registry.status(name))
      },
      "get_all_runner_status": Method(byName: ["secret"]) { (params, call) async throws(JSONRPCError) in
        let grant = try authenticator.admit(.reading, params, call)
        return .array(await statuses(call, grant).map(JSON.runnerStatus))
      },
      "get_all_status": Method(byName: ["secret"]) { (params, call) async throws(JSONRPCError) in
        let grant = try authenticator.admit(.reading, params, call)
        return .array(await statuses(call, grant).map { [.string($0.name.rawValue), .string($0.state.rawValue)] })
      },
      "start_all": Method(byName: ["secret"]) { (params, call) async throws(JSONRPCError) in
        let grant = try authenticator.admit([.register], params, call)
        return await forAll(grant) { (name) throws(SupervisorError) in try await registry.start(name) }
      },
      "stop_all": Method(parameters: ["force"], byName: ["secret"]) { (params, call) async throws(JSONRPCError) in
        let grant = try authenticator.admit([.register], params, call)
        let force = try params.bool("force", default: false)
        return await forAll(grant) { (name) throws(SupervisorError) in try await registry.stop(name, force: force) }
      },
    ]
  }

  private func statuses(_ call: APICall, _ grant: Grant) async -> [RunnerStatus] {
    let (all, unreachable) = await registry.statuses()
    let runners = all.filter { grant.allows($0.name) }
    call.missing?.add(
      grant.runners == nil ? unreachable : unreachable.filter { node in runners.contains { $0.node == node } })
    return runners
  }

  /// A method about the runner named `actor_id`.
  private func runnerMethod(
    scopes: [Scope], parameters: [String] = ["actor_id"],
    _ body: @escaping @Sendable (RunnerName, Bool) async throws(SupervisorError) -> JSON
  ) -> Method<APICall> {
    Method(parameters: parameters, byName: ["secret"]) { (params, call) async throws(JSONRPCError) in
      let grant = try authenticator.admit(scopes, params, call)
      let name: RunnerName = try params.name("actor_id")
      try grant.require(name)
      let force = try params.bool("force", default: false)
      return try await answering { () async throws(SupervisorError) in try await body(name, force) }
    }
  }

  /// The same for every runner that the key may touch, at the same time; `[[name, "success" or the error]…]`.
  private func forAll(
    _ grant: Grant, _ body: @escaping @Sendable (RunnerName) async throws(SupervisorError) -> Void
  ) async -> JSON {
    let names = await registry.list.filter(grant.allows)
    var outcomes: [RunnerName: String] = [:]
    await withTaskGroup(of: (RunnerName, String).self) { group in
      for name in names {
        group.addTask {
          do throws(SupervisorError) {
            try await body(name)
            return (name, "success")
          } catch {
            return (name, JSONRPCError(error).message)
          }
        }
      }
      for await (name, outcome) in group { outcomes[name] = outcome }
    }
    return .array(names.map { [.string($0.rawValue), .string(outcomes[$0] ?? "")] })
  }
}

extension JSON {
  static func runnerStatus(_ status: RunnerStatus) -> JSON {
    [
      "name": .string(status.name.rawValue), "queue": .string(status.queue.rawValue),
      "node": .string(status.node.rawValue), "state": .string(status.state.rawValue),
      "epoch": .int(Int64(clamping: status.epoch)), "concurrency": .int(Int64(status.concurrency)),
      "queued": .int(Int64(status.queued)), "running": .int(Int64(status.running)),
      "completed": .int(Int64(status.completed)), "failed": .int(Int64(status.failed)),
      "timeout": .int(Int64(status.timeout)),
    ]
  }
}
