import EventLoop
import Glibc
import Logging

@testable import Supervisor

/// What one job did, started by the launcher that was built with the tests.
struct Launched: Sendable {
  let ending: JobEnding
  let stdout: String
  let stderr: String
  var lines: [String] { stdout.split(separator: "\n", omittingEmptySubsequences: false).map(String.init) }

  /// The value behind a name in a file such as `/proc/self/status`.
  func field(_ name: String) -> String? {
    lines.first { $0.hasPrefix("\(name):") }.map { String($0.dropFirst(name.count + 1)).trimmingTabs }
  }
}

extension String {
  fileprivate var trimmingTabs: String { split(whereSeparator: { $0 == "\t" || $0 == " " }).joined(separator: " ") }
}

/// Runs jobs on a loop of its own; nothing of them is left when a call returns.
struct LaunchFixture {
  let loop: EventLoop
  let launcher: Launcher
  let scratch = ScratchDirectory()

  /// Whether the tests may change the user.
  static let isRoot = geteuid() == 0
  /// Debian's `nobody`.
  static let nobody: (uid: UInt32, gid: UInt32) = (65534, 65534)

  /// A node as root needs nothing else, another one user namespaces.
  static let canSandbox = isRoot || ScratchDirectory.shell("unshare --user true")

  /// Makes an order one of a sandbox.
  static func sandbox(_ order: inout LaunchOrder, by settings: SandboxSettings = SandboxSettings()) throws {
    let executor = try ProcessExecutor(
      ExecutorConfiguration(name: ExecutorName(trusted: "box"), command: order.command, sandbox: settings),
      searchPath: "/usr/bin:/bin")
    let job = Job(
      id: JobID(trusted: "j"), callerID: "", contextID: "", payload: "", runner: RunnerName(trusted: "r"),
      executor: ExecutorName(trusted: "box"))
    order = executor.order(
      for: job, payloadFile: nil, environment: order.environment, wrapperEnvironment: { [] }, by: try Launcher())
  }

  static func with(_ body: (LaunchFixture) async throws -> Void) async throws {
    let loop = try EventLoop()
    loop.start()
    var failure: (any Error)?
    do { try await body(LaunchFixture(loop: loop, launcher: try Launcher())) } catch { failure = error }
    await loop.stop()
    if let failure { throw failure }
  }

  /// Runs a shell script, or another command.
  func run(
    _ script: String = "", id: String = "job", environment: [String] = ["PATH=/usr/local/bin:/usr/bin:/bin"],
    input: [UInt8]? = nil,
    in group: ControlGroups.Group? = nil, order adjust: (inout LaunchOrder) throws -> Void = { _ in },
    during: (@Sendable (JobProcess) async throws -> Void)? = nil
  ) async throws -> Launched {
    var order = LaunchOrder(command: ["/bin/sh", "-c", script], environment: environment)
    try adjust(&order)
    let (loop, launcher, directory) = (loop, launcher, scratch.path)
    let final = order
    return try await Task(executorPreference: loop) {
      let process = try JobProcess(
        final, job: JobID(trusted: id), in: directory, readsInput: input != nil, by: launcher,
        group: group, maxOutputBytes: 1 << 20, killGrace: .milliseconds(200), on: loop)
      let watching = Task(executorPreference: loop) { try await during?(process) }
      let ending = await process.run(input: input, timeout: .seconds(100))
      _ = await process.outputEnded(within: .seconds(60))
      try await watching.value
      let output = await process.output
      await process.close()
      return Launched(
        ending: ending, stdout: String(decoding: output.stdout, as: UTF8.self),
        stderr: String(decoding: output.stderr, as: UTF8.self))
    }.value
  }

  /// Processes whose command line contains a text; those that have ended and were not reaped have none.
  static func processes(with text: String) -> [Int32] {
    ProcessTable.pids().filter { $0 != getpid() && commandLine(of: $0).contains(text) }
  }

  private static func commandLine(of pid: Int32) -> String {
    let descriptor = open("/proc/\(pid)/cmdline", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return "" }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 65_536)
    return String(decoding: bytes[..<max(0, read(descriptor, &bytes, bytes.count))], as: UTF8.self)
  }
}
