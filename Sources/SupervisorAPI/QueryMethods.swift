import ExactText
import JSONRPC
import Supervisor

// Lists of jobs: `jobs.list`, and `jobs.query` with filters and pages.

extension SupervisorAPI {
  var queryMethods: [String: Method<APICall>] {
    [
      "jobs.list": Method(
        byName: ["secret"], tooBigHint: "use jobs.query, which filters and pages",
        opener: { (params, call) async throws(JSONRPCError) -> Answer.Pieces in
          let grant = try authenticator.admit(.jobReading, params, call)
          let listing = try JobListing(registry, call, of: grant)
          return { () async throws(JSONRPCError) -> [UInt8]? in try await listing.next() }
        }),
      "jobs.query": Method(parameters: ["params"], tooBigHint: "ask for fewer fields") {
        (params, call, bytes) async throws(JSONRPCError) in
        let grant = try authenticator.admit(.jobReading, params, call)
        let (asked, view) = try params.jobQuery(grant, maximumBytes: maximumResponseBytes / 2)
        // Most jobs are smaller; what a page really takes is counted when it is written. With payloads and outputs even
        // a page of one job may be large.
        let room = min(asked.maximumBytes, max(asked.limit * 4096, asked.parts.isEmpty ? 0 : JobListing.pageBytes))
        try call.take(room)
        defer { call.giveBack(room) }
        let page = try await answering { () async throws(SupervisorError) in try await registry.query(asked) }
        call.missing?.add(page.unreachable)
        write(page, view, into: &bytes)
      },
    ]
  }

  /// Writes as much of a page as an answer holds, at least one job of it: a job that is too big by itself comes without
  /// its large fields.
  private func write(_ page: RunnerRegistry.Page, _ view: JobView, into bytes: inout [UInt8]) {
    // One byte ends the answer behind its result.
    let limit = maximumResponseBytes - 1
    bytes.append(contentsOf: #"{"jobs":["#.utf8)
    let start = bytes.count
    var ends: [Int] = []
    for record in page.jobs {
      if !ends.isEmpty { bytes.append(UInt8(ascii: ",")) }
      view.write(record, into: &bytes)
      ends.append(bytes.count)
      if bytes.count > limit { break }
    }
    while true {
      let next = page.cursor(after: ends.count).map(JSON.string) ?? .null
      let tail = Array(#"],"next":\#(next.text)}"#.utf8)
      if bytes.count + tail.count > limit, ends.count > 1 {
        ends.removeLast()
        bytes.removeSubrange(ends.last!...)
      } else if bytes.count + tail.count > limit, let record = page.jobs.first, !ends.isEmpty {
        bytes.removeSubrange(start...)
        view.writeShortened(record, into: &bytes)
        return bytes.append(contentsOf: tail)
      } else {
        return bytes.append(contentsOf: tail)
      }
    }
  }
}

extension Params {
  fileprivate func jobQuery(_ grant: Grant, maximumBytes: Int) throws(JSONRPCError) -> (JobQuery, JobView) {
    // A filter with a typing error would match everything.
    try refuseOthers(
      than: [
        "secret", "runner", "status", "caller_id", "context_id", "created_from", "created_before", "cursor", "limit",
        "view", "fields",
      ])
    let view = try jobView()
    var query = JobQuery(
      limit: Int(try int("limit", in: 1...1000, default: 100)), maximumBytes: maximumBytes, parts: view.parts)
    query.runner = try optionalName("runner")
    if let runner = query.runner { try grant.require(runner) }
    query.runners = grant.runners
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
    return (query, view)
  }

  func time(_ name: String) throws(JSONRPCError) -> Timestamp? {
    guard let text = try optionalString(name) else { return nil }
    guard let time = Timestamp(rfc3339: text) else {
      throw .invalidParams(field: field(name), expected: "an RFC 3339 time such as 2026-11-24T02:02:19.123Z")
    }
    return time
  }
}
