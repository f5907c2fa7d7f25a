import EventLoop
import Foundation
import HTTPServer
import JSONRPC
import Logging
import SupervisorAPI
import Synchronization
import Testing

@testable import hero_supervisor

/// The record of who did what, as a node writes it.
@Suite("Who did it", .timeLimit(.minutes(5)))
struct AuditLogTests {
  private func run(_ arguments: [String], _ environment: [String: String]) async throws -> CommandLineTool.Outcome {
    let tool = try CommandLineTool(arguments, environment: environment)
    try tool.start()
    return await tool.outcome()
  }

  /// The lines of a log with this message, without their times.
  private func lines(_ message: String, in log: String) -> [String] {
    log.split(separator: "\n").map(String.init).filter { $0.contains(" \(message) ") }.map {
      String($0[($0.firstRange(of: message)?.lowerBound ?? $0.startIndex)...])
    }
  }

  private func objects(_ path: String) throws -> [JSON] {
    let text = String(decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self)
    return try text.split(separator: "\n").map { try JSON.parse(String($0)) }
  }

  private func waitForLines(_ count: Int, in path: String) async throws -> [JSON] {
    let deadline = ContinuousClock.now + .seconds(60)
    while try objects(path).count < count, ContinuousClock.now < deadline {
      try await Task.sleep(for: .milliseconds(5))
    }
    return try objects(path)
  }

