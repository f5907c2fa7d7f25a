// The built program as a node of its own: with a guard process, and as the parent of orphans, which is a matter of a
// whole process and cannot be tried in the test's.

import EventLoop
import Foundation
import JSONRPC
import SupervisorClient
import Testing

@testable import Supervisor

struct NodeProcess {
  let client: SupervisorClient
  let endpoint: Endpoint
  /// The node's process, and a directory for what its jobs write.
  let pid: Int32
  let directory: TemporaryDirectory

  /// Starts a node with a runner `r`, runs the scenario, and stops the node by SIGTERM.
  /// - Parameters:
  ///   - signal: what is to end the node, 0 for an end with status 0.
  ///   - openFiles: its hard limit of open files.
  ///   - user: who it runs as, if not the test's own user.
  ///   - starter: words of a command that becomes the node.
  ///   - executors: as the configuration has them.
  static func run(
    endedBy signal: Int32 = 0, openFiles: Int? = nil, as user: UInt32? = nil, by starter: String = "",
    executors: JSON = [:], _ scenario: (NodeProcess) async throws -> Void
  ) async throws {
    let directory = TemporaryDirectory()
    let configuration: JSON = [
      "auth": ["admin_secrets": [.string(Key.admin)]],
      "executors": executors, "jobs": ["kill_grace_seconds": 0.2, "drain_seconds": 1],
      "runners": [["name": "r", "queue": "q", "concurrency": 2]],
    ]
    let arguments = [
      "node", "--api", "127.0.0.1:0", "--name", "n1", "--data-dir", "\(directory.path)/data", "--config",
      directory.write(configuration.text, to: "cluster.json"),
    ]
    directory.write("", to: "log")
    if let user {
      for path in ["", "/cluster.json"] { chown(directory.path + path, user, user) }
    }
    let loop = try EventLoop()
    loop.start()
    let process = try await Task(executorPreference: loop) {
      try await TestProcess(
        program, arguments, log: "\(directory.path)/log", home: directory.path, openFiles: openFiles,
        starter: user.map { "setpriv --reuid=\($0) --regid=\($0) --clear-groups" } ?? starter, on: loop)
    }.value

    var address: String?
    _ = await eventually {
      address = directory.text("log")?.firstMatch(of: /api=http:\/\/([0-9.:]+)/).map { String($0.1) }
      return address != nil || !exists(process.pid)
    }
    let endpoint = try Endpoint(parsing: try #require(address, "\(directory.text("log") ?? "")"))
    let client = SupervisorClient(endpoints: [endpoint], secret: Key.admin, loop: loop)
    var failure: (any Error)?
    do {
      try await scenario(NodeProcess(client: client, endpoint: endpoint, pid: process.pid, directory: directory))
    } catch {
      failure = error
    }
    await client.close()
    let status = await process.stop()
    await loop.stop()
    #expect(status == (0, signal), "\(directory.text("log") ?? "")")
    if let failure { throw failure }
  }

  /// The program lies beside the bundle of the tests.
  private static let program: String = {
    let bundle = CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? Bundle.main.executablePath ?? ""
    return URL(fileURLWithPath: bundle).deletingLastPathComponent().appendingPathComponent("hero-supervisor").path
  }()

  func run(_ job: JSON) async throws -> JSON {
    try await client.call("job.run", ["secret": .string(Key.admin), "job": job], timeout: .seconds(30))
  }

  /// The node's guard.
  var guardProcess: Int32? {
    ProcessTable.pids().first { pid in
      ProcessTable.entry(pid)?.parent == self.pid && ProcessTable.name(of: pid) != Launcher.fileName
    }
  }

  /// The process ids that a job wrote into a file, once there are so many.
  func pids(in file: String, count: Int) async throws -> [Int32] {
    var pids: [Int32] = []
    let came = await eventually {
      pids = directory.text(file)?.split(separator: "\n").compactMap { Int32($0) } ?? []
      return pids.count == count
    }
    try #require(came, "\(count) process ids in \(file), got \(pids)")
    return pids
  }
}

/// A child process, killed if it does not end in time.
private actor TestProcess {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  nonisolated let pid: Int32
  private let child: ChildProcess

  /// A node that is killed cannot remove its own.
  private static let withoutControlGroups = "HERO_JOBS_CONTROL_GROUPS=false"

  init(
    _ program: String, _ arguments: [String], log: String, home: String, openFiles: Int?, starter: String,
    on loop: EventLoop
  ) async throws {
    self.loop = loop
    let limit = openFiles.map { "ulimit -n \($0); " } ?? ""
    // The shell opens the log, and becomes the program.
    child = try ChildProcess.spawn(
      ChildProcess.Options(
        executable: "/bin/sh",
        arguments: ["-c", "\(limit)exec \(starter) \"$@\" 2> '\(log)'", "sh", program] + arguments,
        environment: ["PATH=/usr/local/bin:/usr/bin:/bin", "HOME=\(home)", Self.withoutControlGroups], stdin: .null,
        stdout: .null, stderr: .null,
        newSession: true), on: loop)
    pid = child.pid
  }

  /// SIGTERM, and how it ended.
  func stop() async -> (code: Int64, signal: Int32) {
    child.kill(SIGTERM)
    let deadline = Task(executorPreference: loop) { await self.kill(after: .seconds(20)) }
    let status = await child.exit()
    deadline.cancel()
    await deadline.value
    child.close()
    return (status.code, status.signal)
  }

  private func kill(after time: Duration) async {
    if (try? await loop.sleep(for: time)) != nil { child.kill(SIGKILL) }
  }
}

/// Whether a process exists; one that is dead and not reaped counts too.
func exists(_ pid: Int32) -> Bool { kill(pid, 0) == 0 || errno != ESRCH }
