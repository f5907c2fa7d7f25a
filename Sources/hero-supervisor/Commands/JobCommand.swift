import ArgumentParser
import JSONRPC

/// `hero-supervisor job …`
struct JobCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "job", abstract: "Run jobs and look after them.",
    discussion: """
      EXAMPLES
        hero-supervisor job run --runner default 'echo hello'
        id=$(hero-supervisor job create --runner default --file report.sh)
        hero-supervisor job start "$id"
        hero-supervisor job result "$id"
      """,
    subcommands: [
      JobRun.self, JobCreate.self, JobStart.self, JobStatusCommand.self, JobResultCommand.self, JobLogs.self,
      JobStop.self, JobDelete.self, JobList.self,
    ])
}

struct JobCreate: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create", abstract: "Create a job without starting it; prints its id.",
    discussion: """
      EXAMPLES
        hero-supervisor job create --runner default 'make backup'
        hero-supervisor job create --runner default --id backup-1 --file b.sh
      """)

  @OptionGroup var client: ClientOptions
  @OptionGroup var fields: JobFields

  func run() async throws {
    let result = try await NodeConnection.open(client).call("jobs.create", ["job": try fields.job().json])
    if client.json { StandardStreams.out(result.pretty()) } else { StandardStreams.out(name: result.cell) }
  }
}

struct JobStart: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "start", abstract: "Queue a created job to its runner.",
    discussion: """
      EXAMPLES
        hero-supervisor job start backup-1
      """)

  @OptionGroup var client: ClientOptions
  @Argument(help: "The job.", completion: .jobID) var id: String

  func run() async throws {
    let result = try await NodeConnection.open(client).call("job.start", ["job_id": .string(id)])
    StandardStreams.out(client.json ? result.pretty() : "queued \(id)\n")
  }
}

struct JobStop: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stop", abstract: "Stop an unfinished job; it fails with the error \"stopped\".",
    discussion: """
      EXAMPLES
        hero-supervisor job stop backup-1
      """)

  @OptionGroup var client: ClientOptions
  @Argument(help: "The job.", completion: .jobID) var id: String

  func run() async throws {
    let result = try await NodeConnection.open(client).call("job.stop", ["job_id": .string(id)])
    StandardStreams.out(client.json ? result.pretty() : "stopped \(id)\n")
  }
}

struct JobDelete: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "delete", abstract: "Forget a job that is not running.",
    discussion: """
      EXAMPLES
        hero-supervisor job delete backup-1
      """)

  @OptionGroup var client: ClientOptions
  @Argument(help: "The job.", completion: .jobID) var id: String

  func run() async throws {
    let result = try await NodeConnection.open(client).call("job.delete", ["job_id": .string(id)])
    StandardStreams.out(client.json ? result.pretty() : "deleted \(id)\n")
  }
}

struct JobStatusCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status", abstract: "Show where a job is in its life.",
    discussion: """
      While its queue starts nothing, since the machine is short of something or
      the store cannot be written, a line on standard error says so.

      EXAMPLES
        hero-supervisor job status backup-1
        hero-supervisor job status backup-1 --json | jq -r .status
      """)

  @OptionGroup var client: ClientOptions
  @Argument(help: "The job.", completion: .jobID) var id: String

  func run() async throws {
    let result = try await NodeConnection.open(client).call("job.status", ["job_id": .string(id)])
    if client.json { return StandardStreams.out(result.pretty()) }
    var table = Table([("JOB", .left), ("STATUS", .left), ("CREATED", .left), ("STARTED", .left), ("COMPLETED", .left)])
    table.add(["job_id", "status", "created_at", "started_at", "completed_at"].map { result[$0]?.cell ?? "-" })
    StandardStreams.out(table.rendered)
    if let reason = result["on_hold"]?.stringValue { StandardStreams.error("its queue is on hold: \(reason)\n") }
  }
}
