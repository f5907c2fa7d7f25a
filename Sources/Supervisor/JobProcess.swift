import EventLoop
import Glibc

// The processes of a job, from its start until nothing of it is left: its output, its time limit, its end. The node's own
// child is the launcher, which has the job's main process for a child and ends when nothing of the job is left.

/// How a job's process ended.
enum JobEnding: Hashable, Sendable {
  case exited(Int64)
  case signalled(Int32)
  /// The kernel ended it by SIGXCPU, since it used more processor time than it may, in seconds; or by SIGKILL, which does to
  /// one that ignores SIGXCPU, a second later, and may have come from elsewhere.
  case outOfProcessorTime(limit: Int, signal: Int32)
  /// Its time was over.
  case timedOut
  /// Someone stopped it; the reason in words.
  case stopped(String)
  /// Its command could not be started.
  case notStarted(UVError)
  /// The kernel killed it, since its control group used more memory than it may.
  case outOfMemory
  /// Its launcher was ended by this signal, so nobody knows how it ended.
  case lost(signal: Int32)
}

actor JobProcess {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  /// The launcher's.
  nonisolated let pid: Int32

  private let child: ChildProcess
  private let order: MemoryFile
  private let group: ControlGroups.Group?
  private let command: String
  private let cpuSeconds: Int?
  private let killGrace: Duration
  private var stdout: OutputCapture
  private var stderr: OutputCapture
  /// Why it was told to end, if it was.
  private var cause: JobEnding?
  private let clock: Timer
  private var openStreams = 0
  /// After `run`: whether its launcher ended before all of it was gone.
  private(set) var hasSurvivors = false
  private let streams: Waiters

  /// Starts the launcher. On the loop.
  /// - Parameters:
  ///   - directory: where the job starts.
  ///   - group: its control group, which the caller closes.
  ///   - readsInput: whether `run` gets the job's standard input, which is empty otherwise.
  init(
    _ order: LaunchOrder, job: JobID, in directory: String, readsInput: Bool, by launcher: Launcher,
    group: ControlGroups.Group? = nil, maxOutputBytes: Int, killGrace: Duration, on loop: EventLoop
  ) throws(UVError) {
    self.loop = loop
    streams = Waiters(on: loop)
    command = order.command[0]
    cpuSeconds = order.limits.cpuSeconds
    self.group = group
    var order = order
    order.hasGroup = group != nil
    self.order = try MemoryFile(try order.encoded(in: directory))
    do throws(UVError) {
      child = try ChildProcess.spawn(
        launcher.options(
          order: self.order, id: job, directory: directory, stdin: readsInput ? .pipe : .null, group: group), on: loop)
    } catch {
      self.order.close()
      throw error
    }
    pid = child.pid
    self.killGrace = killGrace
    stdout = OutputCapture(limit: maxOutputBytes)
    stderr = OutputCapture(limit: maxOutputBytes)
    clock = Timer(on: loop)
  }

  /// Feeds `input`, collects the output, and answers when nothing of the job is left.
  /// - Parameter timeout: from now until SIGTERM; `nil` for no limit.
  func run(input: [UInt8]?, timeout: Duration?) async -> JobEnding {
    collect(child.stdout, isError: false)
    collect(child.stderr, isError: true)
    if let timeout, cause == nil {
      clock.schedule(after: timeout) { [unowned self] in self.assumeIsolated { $0.end(.timedOut) } }
    }
    if let input, !input.isEmpty { child.stdin?.write(input) }
    Task(executorPreference: loop) { await self.endInput() }
    let end = await child.exit()
    clock.cancel()
    child.stdin?.close()
    let report = LaunchReport(from: order, command: command)
    if case .missing = report { hasSurvivors = true }
    if case .failed(let error) = report { return .notStarted(error) }
    if let cause { return cause }
    guard case .ended(let status, let hasSurvivors) = report else { return .lost(signal: end.signal) }
    self.hasSurvivors = hasSurvivors
    if status.signal == SIGKILL, let group, group.killedForMemory > 0 { return .outOfMemory }
    if let cpuSeconds, status.signal == SIGXCPU || status.signal == SIGKILL {
      return .outOfProcessorTime(limit: cpuSeconds, signal: status.signal)
    }
    return status.signal != 0 ? .signalled(status.signal) : .exited(status.code)
  }

  /// After `run`: waits until nobody can write output any more.
  /// - Returns: whether that was so in time; something that is no descendant of the launcher may still hold the output.
  func outputEnded(within time: Duration) async -> Bool {
    await streams.waitUnlessCancelled(while: { openStreams > 0 }, atMost: time)
  }

  /// The last call: lets go of everything.
  func close() {
    for stream in [child.stdout, child.stderr] { stream?.close() }
    clock.close()
    child.close()
    order.close()
  }

  /// Ends it early: SIGTERM to its process group, then SIGKILL to all of it after the grace. The first reason stays.
  func stop(_ reason: String) { end(.stopped(reason)) }

  /// Ends it at once: SIGKILL to all of it.
  func kill(_ reason: String) {
    if cause == nil { cause = .stopped(reason) }
    killAll()
  }

  private func killAll() {
    child.kill(SIGQUIT)
    // A job with the node's own user id may have stopped its launcher, and stop it again and again: then the launcher is
    // killed itself, and what it leaves comes to the node.
    child.kill(SIGCONT)
    clock.schedule(after: Self.launcherTime) { [unowned self] in self.assumeIsolated { $0.child.kill(SIGKILL) } }
  }

  /// A launcher that was told to kill gives up after two to three seconds.
  private static var launcherTime: Duration { .seconds(5) }

  private func end(_ cause: JobEnding) {
    guard self.cause == nil else { return }
    self.cause = cause
    child.kill(SIGTERM)
    clock.schedule(after: killGrace) { [unowned self] in self.assumeIsolated { $0.killAll() } }
  }

  /// What it wrote so far.
  var output: JobOutput {
    JobOutput(
      stdout: stdout.bytes, stderr: stderr.bytes, stdoutDropped: stdout.dropped, stderrDropped: stderr.dropped)
  }
  /// Standard output as the job's result.
  var text: String { stdout.text }
  /// The end of standard error, which explains a failure.
  var errorEnd: String { stderr.end() }

  /// A child that does not read its input is no error.
  private func endInput() async {
    try? await child.stdin?.shutdownWrite()
    child.stdin?.close()
  }

  private func collect(_ stream: PipeStream?, isError: Bool) {
    guard let stream else { return }
    openStreams += 1
    stream.startReading { [unowned self] event in
      self.assumeIsolated { me in
        guard case .bytes(let bytes) = event else { return me.ended(stream) }
        if isError { me.stderr.append(bytes) } else { me.stdout.append(bytes) }
      }
    }
  }

  private func ended(_ stream: PipeStream) {
    guard !stream.isClosed else { return }
    stream.close()
    openStreams -= 1
    streams.resumeAll()
  }
}
