import ExactText
import JSONRPC
import Supervisor

// Lists of jobs: `jobs.list`, and `jobs.query` with filters and pages.

extension SupervisorAPI {
  var queryMethods: [String: Method<APICall>] {
    [
      "jobs.list": Method(byName: ["secret"], tooBigHint: "use jobs.query, which filters and pages") {
        (params, call, bytes) async throws(JSONRPCError) in
        let grant = try authenticator.admit(.jobReading, params, call)
        try await writeAllJobs(call, grant, into: &bytes)
      },
      "jobs.query": Method(parameters: ["params"], tooBigHint: "ask for a smaller limit") {
        (params, call) async throws(JSONRPCError) in
        let grant = try authenticator.admit(.jobReading, params, call)
        var query = try params.jobQuery(maximumBytes: maximumResponseBytes / 2)
        // Most jobs are smaller; what a page really takes is counted when it is written.
        let room = min(query.maximumBytes, query.limit * 4096)
        try call.take(room)
        defer { call.giveBack(room) }
        if let runner = query.runner { try grant.require(runner) }
        query.runners = grant.runners
        let asked = query
        let page = try await answering { () async throws(SupervisorError) in try await registry.query(asked) }
        call.missing?.add(page.unreachable)
        return [
          "jobs": .array(page.jobs.map(JSON.jobDetails)), "next": page.next.map(JSON.string) ?? .null,
        ]
      },
    ]
  }

  /// Writes all jobs, a page at a time, unless they cannot fit into an answer: then it stops reading early.
  private func writeAllJobs(
    _ call: APICall, _ grant: Grant, into bytes: inout [UInt8]
  ) async throws(JSONRPCError) {
    // For the pages, which are read and written one after another; a job that is larger comes in a page of its own.
    let pageBytes = min(1 << 20, maximumResponseBytes)
    var taken = pageBytes
    try call.take(taken)
    defer { call.giveBack(taken) }
    var query = JobQuery(limit: 1000, maximumBytes: pageBytes)
    query.runners = grant.runners
    var separator = UInt8(ascii: "[")
    while true {
      let asked = query
      let page = try await answering { () async throws(SupervisorError) in try await registry.query(asked) }
      call.missing?.add(page.unreachable)
      let before = bytes.count
      for record in page.jobs {
        bytes.append(separator)
        separator = UInt8(ascii: ",")
        JSON.job(record).write(into: &bytes)
        guard bytes.count <= maximumResponseBytes else {
          throw .responseTooBig(limit: maximumResponseBytes, hint: "use jobs.query, which filters and pages")
        }
      }
      try call.take(bytes.count - before)
      taken += bytes.count - before
      guard let next = page.next else { break }
      query.cursor = next
    }
    if separator == UInt8(ascii: "[") { bytes.append(separator) }
    bytes.append(UInt8(ascii: "]"))
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

  func time(_ name: String) throws(JSONRPCError) -> Timestamp? {
    guard let text = try optionalString(name) else { return nil }
    guard let time = Timestamp(rfc3339: text) else {
      throw .invalidParams(field: field(name), expected: "an RFC 3339 time such as 2026-11-24T02:02:19.123Z")
    }
    return time
  }
}
