import EventLoop
import Glibc
import Logging

// Nothing of a job outlives it, and nothing outlives the node. Each job's launcher sees to that (Sources/CLauncher). What
// is here is for launchers that are killed themselves, which a job that has the node's own user id can do: the descendants
// of such a launcher come to the node (prctl(2), PR_SET_CHILD_SUBREAPER), and are killed and reaped. When the node dies or
// stands still, the guard process tells the launchers to end their jobs.

public actor ProcessGuard {
  nonisolated let loop: EventLoop
  public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  private let command: [String]?
  private let logger: Logger
  /// Launchers of running jobs.
  private var launchers: Set<Int32> = []
  private var guardian: ChildProcess?
  private var childSignals: SignalSource?
  private var isSweepDue = false
  /// The last look at the process table that was planned; it begins when the one before is over.
  private var sweep: Task<Void, Never>?
  private var replacement: Task<Void, Never>?
  private var isClosed = false
  /// Whether orphans come to this process. Until then its other children are no business of the jobs.
  private var isAdopting = false
  /// Until when jobs may run, where a lease says so.
  private var lifeEnd: ContinuousClock.Instant?

  /// - Parameter command: program and arguments of the guard process (`GuardProcess.run`); `nil` for none.
  public init(loop: EventLoop, command: [String]?, logger: Logger) {
    self.loop = loop
    self.command = command
    self.logger = logger
  }

  /// Starts the guard process and adopts orphans from now on.
  public func start() throws(UVError) {
    loop.adoptOrphans()
    isAdopting = true
    childSignals = try SignalSource(SIGCHLD, on: loop) { [unowned self] in
      self.assumeIsolated { $0.scheduleSweep() }
    }
    try startGuardian()
  }

  /// A job's launcher exists.
  func add(_ pid: Int32) {
    launchers.insert(pid)
    guardian?.stdin?.write(Array("+\(pid)\n".utf8))
  }

  /// It has ended.
  func remove(_ pid: Int32) {
    launchers.remove(pid)
    guardian?.stdin?.write(Array("-\(pid)\n".utf8))
  }

  /// The guard kills what runs when this instant comes, unless it is told of a later one: a node that has stopped may not
  /// be able to.
  func expectLife(until end: ContinuousClock.Instant) {
    lifeEnd = end
    tellLifeEnd()
  }

  /// Whether jobs may not run any more. A node that stood still may be about to start one before it is told.
  var isLifeOver: Bool { lifeEnd.map { $0 <= .now } ?? false }

  private func tellLifeEnd() {
    guard let lifeEnd else { return }
    let milliseconds = GuardProcess.nowMilliseconds + Int64((lifeEnd - ContinuousClock.now) / .milliseconds(1))
    guardian?.stdin?.write(Array("=\(milliseconds)\n".utf8))
  }

  /// Ends the guard process. No job runs any more, and nothing of this waits on the loop afterwards.
  public func close() async {
    isClosed = true
    childSignals?.close()
    sweep?.cancel()
    await sweep?.value
    await killOrphans()
    if let guardian {
      guardian.stdin?.close()
      _ = await guardian.exit()
      guardian.close()
    }
    replacement?.cancel()
    await replacement?.value
  }

  private func startGuardian() throws(UVError) {
    guard let command else { return }
    let child = try ChildProcess.spawn(
      ChildProcess.Options(
        executable: command[0], name: "hero-supervisor", arguments: Array(command.dropFirst()), environment: [],
        stdin: .pipe, stdout: .null,
        stderr: .inherit, newSession: true), on: loop)
    guardian = child
    for pid in launchers { child.stdin?.write(Array("+\(pid)\n".utf8)) }
    tellLifeEnd()
    replacement = Task(executorPreference: loop) { await self.replaceGuardian(after: child) }
  }

  /// The node does not stay without a guard.
  private func replaceGuardian(after child: ChildProcess) async {
    let status = await child.exit()
    guard !isClosed else { return }
    logger.error("the guard process ended, starting another", metadata: ["status": "\(status)"])
    child.close()
    guardian = nil
    while !isClosed {
      do { return try startGuardian() } catch {
        logger.error("cannot start the guard process, trying again in a second", metadata: ["error": "\(error)"])
        try? await loop.sleep(for: .seconds(1))
      }
    }
  }

  // MARK: Orphans

  /// At most one look at the process table in 100 ms, however many children end.
  private func scheduleSweep() {
    guard !isSweepDue, !isClosed else { return }
    isSweepDue = true
    let before = sweep
    sweep = Task(executorPreference: loop) { await self.killOrphans(after: .milliseconds(100), before) }
  }

  private func killOrphans(after time: Duration, _ before: Task<Void, Never>?) async {
    let isDue = (try? await loop.sleep(for: time)) != nil
    await before?.value
    isSweepDue = false
    if isDue { await killOrphans() }
  }

  /// Kills and reaps the descendants of launchers that were killed. They come one generation after the other, and may
  /// fork all the while, so it looks again and again until there are none, for a second at most.
  func killOrphans() async {
    guard isAdopting else { return }
    wakeStopped()
    let deadline = ContinuousClock.now + .seconds(1)
    var killed: Set<Int32> = []
    while ContinuousClock.now < deadline {
      // On the loop, where children are started: none of its own can be among them.
      let orphans = ProcessTable.children().filter(loop.isOrphan)
      if orphans.isEmpty { break }
      for pid in orphans {
        kill(pid, SIGKILL)
        loop.reapOrphan(pid)
        killed.insert(pid)
      }
      try? await loop.sleep(for: .zero)
    }
    guard !killed.isEmpty else { return }
    logger.warning("killed processes whose launcher was gone", metadata: ["processes": "\(killed.count)"])
  }

  /// A job that has the node's own user id may have stopped its launcher, which then does not see the job's end.
  private func wakeStopped() {
    for pid in launchers {
      var change = siginfo_t()
      if waitid(P_PID, id_t(pid), &change, WSTOPPED | WNOHANG) == 0, change.si_signo != 0 { kill(pid, SIGCONT) }
    }
  }
}
