import EventLoop
import Glibc
import Testing

@testable import Supervisor

/// Nothing of a job is alive when its launcher has ended, whatever the job did, and whichever way it ended.
@Suite("Nothing of a job outlives it", .timeLimit(.minutes(5)))
struct ContainmentTests {
  /// Ways to get away. Each runs `sh DIR/stay`, or `sh DIR/again`, in the background; both hold on to the job's output.
  static let escapes: [String: String] = [
    "a child": "sh DIR/stay &",
    "a session of its own": "setsid sh DIR/stay &",
    "without an environment": "setsid env -i PATH=$PATH sh DIR/stay > /dev/null 2>&1 &",
    "with the identity of another job": "HERO_JOB_ID=other HERO_INSTANCE=other setsid sh DIR/stay &",
    "without a parent": "(setsid sh DIR/stay & exec true)",
    "twice without a parent": "(setsid sh -c '(setsid sh DIR/stay & exec true); exec true' & exec true)",
    "deaf to signals": "setsid sh -c \"trap '' TERM HUP INT QUIT; sh DIR/stay\" &",
    "stopped": "setsid sh -c ': > DIR/escaped; kill -STOP $$; sh DIR/stay' &",
    "a new process every millisecond": "setsid sh DIR/again > /dev/null 2>&1 &",
    "many of those": "for i in 1 2 3 4; do setsid sh DIR/again > /dev/null 2>&1 & done",
    "a chain of parents": #"setsid sh -c 'sh -c "sh DIR/stay & sh DIR/stay" & sh DIR/stay' &"#,
  ]

  /// Waits until it has got away, however busy the machine is.
  private static func wait(in directory: String) -> String {
    "until [ -e '\(directory)/escaped' ]; do sleep 0.01; done"
  }

