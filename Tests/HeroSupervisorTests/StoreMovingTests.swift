import Foundation
import JobStoreConformance
import PostgresServer
import Supervisor
import Testing

@testable import hero_supervisor

// From one store to another and back, by the built program.

@Suite("store export and store import", .timeLimit(.minutes(5)))
struct StoreMovingTests {
  private static func database() async throws -> String {
    try await PostgresServer.aside { try PostgresServer.shared.get().makeDatabase() }
  }
  /// With a database or without.
  private static let both = PostgresServer.isInstalled ? [false, true] : [false]

  @Test("take a store to another one with every job, output, time and place in line", arguments: both)
  func roundTrip(throughDatabase: Bool) async throws {
    let origin = MovedStore()
    try await origin.fill(40)
    var stores = [origin]
    if throughDatabase { stores.append(MovedStore(database: try await Self.database())) }
    stores.append(MovedStore())
    for (from, to) in zip(stores, stores.dropFirst()) {
      let file = "\(from.directory.path)/jobs.jsonl"
      let exported = try await from.run("export", "--output", file)
      #expect(exported.status == 0 && exported.output == "exported 40 jobs and 3 runners to \(file)\n", "\(exported)")
      #expect(exported.error == "")
      #expect(try FileBytes.read(file).mode & 0o777 == 0o600)
      let imported = try await to.run("import", file)
      #expect(imported.status == 0 && imported.output == "imported 40 jobs and 3 runners\n", "\(imported)")
      #expect(imported.error == "")
      #expect(try await to.contents() == origin.contents())
    }
  }

  @Test("a queue of thousands keeps its order, whatever the store", arguments: both)
  func order(isDatabase: Bool) async throws {
    let origin = MovedStore()
    let ids = (0..<2500).map { JobID(trusted: "job-\($0)") }
    try await origin.with { store in
      _ = try await concurrently(ids.count) { try await store.create(.created(.sample(ids[$0].rawValue))) }
      _ = try await concurrently(ids.count) { try await store.transition(ids[$0], .enqueue(at: .at(1))) }
    }
    let line = try await origin.contents().line
    #expect(line.count == ids.count)
    let exported = try await origin.run("export")
    #expect(exported.status == 0 && exported.error == "exported 2500 jobs and 0 runners\n")
    let target = MovedStore(database: isDatabase ? try await Self.database() : nil)
    let imported = try await target.run("import", "-", input: exported.output)
    #expect(imported.status == 0, "\(imported)")
    #expect(try await target.contents().line == line)
  }

  @Test(
    "importing again leaves all as it is; jobs and runners that are others are named, and nothing of them changed",
    arguments: both)
  func again(isDatabase: Bool) async throws {
    let (origin, target) = (MovedStore(), MovedStore(database: isDatabase ? try await Self.database() : nil))
    try await origin.fill()
    let file = "\(origin.directory.path)/jobs.jsonl"
    #expect(try await origin.run("export", "--output", file).status == 0)
    try await target.with { store in
      _ = try await store.create(.created(.sample("job-3", payload: "another")))
      try await store.save(
        RegisteredRunner(name: RunnerName(trusted: "c"), queue: QueueName(trusted: "elsewhere")))
    }
    let first = try await target.run("import", file)
    #expect(first.status == 1 && first.output == "imported 11 jobs and 2 runners\n", "\(first)")
    #expect(first.error.contains("2 jobs or runners conflict with what is there"), "\(first)")
    #expect(first.error.contains("job job-3, runner c"))
    let contents = try await target.contents()
    #expect(contents.jobs.first { $0.record.job.id.rawValue == "job-3" }?.record.job.payload == "another")
    let second = try await target.run("import", "--json", file)
    #expect(second.status == 1)
    for field in ["\"jobs\": 0", "\"present_jobs\": 11", "\"present_runners\": 2", "\"conflicts\": 2"] {
      #expect(second.output.contains(field), "\(second.output)")
    }
    #expect(try await target.contents() == contents)
  }

  @Test("an export reads beside the node that uses the store, an import waits for its end and says so")
  func besideANode() async throws {
    let origin = MovedStore()
    try await origin.fill()
    let other = MovedStore()
    try await origin.with { _ in
      let exported = try await origin.run("export", "--output", "\(other.directory.path)/jobs.jsonl")
      #expect(exported.status == 0, "\(exported)")
      let refused = try await origin.run("import", "\(other.directory.path)/jobs.jsonl")
      #expect(refused.status == 1 && refused.output == "")
      #expect(refused.error.contains("is in use by a node (pid "), "\(refused)")
      #expect(refused.error.contains("stop the node, import, and start it again"))
    }
    #expect(try await other.run("import", "\(other.directory.path)/jobs.jsonl").status == 0)
    #expect(try await other.contents() == origin.contents())
    let nothing = try await MovedStore().run("export")
    #expect(nothing.status == 1 && nothing.output == "" && nothing.error.contains("No such file or directory"))
  }

  @Test(
    "jobs that are imported beside the node that owns their runner run there, in order",
    .enabled(if: PostgresServer.isInstalled))
  func besideAnOwner() async throws {
    let target = MovedStore(database: try await Self.database())
    let node = try CommandLineTool(
      ["node", "--api", "127.0.0.1:0", "--cluster", "127.0.0.1:0", "--name", "n1"], environment: target.environment)
    try node.start()
    _ = try await node.endpoint()
    func call(_ arguments: String...) async throws -> CommandLineTool.Outcome {
      let tool = try CommandLineTool(arguments, environment: target.environment)
      try tool.start()
      return await tool.outcome()
    }
    #expect(try await call("runner", "register", "owned").status == 0)
    let origin = MovedStore()
    try await origin.with { store in
      for number in 0..<5 {
        let job = Job.sample("job-\(number)", payload: "\(number)", runner: "owned", executor: "echo", timeout: 0)
        _ = try await store.create(.queued(job))
      }
      // Nobody owns the runner of this one, until the import brings it.
      _ = try await store.create(.queued(.sample("orphan", payload: "6", runner: "brought", executor: "echo")))
      try await store.save(RegisteredRunner(name: RunnerName(trusted: "brought"), queue: QueueName(trusted: "q")))
    }
    let imported = try await target.run("import", "-", input: try await origin.run("export").output)
    #expect(imported.status == 0 && imported.output == "imported 6 jobs and 1 runner\n", "\(imported)")
    for number in 0..<5 {
      #expect(try await call("job", "result", "job-\(number)").output == "\(number)", "job \(number)")
    }
    #expect(try await call("job", "result", "orphan").output == "6")
    node.terminate()
    #expect(await node.outcome().status == 0)
    let ended = try await target.contents().jobs.filter { $0.record.job.runner.rawValue == "owned" }
    let starts = ended.sorted { $0.record.job.id < $1.record.job.id }.compactMap(\.record.startedAt)
    #expect(starts.count == 5 && starts == starts.sorted())
  }
}
