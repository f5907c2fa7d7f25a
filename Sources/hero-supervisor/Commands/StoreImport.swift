import ArgumentParser
import Glibc
import JSONRPC
import Supervisor

/// `hero-supervisor store import`: puts an export into a store.
struct StoreImport: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "import", abstract: "Put the runners and jobs of an export into a store.",
    discussion: """
      Jobs that are there already are left as they are, so after an interruption
      the same command goes on. A job that was running when it was exported is
      queued again. Nothing that comes after a damaged line is imported.

      An SQLite store must not be in use: stop its node, import, start it again.
      A PostgreSQL store may be; its nodes run the jobs at once.

      EXAMPLES
        hero-supervisor store import jobs.jsonl
        hero-supervisor store import --config cluster.json jobs.jsonl
        zstd -dc jobs.zst | hero-supervisor store import -

      EXIT STATUS
        0 all is there; 1 the export is damaged, the store refused, or something
        else has the id of a job or the name of a runner; 2 wrong usage or
        configuration.
      """)

  @OptionGroup var store: StoreOptions
  @Argument(help: "The export; - for standard input.", completion: .file()) var file: String
  @Flag(help: "Print what was imported as JSON.") var json = false

  func run() async throws {
    let descriptor = file == "-" ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw CommandFailure(message: "cannot read \(file): \(errorText(errno))", status: .usage)
    }
    let reader = ExportReader(descriptor, named: name)
    let summary = try await store.withStore(MovableStore.openForImport) { store in
      var run = ImportRun(reader, into: store)
      await run.run()
      return run.summary
    }
    StandardStreams.out(json ? summary.json.pretty() : summary.text)
    if let failure = summary.failure(of: name) { throw failure }
  }

  private var name: String { file == "-" ? "standard input" : file }
}

extension ImportSummary {
  fileprivate var text: String {
    var text = "imported \(counted(jobs, "job")) and \(counted(runners, "runner"))\n"
    if presentJobs + presentRunners > 0 {
      text += "\(counted(presentJobs, "job")) and \(counted(presentRunners, "runner")) were there already\n"
    }
    return text
  }

  fileprivate var json: JSON {
    var object: JSONObject = [
      "jobs": .int(Int64(jobs)), "runners": .int(Int64(runners)), "present_jobs": .int(Int64(presentJobs)),
      "present_runners": .int(Int64(presentRunners)), "conflicts": .int(Int64(conflicts)),
      "first_conflicts": .array(firstConflicts.map { .string($0) }), "ok": .bool(failure(of: "") == nil),
    ]
    if case .line(let number, _)? = damage { object["damaged_line"] = .int(Int64(number)) }
    return .object(object)
  }

  /// Why not all of the export is in the store; `nil` when it is.
  fileprivate func failure(of file: String) -> CommandFailure? {
    var hints: [String] = []
    if conflicts > 0 {
      hints.append("\(conflicts) left out, as something else is there: \(firstConflicts.joined(separator: ", "))")
      if conflicts > firstConflicts.count { hints[0] += ", …" }
    }
    if let refusal {
      hints.append("when that is over, the same command goes on")
      return CommandFailure(
        message: "the store took no more after \(counted(jobs, "job"))", hints: hints, refusal)
    }
    switch damage {
    case .brokenOff(let count)?:
      hints.append("all up to there was imported; `store export --resume` makes it whole")
      return CommandFailure(message: "\(file) is broken off after line \(count)", hints: hints, status: .failed)
    case .line(let number, let reason)?:
      hints.append("what stands before that line was imported, nothing after it")
      return CommandFailure(message: "\(file), line \(number) \(reason)", hints: hints, status: .failed)
    case .unreadable(let failure)?:
      return CommandFailure(
        message: "cannot read \(failure.path): \(failure.reason)", hints: hints, status: .failed)
    case nil:
      guard conflicts > 0 else { return nil }
      let noun = conflicts == 1 ? "one job or runner conflicts" : "\(conflicts) jobs or runners conflict"
      return CommandFailure(message: "\(noun) with what is there", hints: hints, status: .failed)
    }
  }
}