  static func prepare(_ fixture: LaunchFixture) throws {
    let directory = fixture.scratch.path
    try #require(
      ScratchDirectory.shell(
        """
        cd '\(directory)' && echo ': > \(directory)/escaped; while :; do sleep 0.1; done' > stay
        echo ': > \(directory)/escaped; setsid sh \(directory)/again & exit 0' > again && chmod 1777 .
        """))
  }

  /// Runs a job that escapes, waits until it has, and ends it.
  private func check(
    _ fixture: LaunchFixture, _ name: String, identity: (uid: UInt32, gid: UInt32)?, isSandboxed: Bool = false,
    then end: String,
    during: (@Sendable (JobProcess) async throws -> Void)? = nil
  ) async throws {
    let directory = fixture.scratch.path
    let escape = Self.escapes[name]!.replacing("DIR", with: directory)
    let job = try await fixture.run(
      "\(escape)\n\(Self.wait(in: directory))\n\(end)",
      order: {
        $0.identity = identity
        $0.forbidsNewPrivileges = identity != nil
        if isSandboxed { try LaunchFixture.sandbox(&$0) }
      }, during: during)
    #expect(access("\(directory)/escaped", F_OK) == 0, "\(name): it has not even begun")
    // The launcher has ended: at this moment nothing may be there.
    let left = LaunchFixture.processes(with: directory)
    #expect(left.isEmpty, "\(name): \(left), \(job)")
    for pid in left { kill(pid, SIGKILL) }
  }

  @Test("when it ends by itself", arguments: escapes.keys.sorted())
  func end(escape: String) async throws {
    try await LaunchFixture.with { fixture in
      try Self.prepare(fixture)
      try await check(fixture, escape, identity: nil, then: "exit 0")
    }
  }

  @Test(
    "when it ends as another user", .enabled(if: LaunchFixture.isRoot, "needs root"), arguments: escapes.keys.sorted())
  func endOfUser(escape: String) async throws {
    try await LaunchFixture.with { fixture in
      try Self.prepare(fixture)
      try await check(fixture, escape, identity: LaunchFixture.nobody, then: "exit 0")
    }
  }

  @Test(
    "when it ends in a sandbox", .enabled(if: LaunchFixture.canSandbox, "needs user namespaces"),
    arguments: escapes.keys.sorted())
  func endOfSandbox(escape: String) async throws {
    try await LaunchFixture.with { fixture in
      try Self.prepare(fixture)
      try await check(fixture, escape, identity: nil, isSandboxed: true, then: "exit 0")
    }
  }

  @Test("when it is stopped, and when it is killed", arguments: escapes.keys.sorted(), [true, false])
  func stopped(escape: String, isGentle: Bool) async throws {
    try await checkStopped(escape, isGentle: isGentle, isSandboxed: false)
  }

  @Test(
    "when it is stopped, and when it is killed, in a sandbox",
    .enabled(if: LaunchFixture.canSandbox, "needs user namespaces"), arguments: escapes.keys.sorted(), [true, false])
  func stoppedInSandbox(escape: String, isGentle: Bool) async throws {
    try await checkStopped(escape, isGentle: isGentle, isSandboxed: true)
  }

  private func checkStopped(_ escape: String, isGentle: Bool, isSandboxed: Bool) async throws {
    try await LaunchFixture.with { fixture in
      try Self.prepare(fixture)
      try await check(
        fixture, escape, identity: nil, isSandboxed: isSandboxed,
        then: "echo here; trap '' TERM; while :; do sleep 0.01; done",
        during: { process in
          while await process.text.isEmpty { try await Task.sleep(for: .milliseconds(2)) }
          if isGentle { await process.stop("enough") } else { await process.kill("enough") }
        })
    }
  }

  @Test("when its node is gone", arguments: escapes.keys.sorted())
  func nodeGone(escape: String) async throws { try await checkNodeGone(escape, isSandboxed: false) }

  @Test(
    "when its node is gone, in a sandbox", .enabled(if: LaunchFixture.canSandbox, "needs user namespaces"),
    arguments: escapes.keys.sorted())
  func nodeGoneOfSandbox(escape: String) async throws { try await checkNodeGone(escape, isSandboxed: true) }

  private func checkNodeGone(_ escape: String, isSandboxed: Bool) async throws {
    try await LaunchFixture.with { outer in
      try Self.prepare(outer)
      let directory = outer.scratch.path
      let script = Self.escapes[escape]!.replacing("DIR", with: directory)
      let loop = outer.loop
      try await Task(executorPreference: loop) {
        // Its end of the pipe closes with the launcher's object, as with the node's process.
        var launcher: Launcher? = try Launcher()
        var order = LaunchOrder(
          command: ["/bin/sh", "-c", "\(script)\n\(Self.wait(in: directory))\necho here; while :; do sleep 1; done"],
          environment: ["PATH=/usr/bin:/bin"])
        if isSandboxed { try LaunchFixture.sandbox(&order) }
        let process = try JobProcess(
          order, job: JobID(trusted: "job"), in: directory, readsInput: false, by: launcher!, maxOutputBytes: 1000,
          killGrace: .seconds(1), on: loop)
        let run = Task(executorPreference: loop) { await process.run(input: nil, timeout: nil) }
        while await process.text.isEmpty { try await loop.sleep(for: .milliseconds(2)) }
        #expect(access("\(directory)/escaped", F_OK) == 0)
        launcher = nil
        _ = launcher
        let ending = await run.value
        #expect(ending == .signalled(SIGKILL))
        let left = LaunchFixture.processes(with: directory)
        #expect(left.isEmpty, "\(left)")
        for pid in left { kill(pid, SIGKILL) }
        await process.close()
      }.value
    }
  }

  @Test("a launcher cannot be killed by the job of another user", .enabled(if: LaunchFixture.isRoot, "needs root"))
  func protection() async throws {
    try await LaunchFixture.with { fixture in
      let script = "ls /proc/$PPID/fd; cat /proc/$PPID/maps; kill -9 $PPID; echo still here"
      let job = try await fixture.run(script) {
        $0.identity = LaunchFixture.nobody
        $0.forbidsNewPrivileges = true
      }
      #expect(job.stdout == "still here\n" && job.ending == .exited(0), "\(job)")
    }
  }

  @Test("when it stops its launcher again and again")
  func launcherStopped() async throws {
    try await LaunchFixture.with { fixture in
      let directory = fixture.scratch.path
      try #require(
        ScratchDirectory.shell("echo 'while :; do kill -STOP $1; done' > '\(directory)/stopper'"))
      let script = "for i in 1 2 3 4; do sh \(directory)/stopper $PPID > /dev/null 2>&1 & done; echo here; wait"
      let job = try await fixture.run(
        script,
        during: { process in
          while await process.text.isEmpty { try await Task.sleep(for: .milliseconds(2)) }
          await process.kill("enough")
        })
      #expect(job.ending == .stopped("enough"))
      // In a test no node adopts and kills what the launcher left.
      for pid in LaunchFixture.processes(with: "\(directory)/stopper") { kill(pid, SIGKILL) }
    }
  }

  @Test("the launcher that a job killed is reported")
  func lost() async throws {
    try await LaunchFixture.with { fixture in
      // As the same user it may.
      let job = try await fixture.run("kill -9 $PPID; exec sleep 100")
      #expect(job.ending == .lost(signal: SIGKILL))
    }
  }
}
