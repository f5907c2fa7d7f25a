import ArgumentParser
import JSONRPC

/// `hero-supervisor job run`: creates a job, starts it, waits for it, and ends as it ended.
struct JobRun: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run", abstract: "Run a job, wait for it, and print what it wrote.",
    discussion: """
      Prints the job's standard output as it is; of a job that failed, the error
      to standard error besides. On a terminal a line shows how it is getting on.
      Ctrl-C stops waiting, not the job; with --stop-on-interrupt it stops the
      job, and so do SIGTERM and SIGHUP.

      EXAMPLES
        hero-supervisor job run --runner default 'echo hello'
        hero-supervisor job run --runner default --env WHO=you 'echo "hi $WHO"'
        hero-supervisor job run --runner default -e python --file a.py > a.csv
        hero-supervisor job run --runner default --timeout 2.5 'sleep 60'
        hero-supervisor job run --runner default --timeout 5m './backup.sh'
        echo 'uname -a' | hero-supervisor job run --runner default -

      EXIT STATUS
        0 the job completed
        1 the job failed
        2 wrong usage
        3 no node could be reached
        4 the node refused the job
        124 the job ran into its timeout
        130 interrupted by Ctrl-C; 143, 129 by SIGTERM, SIGHUP
      """)

  @OptionGroup var client: ClientOptions
  @OptionGroup var fields: JobFields
  @Flag(help: "Let Ctrl-C, SIGTERM and SIGHUP stop the job too.") var stopOnInterrupt = false

  func run() async throws {
    let (id, job) = try fields.job()
    let wait = JobWait(
      node: try NodeConnection.open(client), id: id, printsJSON: client.json, stopsOnInterrupt: stopOnInterrupt)
    try await wait.run("job.run", ["job": job])
  }
}

/// `hero-supervisor job result`
struct JobResultCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "result", abstract: "Wait for a job's result and print it.",
    discussion: """
      Prints and exits as `job run` does: 0 completed, 1 failed, 124 timeout.

      EXAMPLES
        hero-supervisor job result backup-1
        hero-supervisor job result backup-1 --json | jq -r .error
      """)

  @OptionGroup var client: ClientOptions
  @Argument(help: "The job.", completion: .jobID) var id: String

  func run() async throws {
    let wait = JobWait(
      node: try NodeConnection.open(client), id: id, printsJSON: client.json, stopsOnInterrupt: false)
    try await wait.run("job.result", ["job_id": .string(id)])
  }
}
