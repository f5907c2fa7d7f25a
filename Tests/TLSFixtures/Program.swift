import CLibUV
import Foundation

/// Runs another program, such as openssl(1), to its end, without blocking a thread that tests share: by posix_spawn(3), with
/// files for what it reads and writes.
public struct Program {
  public struct Outcome: Sendable {
    public let status: Int32
    /// Standard output and standard error.
    public let output: String
  }

  public struct NotRun: Error, CustomStringConvertible {
    public let description: String
  }

  /// Where a program is, `nil` when this machine has none.
  /// - Parameter name: or its path.
  public static func path(of name: String) -> String? {
    if name.hasPrefix("/") { return name }
    return ["/usr/bin", "/bin", "/usr/local/bin"].map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
  }

  /// - Parameter input: what its standard input holds; the end follows.
  public static func run(_ name: String, _ arguments: [String], input: String = "") async throws -> Outcome {
    guard let path = path(of: name) else { throw NotRun(description: "this machine has no \(name)") }
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent("hero-program-\(UUID().uuidString)")
      .path
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    try Data(input.utf8).write(to: URL(fileURLWithPath: "\(directory)/in"))
    let pid = try spawn(path, arguments, in: directory)
    let deadline = ContinuousClock.now + .seconds(120)
    var status: Int32 = 0
    while waitpid(pid, &status, WNOHANG) != pid {
      if ContinuousClock.now > deadline { kill(pid, SIGKILL) }
      try? await Task.sleep(for: .milliseconds(5))
    }
    let output = FileManager.default.contents(atPath: "\(directory)/out") ?? Data()
    // wait(2): what it passed to exit(3), or the signal that ended it.
    return Outcome(
      status: status & 0x7F == 0 ? (status >> 8) & 0xFF : status & 0x7F, output: String(decoding: output, as: UTF8.self)
    )
  }

  private static func spawn(_ path: String, _ arguments: [String], in directory: String) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "\(directory)/in", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "\(directory)/out", O_WRONLY | O_CREAT | O_APPEND, 0o600)
    posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO)
    // Nothing of this process stays open in it: a socket would, of which a test waits for the end.
    posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1)
    let words = ([path] + arguments).map { strdup($0) } + [nil]
    let variables = [strdup("PATH=/usr/local/bin:/usr/bin:/bin"), strdup("HOME=\(directory)"), nil]
    defer { for word in words + variables { free(word) } }
    var pid: pid_t = 0
    let code = posix_spawn(&pid, path, &actions, nil, words, variables)
    guard code == 0 else { throw NotRun(description: "\(path): \(String(cString: strerror(code)))") }
    return pid
  }
}

/// A directory of one test.
public final class CertificateFiles: Sendable {
  public let path: String

  public init() throws {
    path = FileManager.default.temporaryDirectory.appendingPathComponent("hero-tls-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// Writes a file, in place of what may be there, and answers its path.
  @discardableResult
  public func write(_ bytes: [UInt8], to name: String, mode: Int = 0o600) throws -> String {
    let file = "\(path)/\(name)"
    try Data(bytes).write(to: URL(fileURLWithPath: file), options: .atomic)
    try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: file)
    return file
  }
}

/// Waits until a condition holds, at most two minutes, so long since the machine may be busy with something else.
@discardableResult
public func eventually(_ condition: () async -> Bool) async -> Bool {
  let deadline = ContinuousClock.now + .seconds(120)
  while await !condition() {
    if ContinuousClock.now > deadline { return false }
    try? await Task.sleep(for: .milliseconds(1))
  }
  return true
}
