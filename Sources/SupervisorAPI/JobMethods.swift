import JSONRPC
import Supervisor

// Methods about one job: `job.…`, and `jobs.create`.

extension SupervisorAPI {
  var jobMethods: [String: Method<APICall>] {
    [
      "jobs.create": Method(parameters: ["params"]) { (params, call) async throws(JSONRPCError) in
        try authenticator.require(.user, secret: try params.optionalString("secret"), call)
        let job = try params.job()
        try await answering { () async throws(SupervisorError) in try await registry.create(job) }
        return .string(job.id.rawValue)
      },
      "job.run": Method(parameters: ["params"], tooBigHint: "read the output by job.logs") {
        (params, call) async throws(JSONRPCError) in
        try authenticator.require(.user, secret: try params.optionalString("secret"), call)
        let job = try params.job()
        return .result(try await answering { () async throws(SupervisorError) in try await registry.run(job) })
      },
      "job.start": secretJobMethod { (id) throws(SupervisorError) in try await registry.start(id) },
      "job.stop": secretJobMethod { (id) throws(SupervisorError) in try await registry.stop(id) },
      "job.delete": secretJobMethod { (id) throws(SupervisorError) in try await registry.delete(id) },
      "job.status": Method(parameters: ["job_id"], byName: ["secret"]) { (params, call) async throws(JSONRPCError) in
        try authenticator.admit(.user, params, call)
        let id: JobID = try params.name("job_id")
        return .jobStatus(
          try await answering { () async throws(SupervisorError) in try await registry.summary(id) })
      },
      "job.result": Method(parameters: ["job_id"], byName: ["secret"], tooBigHint: "read the output by job.logs") {
        (params, call) async throws(JSONRPCError) in
        try authenticator.admit(.user, params, call)
        let id: JobID = try params.name("job_id")
        return .result(try await answering { () async throws(SupervisorError) in try await registry.result(id) })
      },
      "job.logs": Method(parameters: ["params"]) { (params, call) async throws(JSONRPCError) in
        try await logs(params, call)
      },
    ]
  }

  /// A method about the job `params.job_id` that takes a secret and answers null.
  private func secretJobMethod(
    _ body: @escaping @Sendable (JobID) async throws(SupervisorError) -> Void
  ) -> Method<APICall> {
    Method(parameters: ["params"]) { (params, call) async throws(JSONRPCError) in
      try authenticator.require(.user, secret: try params.optionalString("secret"), call)
      let id: JobID = try params.name("job_id")
      try await answering { () async throws(SupervisorError) in try await body(id) }
      return .null
    }
  }
}
