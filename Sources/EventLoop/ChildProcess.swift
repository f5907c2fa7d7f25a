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
}

/// A child process, from its start until it is reaped.
public final class ChildProcess: LoopHandle, @unchecked Sendable {
  // @unchecked: as LoopHandle.

  /// What a standard stream of the child is connected to.
  public enum Stream: Hashable, Sendable {
    case null
    case pipe
    case inherit
    case descriptor(Int32)
  }

  public struct Options: Sendable {
    /// A path, or a name to be looked up in the child's `PATH`.
    public var executable: String
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
    public var uid: UInt32?
    public var gid: UInt32?

    public init(
      executable: String, arguments: [String] = [], environment: [String] = [], workingDirectory: String? = nil,
      stdin: Stream = .null, stdout: Stream = .null, stderr: Stream = .null, newSession: Bool = false,
      uid: UInt32? = nil, gid: UInt32? = nil
    ) {
      self.executable = executable
      self.arguments = arguments
      self.environment = environment
      self.workingDirectory = workingDirectory
      self.stdin = stdin
      self.stdout = stdout
      self.stderr = stderr
      self.newSession = newSession
      self.uid = uid
      self.gid = gid
    }
  }

  /// The process's number, meaningful until `exit` has answered.
  public private(set) var pid: Int32 = 0
  /// The node's ends of the pipes; each is closed by its user.
  public private(set) var stdin: PipeStream?
  public private(set) var stdout: PipeStream?
  public private(set) var stderr: PipeStream?
  private let leadsGroup: Bool
  private var isRunning = false
  private var status: ExitStatus?
  private var waiters: [CheckedContinuation<ExitStatus, Never>] = []

  private init(leadsGroup: Bool, on loop: EventLoop) {
    self.leadsGroup = leadsGroup
    super.init(uv_process_t.self, kind: "process", on: loop)
  }

  /// Starts a program. It gets the default action for every signal, an empty signal mask, and no descriptor but the
  /// three; with a `uid` or `gid`, no supplementary group (setgroups(2)).
  /// - Throws: what execve(2), fork(2), chdir(2) or setuid(2) refused; `UVError.invalid` for a string with a zero byte
  ///   in it, and for a `uid` without a `gid`, which would leave the user with root's group. No handle is left then.
  public static func spawn(_ options: Options, on loop: EventLoop) throws(UVError) -> ChildProcess {
    let operation = "run \(options.executable)"
    let strings = [options.executable, options.workingDirectory ?? ""] + options.arguments + options.environment
    guard strings.allSatisfy({ !$0.utf8.contains(0) }), options.uid == nil || options.gid != nil else {
      throw UVError(code: UVError.invalid, operation: operation)
    }
    let child = ChildProcess(leadsGroup: options.newSession, on: loop)
    var theirEnds: [Int32] = []
    defer { for descriptor in theirEnds { Glibc.close(descriptor) } }
    do throws(UVError) {
      var stdio: [uv_stdio_container_t] = []
      child.stdin = try connect(options.stdin, 0, &stdio, &theirEnds, on: loop)
      child.stdout = try connect(options.stdout, 1, &stdio, &theirEnds, on: loop)
      child.stderr = try connect(options.stderr, 2, &stdio, &theirEnds, on: loop)
      let code = child.spawn(options, &stdio)
      // libuv has initialised the handle even when it fails, so it must be closed in any case.
      child.opened()
      try UVError.check(code, operation)
    } catch {
      for stream in [child.stdin, child.stdout, child.stderr] { stream?.close() }
      child.close()
      throw error
    }
    child.isRunning = true
    let process: UnsafeMutablePointer<uv_process_t> = child.pointer()
    child.pid = process.pointee.pid
    return child
  }

  /// Says in `stdio` what the child's `descriptor` is, and answers the node's end of it if it is a pipe.
  private static func connect(
    _ stream: Stream, _ descriptor: Int32, _ stdio: inout [uv_stdio_container_t], _ theirEnds: inout [Int32],
    on loop: EventLoop
  ) throws(UVError) -> PipeStream? {
    var container = uv_stdio_container_t()
    var ours: PipeStream?
    container.flags = UV_INHERIT_FD
    switch stream {
    case .null: container.flags = UV_IGNORE
    case .inherit: container.data.fd = descriptor
    case .descriptor(let other): container.data.fd = other
    case .pipe:
      let pipe = try PipeStream.make(ourEnd: descriptor == 0 ? 1 : 0, on: loop)
      ours = pipe.ours
      theirEnds.append(pipe.theirs)
      container.data.fd = pipe.theirs
    }
    stdio.append(container)
    return ours
  }

