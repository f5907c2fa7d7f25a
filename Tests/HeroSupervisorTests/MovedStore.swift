import EventLoop
import JobStoreConformance
import Logging
import PostgresJobStore
import SQLiteJobStore
import Supervisor
import Testing

@testable import hero_supervisor

// Stores that `store export` and `store import` work on, filled and looked into without a node.

/// A data directory with an SQLite store, or a database.
struct MovedStore {
  let directory = TemporaryDirectory()
  /// `nil` for SQLite.
  var database: String?

  /// What tells the program to use it.
  var environment: [String: String] {
    var environment = ["HERO_DATA_DIR": directory.path]
    environment["HERO_STORE_POSTGRES_URL"] = database
    return environment
  }

  func run(_ arguments: String..., input: String? = nil) async throws -> CommandLineTool.Outcome {
    let tool = try CommandLineTool(["store"] + arguments, environment: environment, input: input)
    try tool.start()
    return await tool.outcome()
  }

  /// Opens it as a node does, and closes it.
  func with<Value>(_ body: (any JobStore) async throws -> Value) async throws -> Value {
    let loop = try EventLoop()
    loop.start()
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    let result: Result<Value, any Error>
    if let database {
      var options = PostgresJobStore.Options(url: database, node: NodeName(trusted: "n1"), instance: "n1")
      options.retentionDays = 0
      let store = try await PostgresJobStore.open(options, loop: loop, logger: logger)
      try await store.begin()
      do { result = .success(try await body(store)) } catch { result = .failure(error) }
      await store.close()
    } else {
      var options = SQLiteJobStore.Options()
      options.retentionDays = 0
      let store = try await SQLiteJobStore.open(
        path: "\(directory.path)/jobs.db", loop: loop, options: options, logger: logger)
      do { result = .success(try await body(store)) } catch { result = .failure(error) }
      await store.close()
    }
    await loop.stop()
    return try result.get()
  }

  /// Jobs in every state, with all that a job may have, and runners.
  func fill(_ count: Int = 12) async throws {
    try await with { store in
      for (number, name) in ["b", "a", "c"].enumerated() {
        try await store.save(
          RegisteredRunner(
            name: RunnerName(trusted: name), queue: QueueName(trusted: "queue"), isStopped: number == 1, epoch: 7))
      }
      let statuses = JobStatus.allCases
      for number in 0..<count {
        let status = statuses[number % statuses.count]
        let job = Job.sample(
          "job-\(number)", payload: "echo '\u{0} 日本 \(number)'", runner: ["a", "b", "c"][number % 3],
          timeout: 0.1 * Double(number), environment: number % 2 == 0 ? [:] : ["É": "\u{0}", "A": ""])
        try await store.make(job, status.isFinal ? .running : status)
        guard status.isFinal else { continue }
        let output = JobOutput(stdout: [0, 255, UInt8(number % 256)], stderr: [0xC3], stderrDropped: number)
        let text = String(decoding: output.stdout, as: UTF8.self)
        let result: JobResult = status == .completed ? .success(text) : .error(text)
        _ = try await store.transition(job.id, .finish(status, result, output, at: .at(Int64(number))))
      }
    }
  }

  /// All that a copy must have, in its order; what ran waits.
  func contents() async throws -> Contents {
    try await with { store in
      var jobs: [ExportedJob] = []
      var position: ExportPosition? = .start
      while let from = position {
        let page = try await store.export(from: from, limit: 1000, maximumBytes: .max)
        jobs += page.jobs.map { ExportedJob(record: $0.settled.record.unplaced, output: $0.settled.output) }
        position = page.next
      }
      var runners = try await store.registeredRunners()
      // Each change of owner raises it, in a database.
      for index in runners.indices { runners[index].epoch = 0 }
      return Contents(jobs: jobs, runners: runners, line: try await store.unfinished().map(\.id))
    }
  }

  struct Contents: Equatable {
    let jobs: [ExportedJob]
    let runners: [RegisteredRunner]
    let line: [JobID]
  }
}
