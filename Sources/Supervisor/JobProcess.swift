import EventLoop
import Glibc

// One child process of a job, from its start until nothing of it is left: its output, its time limit, its end.

/// How a job's process ended.
enum JobEnding: Sendable {
  case exited(Int64)
  case signalled(Int32)
  /// Its time was over.
  case timedOut
  /// Someone stopped it; the reason in words.
  case stopped(String)
}

actor JobProcess {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  nonisolated let pid: Int32

  private let child: ChildProcess
  private let killGrace: Duration
  private var stdout: OutputCapture
  private var stderr: OutputCapture
  /// Why it was told to end, if it was.
  private var cause: JobEnding?
  private let clock: Timer
  private var openStreams = 0
  private let streams: Waiters

  /// Starts the child in its own session. On the loop.
  init(_ options: ChildProcess.Options, maxOutputBytes: Int, killGrace: Duration, on loop: EventLoop) throws(UVError) {
    self.loop = loop
    streams = Waiters(on: loop)
    child = try ChildProcess.spawn(options, on: loop)
    pid = child.pid
    self.killGrace = killGrace
    stdout = OutputCapture(limit: maxOutputBytes)
    stderr = OutputCapture(limit: maxOutputBytes)
    clock = Timer(on: loop)
  }

  /// Feeds `input`, collects the output, and answers when the process has ended and its group was killed.
  /// - Parameter timeout: from now until SIGTERM; `nil` for no limit.
  func run(input: [UInt8]?, timeout: Duration?) async -> JobEnding {
    collect(child.stdout, isError: false)
    collect(child.stderr, isError: true)
    if let timeout, cause == nil {
      clock.schedule(after: timeout) { [unowned self] in self.assumeIsolated { $0.end(.timedOut) } }
    }
    if let input, !input.isEmpty { child.stdin?.write(input) }
    Task(executorPreference: loop) { await self.endInput() }
    let status = await child.exit()
    // The group may have other members, which hold on to the output: a job ends with its main process.
    Glibc.kill(-pid, SIGKILL)
    clock.cancel()
    child.stdin?.close()
    if let cause { return cause }
    return status.signal != 0 ? .signalled(status.signal) : .exited(status.code)
  }

  /// After `run`: waits until nobody can write output any more.
  /// - Returns: whether that was so in time; something outside the group may still hold the output.
  func outputEnded(within time: Duration) async -> Bool {
    await streams.waitUnlessCancelled(while: { openStreams > 0 }, atMost: time)
  }

  /// The last call: lets go of everything.
  func close() {
    for stream in [child.stdout, child.stderr] { stream?.close() }
    clock.close()
    child.close()
  }

  /// Ends it early: SIGTERM to the group, then SIGKILL after the grace. The first reason stays.
  func stop(_ reason: String) { end(.stopped(reason)) }

  /// Ends it at once: SIGKILL to the group.
  func kill(_ reason: String) {
    if cause == nil { cause = .stopped(reason) }
    child.killGroup(SIGKILL)
  }

  private func end(_ cause: JobEnding) {
    guard self.cause == nil else { return }
    self.cause = cause
    child.killGroup(SIGTERM)
    clock.schedule(after: killGrace) { [unowned self] in self.assumeIsolated { $0.child.killGroup(SIGKILL) } }
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