  private func spawn(_ options: Options, _ stdio: inout [uv_stdio_container_t]) -> Int32 {
    withCStrings([options.executable] + options.arguments) { arguments in
      withCStrings(options.environment) { environment in
        withOptionalCString(options.workingDirectory) { directory in
          stdio.withUnsafeMutableBufferPointer { stdio in
            var native = uv_process_options_t()
            native.file = UnsafePointer(arguments[0])
            native.args = arguments
            native.env = environment
            native.cwd = directory
            native.stdio = stdio.baseAddress
            native.stdio_count = Int32(stdio.count)
            if options.newSession { native.flags |= UV_PROCESS_DETACHED.rawValue }
            if let uid = options.uid {
              native.flags |= UV_PROCESS_SETUID.rawValue
              native.uid = uid
            }
            if let gid = options.gid {
              native.flags |= UV_PROCESS_SETGID.rawValue
              native.gid = gid
            }
            native.exit_cb = { process, code, signal in
              let child = ChildProcess.of(process!)
              child.loop.inside { _ in child.ended(ExitStatus(code: code, signal: signal)) }
            }
            return uv_spawn(loop.uv, pointer(), &native)
          }
        }
      }
    }
  }

  private func ended(_ status: ExitStatus) {
    self.status = status
    isRunning = false
    let waiters = self.waiters
    self.waiters = []
    for waiter in waiters { waiter.resume(returning: status) }
    if isClosed { super.closeHandle() }
  }

  /// Waits for the end. Any number of tasks may wait, also after `close`.
  public func exit() async -> ExitStatus {
    loop.preconditionCurrent()
    if let status { return status }
    return await withCheckedContinuation { waiters.append($0) }
  }

  /// Sends a signal to the process, unless it has ended.
  public func kill(_ signal: Int32) {
    loop.preconditionCurrent()
    if hasOwnNumber { Glibc.kill(pid, signal) }
  }

  /// Sends a signal to all of its process group, unless it has ended. It must have a session of its own.
  public func killGroup(_ signal: Int32) {
    loop.preconditionCurrent()
    precondition(leadsGroup, "the child shares the group of this process")
    if hasOwnNumber { Glibc.kill(-pid, signal) }
  }

  /// Whether `pid` is still its number: not once libuv has reaped it, which may be a little before `ended` tells.
  private var hasOwnNumber: Bool {
    var information = siginfo_t()
    return isRunning && waitid(P_PID, id_t(pid), &information, WEXITED | WNOHANG | WNOWAIT) == 0
  }

  /// From now on descendants whose parent has ended become children of this process instead of pid 1's (prctl(2),
  /// PR_SET_CHILD_SUBREAPER); it has to reap them.
  public static func adoptOrphans() { _ = hero_adopt_orphans() }

  /// A child that still runs is not touched, and remains among the live handles until it ends and is reaped.
  override func closeHandle() {
    if !isRunning { super.closeHandle() }
  }
}

/// A null-terminated array of C strings, valid during the call.
private func withCStrings<Result>(
  _ strings: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
  // One block for all characters instead of an allocation a string.
  var characters: [CChar] = []
  characters.reserveCapacity(strings.reduce(0) { $0 + $1.utf8.count + 1 })
  var offsets: [Int] = []
  for string in strings {
    offsets.append(characters.count)
    for byte in string.utf8 { characters.append(CChar(bitPattern: byte)) }
    characters.append(0)
  }
  return characters.withUnsafeMutableBufferPointer { characters in
    var pointers: [UnsafeMutablePointer<CChar>?] = offsets.map { characters.baseAddress! + $0 }
    pointers.append(nil)
    return pointers.withUnsafeMutableBufferPointer { body($0.baseAddress!) }
  }
}

private func withOptionalCString<Result>(_ string: String?, _ body: (UnsafePointer<CChar>?) -> Result) -> Result {
  guard let string else { return body(nil) }
  return string.withCString(body)
}
