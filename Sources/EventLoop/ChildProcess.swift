import CLibUV
import Glibc

/// How a process ended.
public struct ExitStatus: Hashable, Sendable {
  /// What it passed to exit(3); meaningless when a signal ended it.
  public let code: Int64
  /// The signal that ended it, or 0.
  public let signal: Int32

  public init(code: Int64, signal: Int32) {
    self.code = code
    self.signal = signal
  }

  /// From the status of wait(2), as its WIFSIGNALED and the like read it.
  public init(waitStatus status: Int32) {
    signal = status & 0x7F
    code = signal == 0 ? Int64(status >> 8 & 0xFF) : 0
  }
}

/// A child process, from its start until it is reaped. Its end is seen on a descriptor of the process (pidfd_open(2)).
public final class ChildProcess: LoopHandle, @unchecked Sendable {
  // @unchecked: as LoopHandle.

  /// What a standard stream of the child is connected to.
  public enum Stream: Hashable, Sendable {
    case null
    case pipe
    case inherit
  }

  public struct Options: Sendable {
    /// A path, or a name to be looked up in the child's `PATH`.
    public var executable: String
    /// What the list of processes shows as its name; `nil` for the executable.
    public var name: String?
    /// Without the program's name.
    public var arguments: [String]
    /// `NAME=value`; nothing is inherited.
    public var environment: [String]
    public var workingDirectory: String?
    public var stdin: Stream
    public var stdout: Stream
    public var stderr: Stream
    /// Its own session and process group, both numbered by its pid (setsid(2)).
    public var newSession: Bool
    /// Descriptors of this process that the child gets as 3, 4, and so on; -1 for one that stays free. None of them may
    /// have a number that is used up before its turn: use 16 or more (fcntl(2), F_DUPFD_CLOEXEC), except for the first.
    public var inherited: [Int32]

    public init(
      executable: String, name: String? = nil, arguments: [String] = [], environment: [String] = [],
      workingDirectory: String? = nil,
      stdin: Stream = .null, stdout: Stream = .null, stderr: Stream = .null, newSession: Bool = false,
      inherited: [Int32] = []
    ) {
      self.executable = executable
      self.name = name
      self.arguments = arguments
      self.environment = environment
      self.workingDirectory = workingDirectory
      self.stdin = stdin
      self.stdout = stdout
      self.stderr = stderr
      self.newSession = newSession
      self.inherited = inherited
    }
  }

  /// The process's number, its own until `exit` has answered.
  public let pid: Int32
  /// The node's ends of the pipes; each is closed by its user.
  public private(set) var stdin: PipeStream?
  public private(set) var stdout: PipeStream?
  public private(set) var stderr: PipeStream?
  private let descriptor: Int32
  private let leadsGroup: Bool
  private let end: Promise<ExitStatus>
  private var status: ExitStatus? { end.current }

  private init(pid: Int32, descriptor: Int32, leadsGroup: Bool, on loop: EventLoop) {
    self.pid = pid
    self.descriptor = descriptor
    self.leadsGroup = leadsGroup
    end = Promise(on: loop)
    super.init(uv_poll_t.self, kind: "process", on: loop)
  }

  /// Starts a program. It gets the default action for every signal, an empty signal mask, and no descriptor but the
  /// three and those that are to be inherited.
  /// - Throws: what execve(2), clone(2) or chdir(2) refused; `UVError.invalid` for a string with a zero byte in it. No
  ///   process and no handle is left then.
  public static func spawn(_ options: Options, on loop: EventLoop) throws(UVError) -> ChildProcess {
    loop.preconditionCurrent()
    let operation = "run \(options.executable)"
    let name = options.name ?? options.executable
    let strings = [options.executable, name, options.workingDirectory ?? ""] + options.arguments + options.environment
    guard strings.allSatisfy({ !$0.utf8.contains(0) }) else {
      throw UVError(code: UVError.invalid, operation: operation)
    }
    guard let executable = Spawn.locate(options.executable, environment: options.environment) else {
      throw UVError(code: UVError.noEntry, operation: operation)
    }
    var ours: [PipeStream?] = []
    var theirs: [Int32] = []
    defer { for descriptor in theirs where descriptor > 2 { Glibc.close(descriptor) } }
    do throws(UVError) {
      for (number, stream) in [options.stdin, options.stdout, options.stderr].enumerated() {
        let ends = try connect(stream, Int32(number), on: loop)
        ours.append(ends.ours)
        theirs.append(ends.theirs)
      }
      let pid = Spawn.start(
        executable, words: [name] + options.arguments, environment: options.environment,
        workingDirectory: options.workingDirectory, newSession: options.newSession,
        descriptors: theirs + options.inherited)
      try UVError.check(pid, operation)
      let child = try watch(pid, leadsGroup: options.newSession, operation, on: loop)
      (child.stdin, child.stdout, child.stderr) = (ours[0], ours[1], ours[2])
      return child
    } catch {
      for stream in ours { stream?.close() }
      throw error
    }
  }

