import CLibUV
import Foundation

/// Runs the built program, which lies beside the test bundle, with an environment of the test's own. By posix_spawn(3), and
/// with files for what it reads and writes: nothing of it stays open in this process, and no other test's child inherits it.
final class CommandLineTool {
  struct Outcome {
    let status: Int32
    let output: String
    let error: String
  }

  private let directory = TemporaryDirectory()
  private let program: String
  private let arguments: [String]
  private let environment: [String: String]
  private let input: String
  private let terminal: Int32?
  private var pid: pid_t = 0
  /// What waitpid(2) said at its end.
  private var end: Int32?

  static let path: String = {
    let bundle = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    let tests = CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? bundle
    let directory = (tests as NSString).deletingLastPathComponent
    return URL(fileURLWithPath: "\(directory)/hero-supervisor").path
  }()

  /// - Parameters:
  ///   - program: another one than the built program, by its path.
  ///   - terminal: a descriptor to use as standard error in place of a file.
  init(
    _ arguments: [String], program: String = CommandLineTool.path, environment: [String: String] = [:],
    input: String? = nil, terminal: Int32? = nil
  ) throws {
    self.program = program
    self.arguments = arguments
    self.environment = ["HOME": directory.path, "HERO_DATA_DIR": directory.path, "PATH": "/usr/bin:/bin"].merging(
      environment
    ) { $1 }
    self.input = input.map { [directory] in directory.write($0, to: "in") } ?? "/dev/null"
    self.terminal = terminal
    directory.write("", to: "out")
    directory.write("", to: "err")
  }

  /// Writes a file into the program's working directory, which is its data directory as well.
  @discardableResult
  func write(_ text: String, to name: String) -> String { directory.write(text, to: name) }

  deinit {
    guard pid > 0, isRunning else { return }
    Glibc.kill(pid, SIGKILL)
    while waitpid(pid, nil, 0) < 0 && errno == EINTR {}
  }

  /// The program's working directory, home and data directory.
  var directoryPath: String { directory.path }

  func start() throws {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addchdir_np(&actions, directory.path)
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, input, O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "\(directory.path)/out", O_WRONLY, 0)
    if let terminal {
      posix_spawn_file_actions_adddup2(&actions, terminal, STDERR_FILENO)
    } else {
      posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "\(directory.path)/err", O_WRONLY, 0)
    }
    posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1)
    // Threads of the shared pool block all signals, and some programs leave that as they find it (nginx).
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var signals = sigset_t()
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    let words = ([program] + arguments).map { strdup($0) } + [nil]
    let variables = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for word in words + variables { free(word) } }
    let code = posix_spawn(&pid, program, &actions, &attributes, words, variables)
    guard code == 0 else {
      pid = 0
      throw POSIXError(POSIXErrorCode(rawValue: code) ?? .ENOENT)
    }
  }

  func interrupt() { Glibc.kill(pid, SIGINT) }
  func terminate() { Glibc.kill(pid, SIGTERM) }
  func hangUp() { Glibc.kill(pid, SIGHUP) }
  func kill() { Glibc.kill(pid, SIGKILL) }

  var isRunning: Bool {
    if end != nil { return false }
    var status: Int32 = 0
    if waitpid(pid, &status, WNOHANG) == pid { end = status }
    return end == nil
  }

  /// What it wrote to standard error so far.
  var errorSoFar: String { read("err") }
  var outputSoFar: String { read("out") }

  /// Waits until it has written a text to standard error or output.
  func said(_ text: String) async -> Bool {
    let deadline = ContinuousClock.now + Self.patience
    while !(errorSoFar + read("out")).contains(text), isRunning, ContinuousClock.now < deadline {
      try? await Task.sleep(for: .milliseconds(5))
    }
    return (errorSoFar + read("out")).contains(text)
  }

  /// Of a node: where its API listens, once it is ready.
  func endpoint() async throws -> String {
    let deadline = ContinuousClock.now + Self.patience
    while isRunning, ContinuousClock.now < deadline {
      if let match = errorSoFar.firstMatch(of: /api=https?:\/\/([0-9.:]+)/) { return String(match.1) }
      try await Task.sleep(for: .milliseconds(5))
    }
    throw NotReady(log: errorSoFar)
  }

  struct NotReady: Error { let log: String }

  /// How long a start or an end may take on a busy machine.
  private static let patience = Duration.seconds(120)

  /// Waits for the end; a program that does not end is killed after a while, which its status shows.
  func outcome() async -> Outcome {
    let deadline = ContinuousClock.now + Self.patience
    while isRunning {
      if ContinuousClock.now >= deadline { Glibc.kill(pid, SIGKILL) }
      try? await Task.sleep(for: .milliseconds(5))
    }
    // wait(2): the status of one that exited, or the signal that ended it.
    let status = end! & 0x7F == 0 ? (end! >> 8) & 0xFF : end! & 0x7F
    return Outcome(status: status, output: read("out"), error: read("err"))
  }

  /// What it wrote to standard output.
  var outputBytes: [UInt8] { bytes("out") }

  private func read(_ name: String) -> String { String(decoding: bytes(name), as: UTF8.self) }

  private func bytes(_ name: String) -> [UInt8] {
    Array(FileManager.default.contents(atPath: "\(directory.path)/\(name)") ?? Data())
  }

  /// Runs to the end.
  static func run(
    _ arguments: String..., environment: [String: String] = [:], input: String? = nil
  ) async throws -> Outcome {
    let tool = try CommandLineTool(arguments, environment: environment, input: input)
    try tool.start()
    return await tool.outcome()
  }
}
