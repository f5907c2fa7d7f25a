import EventLoop
import Glibc

/// The program that stands between a node and each of its jobs (`Sources/CLauncher`): it gives up the node's rights, sets
/// limits, starts the job's command with the job's environment, and ends when nothing of the job is left.
///
/// It is opened once, and executed by its descriptor, so that a node goes on with its own launcher when another version
/// is installed in its place.
public final class Launcher: Sendable {
  /// Its name beside the node's own program.
  public static let fileName = "hero-launcher"

  /// Absolute; what stands behind an executor's wrapper.
  let path: String
  private let program: Int32
  /// A pipe that no process but the node has the writing end of: each launcher sees the node's end on it.
  private let life: (read: Int32, write: Int32)

  /// Opens the launcher.
  /// - Parameter path: absolute.
  /// - Throws: `UnusableLauncher` if it is missing, or others than root and the node's user may change it.
  public init(path: String) throws(UnusableLauncher) {
    self.path = path
    guard path.hasPrefix("/") else { throw UnusableLauncher(path: path, reason: "is not an absolute path") }
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw UnusableLauncher(path: path, reason: "\(UVError(errno: errno, operation: "open"))") }
    defer { close(file) }
    var status = stat()
    guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_mode & 0o111 != 0 else {
      throw UnusableLauncher(path: path, reason: "is not a program")
    }
    guard status.st_uid == 0 || status.st_uid == geteuid() else {
      throw UnusableLauncher(path: path, reason: "belongs to another user (uid \(status.st_uid))")
    }
    // Whoever builds for herself may have a group of her own that may write; root does not rely on one.
    guard status.st_mode & (geteuid() == 0 ? 0o022 : 0o002) == 0 else {
      throw UnusableLauncher(path: path, reason: "may be changed by others")
    }
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else {
      throw UnusableLauncher(path: path, reason: "\(UVError(errno: errno, operation: "make a pipe"))")
    }
    defer { for end in ends { close(end) } }
    // High numbers: see `ChildProcess.Options.inherited`.
    program = Self.duplicate(file)
    life = (Self.duplicate(ends[0]), Self.duplicate(ends[1]))
    guard program >= 0 && life.read >= 0 && life.write >= 0 else {
      throw UnusableLauncher(path: path, reason: "\(UVError(errno: EMFILE, operation: "open"))")
    }
  }

  /// The launcher beside the program that runs.
  public convenience init() throws(UnusableLauncher) {
    var bytes = [UInt8](repeating: 0, count: Int(PATH_MAX))
    let count = bytes.withUnsafeMutableBytes { readlink("/proc/self/exe", $0.baseAddress!, $0.count) }
    let own = String(decoding: bytes[..<max(0, count)], as: UTF8.self)
    let directory = own[..<(own.lastIndex(of: "/") ?? own.startIndex)]
    try self.init(path: "\(directory)/\(Self.fileName)")
  }

  deinit { for descriptor in [program, life.read, life.write] where descriptor >= 0 { close(descriptor) } }

  private static func duplicate(_ descriptor: Int32) -> Int32 { fcntl(descriptor, F_DUPFD_CLOEXEC, 16) }

  /// What starts a job.
  /// - Parameters:
  ///   - order: a memory file with a `LaunchOrder`, which `LaunchReport` is read from after the end.
  ///   - id: shown in the list of processes.
  ///   - directory: where the job starts.
  ///   - group: the control group that it starts in.
  func options(
    order: MemoryFile, id: JobID, directory: String, stdin: ChildProcess.Stream, group: ControlGroups.Group?
  ) -> ChildProcess.Options {
    ChildProcess.Options(
      executable: "/proc/self/fd/5", name: Self.fileName, arguments: [id.rawValue], environment: [],
      workingDirectory: directory,
      stdin: stdin, stdout: .pipe, stderr: .pipe, newSession: true,
      inherited: [order.descriptor, life.read, program] + (group.map { [$0.descriptor] } ?? []))
  }
}

extension Launcher {
  /// Builds the sandbox of an executor once, with `/bin/true` in it.
  /// - Parameter directory: which is the job's there.
  /// - Throws: which step failed, and why.
  public func trySandbox(of executor: ProcessExecutor, in directory: String, on loop: EventLoop) async throws(UVError) {
    let trial = Job(
      id: JobID(trusted: "sandbox-trial"), callerID: "", contextID: "", payload: "", runner: RunnerName(trusted: "-"),
      executor: executor.configuration.name)
    var order = executor.order(
      for: trial, payloadFile: nil, environment: [], wrapperEnvironment: { [] }, by: self)
    order.command = ["/bin/true"]
    order.limits = ResourceLimits()
    let process = try JobProcess(
      order, job: trial.id, in: directory, readsInput: false, by: self, maxOutputBytes: 1000, killGrace: .zero, on: loop
    )
    let ending = await process.run(input: nil, timeout: .seconds(10))
    await process.close()
    switch ending {
    case .exited(0): return
    case .notStarted(let error): throw error
    default: throw UVError(errno: EPROTO, operation: "run /bin/true in a sandbox (\(ending))")
    }
  }
}

/// Why a launcher cannot be used.
public struct UnusableLauncher: Error, CustomStringConvertible, Sendable {
  public let path: String
  public let reason: String

  public var description: String { "the launcher \(path): \(reason)" }
}