  @Test("is in the log for changes and refusals, and each job's end with how and why")
  func log() async throws {
    let node = try CommandLineTool(["node", "--api", "127.0.0.1:0", "--name", "n1"])
    try node.start()
    _ = try await node.endpoint()
    let environment = ["HERO_DATA_DIR": node.directoryPath]
    _ = try await run(["runner", "register", "r"], environment)
    _ = try await run(
      ["job", "run", "-r", "r", "--id", "good", "--env", "V=value-hush", "echo output-hush"], environment)
    _ = try await run(["job", "run", "-r", "r", "--id", "bad", "echo output-hush >&2; exit 3"], environment)
    _ = try await run(["job", "run", "-r", "r", "--id", "late", "--timeout", "0.1", "sleep 60"], environment)
    _ = try await run(["job", "run", "-r", "r", "--id", "killed", "kill -9 $$"], environment)
    _ = try await run(["job", "create", "-r", "r", "--id", "waits", "true"], environment)
    _ = try await run(["job", "stop", "waits"], environment)
    _ = try await run(["job", "stop", "nobody\u{202E}"], environment)
    let refused = try await run(["job", "delete", "good"], environment.merging(["HERO_SECRET": "guess-hush"]) { $1 })
    #expect(refused.status == 4)
    node.terminate()
    let log = await node.outcome().error
    let from = "from=\"uid \(geteuid())\""
    #expect(
      lines("call", in: log) == [
        "call \(from) key=\"local key\" method=register_runner outcome=ok queue=r runner=r",
        "call \(from) job=waits key=\"local key\" method=job.stop outcome=ok",
        "call \(from) job=\"nobody\\u202e\" key=\"local key\" method=job.stop outcome=-32002",
      ], "\(log)")
    #expect(
      lines("key refused", in: log) == [
        "key refused \(from) job=good key=\"unknown key\" method=job.delete outcome=-32001"
      ], "\(log)")
    let ends = lines("job ended", in: log).map { $0.replacing(#/ seconds=[0-9.]+/#, with: " seconds") }
    #expect(
      ends == [
        "job ended attempt=1 exit_status=0 job=good node=n1 outcome=completed runner=r seconds",
        "job ended attempt=1 exit_status=3 job=bad node=n1 outcome=failed reason=\"exit status 3\" runner=r seconds",
        "job ended attempt=1 job=late node=n1 outcome=timeout reason=\"timed out after 0.1 s\" runner=r seconds",
        "job ended attempt=1 job=killed node=n1 outcome=failed reason=\"killed by signal 9 (SIGKILL)\" runner=r seconds",
        "job ended attempt=0 job=waits node=n1 outcome=failed reason=stopped runner=r",
      ], "\(log)")
    #expect(!log.contains("hush"), "\(log)")
  }

  @Test("is in a file of its own with each call, which goes on under its name after logrotate renamed it")
  func file() async throws {
    let node = try CommandLineTool(
      ["node", "--api", "127.0.0.1:0", "--name", "n1"], environment: ["HERO_LOG_AUDIT_FILE": "audit.jsonl"])
    try node.start()
    _ = try await node.endpoint()
    let environment = ["HERO_DATA_DIR": node.directoryPath]
    let path = "\(node.directoryPath)/audit.jsonl"
    _ = try await run(["runner", "register", "r"], environment)
    _ = try await run(["job", "run", "-r", "r", "--id", "j", "--env", "V=value-hush", "echo output-hush"], environment)
    _ = try await run(["job", "delete", "j"], environment.merging(["HERO_SECRET": "guess-hush"]) { $1 })
    let first = try await waitForLines(3, in: path)
    #expect(first.map { $0["method"] } == ["register_runner", "job.run", "job.delete"], "\(first)")
    #expect(first.map { $0["outcome"] } == ["ok", "ok", "-32001"])
    #expect(first.map { $0["key"] } == ["local key", "local key", "unknown key"])
    #expect(first[1]["job"] == "j" && first[1]["runner"] == "r" && first[1]["from"] == .string("uid \(geteuid())"))
    #expect(first.allSatisfy { $0["time"]?.stringValue?.hasSuffix("Z") == true })
    #expect(!"\(first)".contains("hush"))
    var status = stat()
    #expect(stat(path, &status) == 0 && status.st_mode == S_IFREG | 0o600)

    rename(path, "\(path).1")
    node.hangUp()
    let reopened = await node.said("the audit file was opened again")
    #expect(reopened)
    _ = try await run(["runner", "stop", "r"], environment)
    let second = try await waitForLines(1, in: path)
    #expect(second.map { $0["method"] } == ["stop_runner"])
    #expect(try objects("\(path).1").count == 3)
    node.terminate()
    let end = await node.outcome()
    #expect(end.status == 0 && !end.error.contains("job.run"), "\(end)")
  }

  @Test("cannot go to what is no regular file, and the start says so")
  func unusable() async throws {
    for path in ["/dev/null", "/nonexistent/a"] {
      let outcome = try await CommandLineTool.run(
        "node", "--api", "127.0.0.1:0", environment: ["HERO_LOG_AUDIT_FILE": path])
      #expect(outcome.status == 2 && outcome.error.contains("log.audit_file \(path): "), "\(outcome)")
    }
  }

  @Test(
    "fails no call when its disk is full: lost lines are counted and said, and later ones stand on lines of their own",
    .enabled(if: geteuid() == 0, "only root may mount a small disk"))
  func fullDisk() async throws {
    let directory = TemporaryDirectory()
    guard mount("tmpfs", directory.path, "tmpfs", 0, "size=16k") == 0 else {
      try Test.cancel("this machine does not let root mount a tmpfs: errno \(errno)")
    }
    defer { umount2(directory.path, Int32(MNT_DETACH)) }
    let path = "\(directory.path)/audit"
    let loop = try EventLoop()
    loop.start()
    let complaints = Mutex<[String]>([])
    let logger = Logger(label: "audit") { label in
      LineLogHandler(label: label, configuration: LogConfiguration(level: .info, format: .text)) { line in
        complaints.withLock { $0.append(String(decoding: line, as: UTF8.self)) }
      }
    }
    let file = try AuditFile(path, on: loop, logger: logger)
    let line = Array("{\"n\":\"\(String(repeating: "x", count: 991))\"}\n".utf8)
    for _ in 0..<40 {
      file.append(line)
      await file.close()
    }
    let counts = file.statistics
    #expect(counts.writtenLines == 16 && counts.lostLines == 24, "\(counts)")
    #expect(complaints.withLock { $0.count } == 1)
    #expect(complaints.withLock { $0[0] }.contains("reason=\"no space left on device\""))
    truncate(path, off_t(3 * line.count + 10))
    file.append(line)
    await file.close()
    let text = String(decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self)
    #expect(
      text.split(separator: "\n").filter { (try? JSON.parse(String($0))) != nil }.count == 4, "\(text.suffix(100))")
    await loop.stop()
  }

  @Test("lets twenty refusals a second into the log, and tells how many it left out")
  func window() {
    var window = RefusalWindow()
    let start = ContinuousClock.now + .seconds(1)
    #expect(
      (0..<50).map { _ in window.admit(at: start) } == Array(repeating: 0, count: 20) + Array(repeating: nil, count: 30)
    )
    #expect(window.admit(at: start + .milliseconds(1001)) == 30)
    #expect(window.admit(at: start + .milliseconds(1002)) == 0)
  }
}
