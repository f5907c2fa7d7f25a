import JSONRPC
import Supervisor

// Methods about one job: `job.…`, and `jobs.create`.

extension SupervisorAPI {
  var jobMethods: [String: Method<APICall>] {
    [
      "jobs.create": Method(parameters: ["params"]) { (params, call) async throws(JSONRPCError) in
        let grant = try authenticator.require([.user], secret: try params.optionalString("secret"), call)
        let job = try params.job()
        try grant.require(job.runner)
        try await answering { () async throws(SupervisorError) in try await registry.create(job) }
        return .string(job.id.rawValue)
      },
      "job.run": Method<APICall>(parameters: ["params"], tooBigHint: "read the output by job.logs") {
        (params, call) async throws(JSONRPCError) in
        let grant = try authenticator.require([.user], secret: try params.optionalString("secret"), call)
        let job = try params.job()
        try grant.require(job.runner)
        return .result(try await answering { () async throws(SupervisorError) in try await registry.run(job) })
      }
      // Nobody waits for the end: the answers behind it need not either.
      .notified { (params, call) async throws(JSONRPCError) in
        let grant = try authenticator.require([.user], secret: try params.optionalString("secret"), call)
        let job = try params.job()
        try grant.require(job.runner)
        try await answering { () async throws(SupervisorError) in
          try await registry.create(job)
          try await registry.start(job.id, of: grant.jobs)
        }
        return .null
      },
      "job.start": secretJobMethod { (id, scope) throws(SupervisorError) in
        try await registry.start(id, of: scope)
      },
      "job.stop": secretJobMethod { (id, scope) throws(SupervisorError) in
        try await registry.stop(id, of: scope)
      },
      "job.delete": secretJobMethod { (id, scope) throws(SupervisorError) in
        try await registry.delete(id, of: scope)
      },
      "job.status": Method(parameters: ["job_id"], byName: ["secret"]) { (params, call) async throws(JSONRPCError) in
        let grant = try authenticator.admit(.jobReading, params, call)
        let id: JobID = try params.name("job_id")
        let job = try await summary(id, grant)
        let isWaiting = job.status == .queued
        return .jobStatus(job, onHold: isWaiting ? await registry.holdReason(of: job.runner) : nil)
      },
      "job.result": Method<APICall>(
        parameters: ["job_id"], byName: ["secret"], tooBigHint: "read the output by job.logs"
      ) {
        (params, call) async throws(JSONRPCError) in
        let grant = try authenticator.admit(.jobReading, params, call)
        let id: JobID = try params.name("job_id")
        return .result(
          try await answering { () async throws(SupervisorError) in
            try await registry.result(id, of: grant.jobs)
          })
      }
      .notified { (params, call) throws(JSONRPCError) in
        _ = try authenticator.admit(.jobReading, params, call)
        return .null
      },
      "job.logs": Method(parameters: ["params"]) { (params, call) async throws(JSONRPCError) in
        try await logs(params, call)
      },
    ]
  }

  /// The state of a job that the key may see. Another one is not there, for whoever asks with such a key.
  private func summary(_ id: JobID, _ grant: Grant) async throws(JSONRPCError) -> JobSummary {
    let job = try await answering { () async throws(SupervisorError) in try await registry.summary(id) }
    guard grant.allows(job.runner) else { throw .notFound("job", id.rawValue) }
    return job
  }

  /// A method about the job `params.job_id` that takes a secret and answers null.
  private func secretJobMethod(
    _ body: @escaping @Sendable (JobID, JobScope) async throws(SupervisorError) -> Void
  ) -> Method<APICall> {
    Method(parameters: ["params"]) { (params, call) async throws(JSONRPCError) in
      let grant = try authenticator.require([.user], secret: try params.optionalString("secret"), call)
      let id: JobID = try params.name("job_id")
      try await answering { () async throws(SupervisorError) in try await body(id, grant.jobs) }
      return .null
    }
  }
}
