import ArgumentParser
import JSONRPC
import Supervisor

/// `hero-supervisor job list`: the newest jobs first, by `jobs.query`, a page at a time.
struct JobList: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "List jobs, the newest first.",
    discussion: """
      EXAMPLES
        hero-supervisor job list
        hero-supervisor job list --status failed --runner nightly --limit 10
        hero-supervisor job list --status created --quiet
        hero-supervisor job list --json --full | jq -r '.[].payload'
      """)

  @OptionGroup var client: ClientOptions

  @Option(
    help: "Only jobs in this state: created, queued, running, completed, failed or timeout.",
    completion: .list(JobStatus.allCases.map(\.rawValue)))
  var status: String?

  @Option(name: .shortAndLong, help: "Only jobs of this runner.", completion: .runnerName) var runner: String?
  @Option(help: "Only jobs of this caller.") var callerID: String?
  @Option(help: "Only jobs of this context.") var contextID: String?
  @Option(name: .shortAndLong, help: ArgumentHelp("How many.", valueName: "jobs")) var limit = 50
  @Flag(name: .shortAndLong, help: "Print ids only.") var quiet = false

  @Flag(help: "With --json: payload, variables and result of each job too.") var full = false

  func validate() throws {
    if full, !client.json { throw ValidationError("--full is for --json; the table has no place for it") }
    if let status, JobStatus(rawValue: status) == nil {
      let words = JobStatus.allCases.map(\.rawValue)
      let hint = suggestion(for: status, among: words).map { "did you mean \"\($0)\"?" }
      throw ValidationError("no job is ever \(quoted(status)); \(hint ?? words.joined(separator: ", "))")
    }
    if limit < 1 { throw ValidationError("--limit must be at least 1") }
  }

  func run() async throws {
    let node = try NodeConnection.open(client)
    var jobs: [JSON] = []
    var cursor: String?
    var missing = MissingMembers()
    repeat {
      let answer = try await node.answer(to: "jobs.query", query(cursor, remaining: limit - jobs.count))
      missing.add(answer)
      let page = answer.result
      jobs += page["jobs"]?.elements ?? []
      cursor = page["next"]?.stringValue
    } while cursor != nil && jobs.count < limit
    missing.warn()

    if client.json { return StandardStreams.out(JSON.array(jobs).pretty()) }
    if quiet {
      for job in jobs { StandardStreams.out(name: job["id"]?.cell ?? "") }
      return
    }
    let columns = ["id", "runner", "executor", "status", "attempt", "created_at", "completed_at"]
    var table = Table(
      zip(["JOB", "RUNNER", "EXECUTOR", "STATUS", "ATTEMPT", "CREATED", "COMPLETED"], columns).map {
        ($0, $1 == "attempt" ? .right : .left)
      })
    for job in jobs { table.add(columns.map { job[$0]?.cell ?? "-" }) }
    StandardStreams.out(table.rendered)
    if cursor != nil { StandardStreams.error("there are more jobs; use --limit\n") }
  }

  private func query(_ cursor: String?, remaining: Int) -> JSON {
    var members: [(String, JSON)] = [("limit", .int(Int64(min(remaining, 1000))))]
    for (key, value) in [("status", status), ("runner", runner), ("caller_id", callerID), ("context_id", contextID)] {
      if let value { members.append((key, .string(value))) }
    }
    if full { members.append(("view", "full")) }
    if let cursor { members.append(("cursor", .string(cursor))) }
    return .object(JSONObject(members: members))
  }
}
