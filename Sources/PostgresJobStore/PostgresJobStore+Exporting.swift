import Supervisor

// A copy of the store is read page by page, each by one statement, beside the nodes that use it.

extension PostgresJobStore {
  public func export(
    from position: ExportPosition, limit: Int, maximumBytes: Int
  ) async throws(JobStoreError) -> ExportPage {
    let part = position.part
    let place = part == .inLine ? ["queue_order"] : ["created_at", "seq"]
    guard position.place.isEmpty || position.place.count == place.count else { throw .invalidCursor("\(position)") }
    let order = place.map { "j.\($0)" }.joined(separator: ", ")
    var parameters: [Parameter] = [.int(Int64(maximumBytes))]
    var filter = "j.status IN (\(part.statuses.map { "\($0.number)" }.joined(separator: ", ")))"
    if !position.place.isEmpty {
      parameters += part == .inLine ? [.int(position.place[0])] : [.time(position.place[0]), .int(position.place[1])]
      filter += " AND (\(order)) > (\(place.indices.map { "$\($0 + 2)" }.joined(separator: ", ")))"
    }
    // What makes the page too big stays in the database; `found` counts it all the same.
    let query = Statement(
      sql: """
        SELECT \(JobColumns.all), j.stdout, j.stderr, j.stdout_dropped, j.stderr_dropped, j.found, j.queue_order FROM (
          SELECT j.*, count(*) OVER () AS found, sum(j.size) OVER (ORDER BY \(order)) AS total FROM (
            SELECT j.*, 300 + octet_length(j.payload) + coalesce(octet_length(j.result), 0)
              + coalesce(octet_length(j.stdout), 0) + coalesce(octet_length(j.stderr), 0) AS size
            FROM hero_jobs AS j WHERE \(filter) ORDER BY \(order) LIMIT \(limit + 1)
          ) AS j
        ) AS j WHERE j.total - j.size <= $1 ORDER BY \(order)
        """, parameters: parameters)
    let rows = try await ask([query], within: .seconds(300))[0]
    var jobs: [ExportedJob] = []
    var last = position.place
    for row in rows.rows where jobs.count < limit {
      let record = JobColumns.record(row)
      let success: [UInt8]? = record.status == .completed ? row.data(14) : nil
      let output = record.status.isFinal ? JobColumns.output(row, at: JobColumns.count, success: success) : nil
      jobs.append(ExportedJob(record: record, output: output))
      last = part == .inLine ? [row.int(JobColumns.count + 5)!] : [row.time(10)!, row.int(18)!]
    }
    let found = rows.first.map { Int($0.int(JobColumns.count + 4)!) } ?? 0
    return ExportPage(jobs, of: part, isWhole: jobs.count == found && found <= limit, lastPlace: last)
  }
}
