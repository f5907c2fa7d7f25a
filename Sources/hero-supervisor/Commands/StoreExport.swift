import ArgumentParser
import JSONRPC
import Supervisor

/// `hero-supervisor store export`: all runners and jobs, as lines of JSON.
struct StoreExport: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export", abstract: "Write all runners and jobs of a store to a file.",
    discussion: """
      Reads the store itself, not through a node; nodes may go on using it. Every
      job that is there from the beginning to the end of the export is in it, with
      its payload, variables and output; keys are not. The file is for its owner
      alone (0600), and its lines are checked when it is imported: see
      docs/operations.md, "Backup, and moving between stores".

      EXAMPLES
        hero-supervisor store export --output jobs.jsonl
        hero-supervisor store export --output jobs.jsonl --resume
        hero-supervisor store export --config cluster.json | zstd > jobs.zst

      EXIT STATUS
        0 all is written; 1 it is not; 2 wrong usage or configuration.
      """)

  @OptionGroup var store: StoreOptions

  @Option(
    name: .shortAndLong, help: ArgumentHelp("Where to write. (default: standard output)", valueName: "file"),
    completion: .file())
  var output: String?

  @Flag(help: "Go on with an export to this file that was broken off, if there is one.") var resume = false
  @Flag(help: "Print what was written as JSON.") var json = false

  func validate() throws {
    if output == nil && (resume || json) { throw ValidationError("--\(resume ? "resume" : "json") needs --output") }
  }

  func run() async throws {
    try await store.withStore(MovableStore.openForExport) { store in
      var (file, beginning): (ExportFile, ExportFile.Beginning?) = (.standardOutput, nil)
      if let output {
        if resume {
          (file, beginning) = try ExportFile.resume(output, of: store.identity)
        } else {
          file = try ExportFile.make(output)
        }
      }
      var run = ExportRun(store, into: file, after: beginning)
      do { try await run.run() } catch let error as JobStoreError {
        throw CommandFailure(message: "cannot read the store after \(run.jobCount) jobs", error)
      }
      report(run, wasComplete: beginning?.isComplete ?? false)
    }
  }

  private func report(_ run: ExportRun, wasComplete: Bool) {
    if json {
      let answer: JSON = [
        "file": .string(output ?? "-"), "runners": .int(Int64(run.runnerCount)), "jobs": .int(Int64(run.jobCount)),
      ]
      return StandardStreams.out(answer.pretty())
    }
    let count = "\(counted(run.jobCount, "job")) and \(counted(run.runnerCount, "runner"))"
    guard let output else { return StandardStreams.error("exported \(count)\n") }
    StandardStreams.out(
      wasComplete ? "\(output) is whole already, with \(count)\n" : "exported \(count) to \(output)\n")
  }
}

/// `1 job`, `2 jobs`.
func counted(_ number: Int, _ noun: String) -> String { "\(number) \(noun)\(number == 1 ? "" : "s")" }