  /// The node's end of a stream if it is a pipe, and the child's; -1 stands for /dev/null.
  private static func connect(
    _ stream: Stream, _ number: Int32, on loop: EventLoop
  ) throws(UVError) -> (ours: PipeStream?, theirs: Int32) {
    switch stream {
    case .null: return (nil, -1)
    case .inherit: return (nil, number)
    case .pipe:
      let pipe = try PipeStream.make(ourEnd: number == 0 ? 1 : 0, on: loop)
      return (pipe.ours, pipe.theirs)
    }
  }

  /// Waits for the end of a process that has just started.
  private static func watch(
    _ pid: Int32, leadsGroup: Bool, _ operation: String, on loop: EventLoop
  ) throws(UVError) -> ChildProcess {
    let descriptor = pidfd_open(pid, 0)
    guard descriptor >= 0 else {
      let error = UVError(errno: errno, operation: operation)
      // Without a descriptor nobody would see its end.
      Glibc.kill(pid, SIGKILL)
      waitpid(pid, nil, 0)
      throw error
    }
    let child = ChildProcess(pid: pid, descriptor: descriptor, leadsGroup: leadsGroup, on: loop)
    let handle: UnsafeMutablePointer<uv_poll_t> = child.pointer()
    let code = uv_poll_init(loop.uv, handle, descriptor)
    precondition(code == 0, "uv_poll_init: \(code)")
    child.opened()
    loop.children.insert(pid)
    uv_poll_start(handle, Int32(UV_READABLE.rawValue)) { handle, _, _ in
      let child = ChildProcess.of(handle!)
      child.loop.inside { _ in child.reap() }
    }
    return child
  }

  private func reap() {
    var information: Int32 = 0
    let reaped = waitpid(pid, &information, WNOHANG)
    guard reaped != 0 else { return }
    precondition(reaped == pid, "somebody else reaped process \(pid)")
    loop.children.remove(pid)
    uv_poll_stop(pointer())
    end.resolve(ExitStatus(waitStatus: information))
    if isClosed { closeHandle() }
  }

  /// Waits for the end. Any number of tasks may wait, also after `close`.
  public func exit() async -> ExitStatus { await end.value() }

  /// Sends a signal to the process, unless it has ended.
  public func kill(_ signal: Int32) {
    loop.preconditionCurrent()
    if status == nil { Glibc.kill(pid, signal) }
  }

  /// Sends a signal to all of its process group, unless it has ended. It must have a session of its own.
  public func killGroup(_ signal: Int32) {
    loop.preconditionCurrent()
    precondition(leadsGroup, "the child shares the group of this process")
    if status == nil { Glibc.kill(-pid, signal) }
  }

  /// A child that still runs is not touched, and remains among the live handles until it ends and is reaped.
  override func closeHandle() {
    guard status != nil else { return }
    super.closeHandle()
    // Not before: uv_close takes the number out of epoll once more, whoever has it by then.
    Glibc.close(descriptor)
  }
}

extension EventLoop {
  /// From now on descendants whose parent has ended become children of this process instead of pid 1's (prctl(2),
  /// PR_SET_CHILD_SUBREAPER); it has to reap them (`reapOrphan`).
  public func adoptOrphans() { _ = hero_adopt_orphans() }

  /// Whether this child of the process came to it by `adoptOrphans`, not by `ChildProcess`. On the loop.
  public func isOrphan(_ pid: Int32) -> Bool {
    preconditionCurrent()
    return !children.contains(pid)
  }

  /// Reaps an adopted child that has ended. On the loop.
  public func reapOrphan(_ pid: Int32) {
    if isOrphan(pid) { waitpid(pid, nil, WNOHANG) }
  }
}
