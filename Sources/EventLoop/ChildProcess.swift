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

  public private(set) var pid: Int32 = 0
  /// The node's ends of the pipes; each is closed by its user.
  public let stdin: PipeStream?
  public let stdout: PipeStream?
  public let stderr: PipeStream?
  private let leadsGroup: Bool
  private var status: ExitStatus?
  private var waiters: [CheckedContinuation<ExitStatus, Never>] = []

  private init(_ options: Options, on loop: EventLoop) {
    func end(_ stream: Stream) -> PipeStream? { stream == .pipe ? PipeStream(on: loop) : nil }
    stdin = end(options.stdin)
    stdout = end(options.stdout)
    stderr = end(options.stderr)
    leadsGroup = options.newSession
    super.init(uv_process_t.self, kind: "process", on: loop)
  }

  /// Starts a program.
  /// - Throws: what execve(2), fork(2), chdir(2) or setuid(2) refused; no handle is left then.
  public static func spawn(_ options: Options, on loop: EventLoop) throws(UVError) -> ChildProcess {
    let child = ChildProcess(options, on: loop)
    let code = child.spawn(options)
    // libuv has initialised the handle even when it fails, so it must be closed in any case.
    child.opened()
    guard code == 0 else {
      for stream in [child.stdin, child.stdout, child.stderr] { stream?.close() }
      child.close()
      throw UVError(code: code, operation: "run \(options.executable)")
    }
    let process: UnsafeMutablePointer<uv_process_t> = child.pointer()
    child.pid = process.pointee.pid
    return child
  }

  private func spawn(_ options: Options) -> Int32 {
    withCStrings([options.executable] + options.arguments) { arguments in
      withCStrings(options.environment) { environment in
        withOptionalCString(options.workingDirectory) { directory in
          var stdio = [
            container(options.stdin, stdin, 0, UV_READABLE_PIPE),
            container(options.stdout, stdout, 1, UV_WRITABLE_PIPE),
            container(options.stderr, stderr, 2, UV_WRITABLE_PIPE),
          ]
          return stdio.withUnsafeMutableBufferPointer { stdio in
            var native = uv_process_options_t()
            native.file = UnsafePointer(arguments[0])
            native.args = arguments
            native.env = environment
            native.cwd = directory
            native.stdio = stdio.baseAddress
            native.stdio_count = 3
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

  private func container(
    _ stream: Stream, _ end: PipeStream?, _ descriptor: Int32, _ direction: uv_stdio_flags
  ) -> uv_stdio_container_t {
    var container = uv_stdio_container_t()
    switch stream {
    case .null: container.flags = UV_IGNORE
    case .pipe:
      container.flags = uv_stdio_flags(UV_CREATE_PIPE.rawValue | direction.rawValue)
      container.data.stream = end!.pointer()
    case .inherit:
      container.flags = UV_INHERIT_FD
      container.data.fd = descriptor
    case .descriptor(let other):
      container.flags = UV_INHERIT_FD
      container.data.fd = other
    }
    return container
  }

  private func ended(_ status: ExitStatus) {
    self.status = status
    let waiters = self.waiters
    self.waiters = []
    for waiter in waiters { waiter.resume(returning: status) }
  }

  /// Waits for the end. Any number of tasks may wait.
  public func exit() async -> ExitStatus {
    if let status { return status }
    return await withCheckedContinuation { waiters.append($0) }
  }

  /// Sends a signal to the process, unless it has ended.
  public func kill(_ signal: Int32) {
    loop.preconditionCurrent()
    if status == nil && !isClosed { uv_process_kill(pointer(), signal) }
  }

  /// Sends a signal to all of its process group, unless it has ended. It must have a session of its own.
  public func killGroup(_ signal: Int32) {
    loop.preconditionCurrent()
    precondition(leadsGroup, "the child shares the group of this process")
    if status == nil && !isClosed { Glibc.kill(-pid, signal) }
  }

  /// From now on descendants whose parent has ended become children of this process instead of pid 1's (prctl(2),
  /// PR_SET_CHILD_SUBREAPER); it has to reap them.
  public static func adoptOrphans() { _ = hero_adopt_orphans() }

  override func willClose() {
    if status == nil { ended(ExitStatus(code: -1, signal: 0)) }
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
