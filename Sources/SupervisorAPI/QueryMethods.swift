import ExactText
import JSONRPC
import Supervisor

// Lists of jobs: `jobs.list`, and `jobs.query` with filters and pages.

extension SupervisorAPI {
  var queryMethods: [String: Method<APICall>] {
    [
      "jobs.list": Method(byName: ["secret"], tooBigHint: "use jobs.query, which filters and pages") {
        (params, call) async throws(JSONRPCError) in
        try authenticator.admit(.user, params, call)
        return .array(try await allJobs(call))
      },
      "jobs.query": Method(parameters: ["params"], tooBigHint: "ask for a smaller limit") {
        (params, call) async throws(JSONRPCError) in
        try authenticator.admit(.user, params, call)
        let query = try params.jobQuery(maximumBytes: maximumResponseBytes / 2)
        let page = try await answering { () async throws(SupervisorError) in try await registry.query(query) }
        call.missing?.add(page.unreachable)
        return [
          "jobs": .array(page.jobs.map(JSON.jobDetails)), "next": page.next.map(JSON.string) ?? .null,
        ]
      },
    ]
  }

  /// All jobs, unless they cannot fit into an answer: then it stops reading early.
  private func allJobs(_ call: APICall) async throws(JSONRPCError) -> [JSON] {
    var jobs: [JSON] = []
    var bytes = 0
    var query = JobQuery(limit: 1000)
    while true {
      let asked = query
      let page = try await answering { () async throws(SupervisorError) in try await registry.query(asked) }
      call.missing?.add(page.unreachable)
      for record in page.jobs {
        jobs.append(.job(record))
        // What the fields and their names take at least.
        bytes += 220 + record.job.payload.utf8.count + record.job.id.rawValue.utf8.count
      }
      if bytes > maximumResponseBytes {
        throw .responseTooBig(limit: maximumResponseBytes, hint: "use jobs.query, which filters and pages")
      }
      guard let next = page.next else { return jobs }
      query.cursor = next
    }
  }
}

extension Params {
  fileprivate func jobQuery(maximumBytes: Int) throws(JSONRPCError) -> JobQuery {
    // A filter with a typing error would match everything.
    try refuseOthers(
      than: [
        "secret", "runner", "status", "caller_id", "context_id", "created_from", "created_before", "cursor", "limit",
      ])
    var query = JobQuery(limit: Int(try int("limit", in: 1...1000, default: 100)), maximumBytes: maximumBytes)
    query.runner = try optionalName("runner")
    if let status = try optionalString("status") {
      guard let known = JobStatus(exactly: status) else {
        let names = JobStatus.allCases.map(\.rawValue).joined(separator: ", ")
        throw .invalidParams(field: field("status"), expected: "one of \(names)")
      }
      query.status = known
    }
    query.callerID = try optionalString("caller_id")
    query.contextID = try optionalString("context_id")
    query.createdFrom = try time("created_from")
    query.createdBefore = try time("created_before")
    query.cursor = try optionalString("cursor")
    return query
  }

  private func time(_ name: String) throws(JSONRPCError) -> Timestamp? {
    guard let text = try optionalString(name) else { return nil }
    guard let time = Timestamp(rfc3339: text) else {
      throw .invalidParams(field: field(name), expected: "an RFC 3339 time such as 2026-11-24T02:02:19.123Z")
    }
    return time
  }
}
