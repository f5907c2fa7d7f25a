import EventLoop
import Glibc
import Testing

@testable import Supervisor

/// Each thing that the launcher sets, as the job sees it.
@Suite("The launcher gives a job", .timeLimit(.minutes(5)))
struct LauncherTests {
  @Test("its environment and nothing else, and has none itself")
  func environment() async throws {
    try await LaunchFixture.with { fixture in
      let variables = ["A=1", "B=two words\nand lines", "C=", "PATH=/bin"]
      let script = "tr '\\0' '|' < /proc/self/environ; echo; tr '\\0' '|' < /proc/$PPID/environ"
      let job = try await fixture.run(script, environment: variables)
      // The launcher may not be looked into, not even by its job, unless that is root.
      #expect(job.stdout == variables.joined(separator: "|") + "|\n", "\(job)")
      #expect(job.ending == .exited(0) || !LaunchFixture.isRoot)
    }
  }

  @Test("standard streams, its input among them, and no other descriptor")
  func descriptors() async throws {
    try await LaunchFixture.with { fixture in
      // The last one is ls's own.
      let job = try await fixture.run("ls /proc/self/fd", input: Array("x".utf8))
      #expect(job.stdout == "0\n1\n2\n3\n")
      #expect(try await fixture.run("cat", input: Array("input".utf8)).stdout == "input")
    }
  }

  @Test("a session and a process group of its own, the directory, and a parent that is not the node")
  func session() async throws {
    try await LaunchFixture.with { fixture in
      let job = try await fixture.run(
        "echo $$; cut -d' ' -f4-6 /proc/$$/stat; pwd; cat /proc/$PPID/comm; tr '\\0' ' ' < /proc/$PPID/cmdline")
      try #require(job.lines.count >= 5)
      let numbers = job.lines[1].split(separator: " ").map(String.init)
      #expect(numbers[1] == job.lines[0] && numbers[2] == job.lines[0], "\(job)")
      #expect(numbers[0] != "\(getpid())")
      #expect(job.lines[2] == fixture.scratch.path && job.lines[3] == "hero-launcher")
      // An operator sees which job it is of.
      #expect(job.lines[4] == "hero-launcher job ")
    }
  }

  @Test("default actions for all signals, none of which is blocked")
  func signals() async throws {
    try await LaunchFixture.with { fixture in
      let job = try await fixture.run { $0.command = ["/bin/cat", "/proc/self/status"] }
      for name in ["SigBlk", "SigIgn", "SigCgt"] { #expect(job.field(name) == "0000000000000000", "\(name)") }
    }
  }

  @Test("the limits that its executor has, and leaves the others")
  func limits() async throws {
    try await LaunchFixture.with { fixture in
      let lines = ["Max address space", "Max cpu time", "Max open files", "Max processes"]
      func limits(_ limits: ResourceLimits) async throws -> [String?] {
        let job = try await fixture.run {
          $0.command = ["/bin/cat", "/proc/self/limits"]
          $0.limits = limits
        }
        return lines.map { name in
          job.lines.first { $0.hasPrefix(name) }.map {
            $0.dropFirst(26).split(separator: " ").prefix(2).joined(separator: " ")
          }
        }
      }
      let own = try await limits(ResourceLimits())
      let all = ResourceLimits(memoryBytes: 1 << 30, cpuSeconds: 7, openFiles: 77, processes: 4000)
      #expect(try await limits(all) == ["1073741824 1073741824", "7 8", "77 77", "4000 4000"])
      #expect(try await limits(ResourceLimits(cpuSeconds: 9)) == [own[0], "9 10", own[2], own[3]])
    }
  }

  @Test("less priority than its node has, and an earlier end when memory runs out")
  func priority() async throws { try await checkPriority(isSandboxed: false) }

  @Test(
    "less priority in a sandbox, too", .enabled(if: LaunchFixture.canSandbox, "needs user namespaces"))
  func priorityInSandbox() async throws { try await checkPriority(isSandboxed: true) }

  private func checkPriority(isSandboxed: Bool) async throws {
    try await LaunchFixture.with { fixture in
      let job = try await fixture.run("nice; cat /proc/self/oom_score_adj") {
        if isSandboxed { try LaunchFixture.sandbox(&$0) }
      }
      let own = getpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0)
      let score = KernelFiles.lines("/proc/self/oom_score_adj").first.flatMap { Int($0) } ?? 0
      #expect(job.stdout == "\(min(19, own + 5))\n\(max(500, score))\n", "\(job)")
    }
  }

  @Test(
    "a sandbox, also beside one of the same user that has all its processes",
    .enabled(if: LaunchFixture.isRoot, "needs root"))
  func besideFullSandbox() async throws {
    @Sendable func order(_ order: inout LaunchOrder) throws {
      try LaunchFixture.sandbox(&order)
      // A user of nobody else's.
      order.identity = (61_234, 61_234)
      order.limits.processes = 4
    }
    try await LaunchFixture.with { fixture in
      chmod(fixture.scratch.path, 0o777)
      let full = try await fixture.run(
        // With the first process and this shell they are four.
        "sleep 60 & sleep 60 & echo full; wait", order: order,
        during: { process in
          while await process.text.isEmpty { try await Task.sleep(for: .milliseconds(2)) }
          let other = try await fixture.run("echo on", order: order)
          #expect(other.stdout == "on\n", "\(other)")
          await process.kill("enough")
        })
      #expect(full.ending == .stopped("enough"), "\(full)")
    }
  }

  @Test("a bound of its user's processes, where no control group has one and its executor says nothing")
  func processes() throws {
    let user = LaunchFixture.isRoot ? "nobody" : nil
    func processes(_ limits: ResourceLimits, user: String?, isBounded: Bool) throws -> Int? {
      let executor = try ProcessExecutor(
        ExecutorConfiguration(name: ExecutorName(trusted: "e"), command: ["true"], user: user, limits: limits),
        searchPath: "/bin")
      let job = Job(
        id: JobID(trusted: "j"), callerID: "", contextID: "", payload: "", runner: RunnerName(trusted: "r"),
        executor: ExecutorName(trusted: "e"))
      return executor.order(
        for: job, payloadFile: nil, environment: [], wrapperEnvironment: { [] }, by: try Launcher(),
        groupBoundsProcesses: isBounded
      ).limits.processes
    }
    #expect(try processes(ResourceLimits(), user: user, isBounded: false) == (user == nil ? nil : 4096))
    #expect(try processes(ResourceLimits(processes: 7), user: user, isBounded: false) == 7)
    #expect(try processes(ResourceLimits(), user: user, isBounded: true) == nil)
    // The node's own: its other processes would count.
    #expect(try processes(ResourceLimits(), user: nil, isBounded: false) == nil)
    #expect(ControlGroups.Limits().bounded(true).processes == 4096)
    #expect(ControlGroups.Limits(processes: 9).bounded(true).processes == 9)
    #expect(ControlGroups.Limits().bounded(false).processes == nil)
  }

  @Test(
    "a user without groups, capabilities and a way back, whatever its id is",
    .enabled(if: LaunchFixture.isRoot, "needs root"),
    arguments: ["job", "--inner", "--guard-process", "--help", "-", "", "/proc/self/exe"])
  func identity(id: String) async throws {
    try await LaunchFixture.with { fixture in
      let job = try await fixture.run(id: id) {
        $0.command = ["/bin/cat", "/proc/self/status"]
        $0.identity = LaunchFixture.nobody
        $0.forbidsNewPrivileges = true
      }
      #expect(job.field("Uid") == "65534 65534 65534 65534")
      #expect(job.field("Gid") == "65534 65534 65534 65534")
      #expect(job.field("Groups") == "")
      for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        #expect(job.field(name) == "0000000000000000", "\(name)")
      }
      #expect(job.field("NoNewPrivs") == "1")
    }
  }

  @Test(
    "no more rights by a setuid program, unless its executor allows that",
    .enabled(if: LaunchFixture.isRoot, "needs root"))
  func setuid() async throws {
    try await LaunchFixture.with { fixture in
      let program = "\(fixture.scratch.path)/id"
      chmod(fixture.scratch.path, 0o755)
      try #require(ScratchDirectory.shell("cp /usr/bin/id '\(program)' && chmod 4755 '\(program)'"))
      func effectiveUser(_ forbids: Bool) async throws -> Launched {
        try await fixture.run {
          $0.command = [program, "-u"]
          $0.identity = LaunchFixture.nobody
          $0.forbidsNewPrivileges = forbids
        }
      }
      #expect(try await effectiveUser(true).stdout == "65534\n")
      #expect(try await effectiveUser(false).stdout == "0\n")
    }
  }

  @Test("no_new_privs without a user too, if its executor says so", arguments: [true, false])
  func noNewPrivileges(isSet: Bool) async throws {
    try await LaunchFixture.with { fixture in
      let job = try await fixture.run {
        $0.command = ["/bin/cat", "/proc/self/status"]
        $0.forbidsNewPrivileges = isSet
      }
      #expect(job.field("NoNewPrivs") == (isSet ? "1" : "0"))
    }
  }

  @Test("a wrapper that sees nothing of the job's environment, and its own behind it")
  func wrapper() async throws {
    try await LaunchFixture.with { fixture in
      let job = try await fixture.run("env | grep -v ^PWD=", environment: ["JOB=1", "PATH=/bin"]) {
        let script = "env | grep -v ^PWD=; printf '%s\\n' \"$@\" | tail -n 1; exec \"$@\""
        $0.wrapper = ["/bin/sh", "-c", script, "sh", fixture.launcher.path]
        $0.wrapperEnvironment = ["WRAPPER=1", "PATH=/usr/bin:/bin"]
      }
      #expect(
        job.lines.sorted()
          == ["", fixture.launcher.path, "JOB=1", "PATH=/bin", "PATH=/usr/bin:/bin", "WRAPPER=1"].sorted())
      let missing = try await fixture.run(environment: ["PATH=/bin"]) {
        $0.command = ["no-such-program"]
        $0.wrapper = ["/usr/bin/env", fixture.launcher.path]
      }
      #expect(missing.ending == .exited(127))
      #expect(missing.stderr == "hero-launcher: cannot run no-such-program: No such file or directory\n")
      let deaf = try await fixture.run {
        $0.wrapper = ["/bin/sh", "-c", "exec 3<&-; exec \"$@\"", "sh", fixture.launcher.path]
        $0.wrapperEnvironment = ["PATH=/bin"]
      }
      #expect(deaf.ending == .exited(126) && deaf.stderr.contains("a wrapper must pass descriptor 3 on"), "\(deaf)")
    }
  }

  @Test("its command by the PATH of its own environment, and says why there is none")
  func lookup() async throws {
    try await LaunchFixture.with { fixture in
      let directory = fixture.scratch.path
      let files = "printf '#!/bin/sh\\necho mine' > tool && chmod 755 tool && mkdir a && echo x > a/tool"
      try #require(ScratchDirectory.shell("cd '\(directory)' && \(files)"))
      for (path, word) in [(directory, "tool"), ("\(directory)/a::/bin", "tool"), ("/bin", "./tool")] {
        let job = try await fixture.run(environment: ["PATH=\(path)"]) { $0.command = [word] }
        #expect(job.stdout == "mine\n", "\(path): \(job)")
      }
      for (word, code) in [
        ("no-such-program", UVError.noEntry), ("/no/such/program", UVError.noEntry), ("a/tool", UVError.accessDenied),
        ("/", UVError.accessDenied),
      ] {
        let job = try await fixture.run(environment: ["PATH=/bin"]) { $0.command = [word] }
        #expect(job.ending == .notStarted(UVError(code: code, operation: "run \(word)")), "\(job)")
      }
      let zero = try? await fixture.run(environment: ["A=\0B=1"])
      #expect(zero == nil)
    }
  }

  @Test("the way in which it ended", arguments: ["exit 0", "exit 200", "kill -9 $$", "kill -TERM $$", "kill -SEGV $$"])
  func ending(script: String) async throws {
    let endings: [String: JobEnding] = [
      "exit 0": .exited(0), "exit 200": .exited(200), "kill -9 $$": .signalled(9), "kill -TERM $$": .signalled(15),
      "kill -SEGV $$": .signalled(11),
    ]
    try await LaunchFixture.with { fixture in
      let job = try await fixture.run(script)
      #expect(job.ending == endings[script])
    }
  }

  @Test("SIGTERM to all of its process group when it is stopped, and time to tidy up")
  func stop() async throws {
    try await LaunchFixture.with { fixture in
      let script = """
        sh -c 'trap "echo child; exit 0" TERM; while :; do sleep 0.01; done' &
        trap 'wait; echo main; exit 0' TERM; echo ready >&2; while :; do sleep 0.01; done
        """
      let job = try await fixture.run(
        script,
        during: { process in
          while await process.errorEnd.isEmpty { try await Task.sleep(for: .milliseconds(2)) }
          // The children set their traps a little later.
          try await Task.sleep(for: .milliseconds(100))
          await process.stop("enough")
        })
      guard case .stopped("enough") = job.ending else { return #expect(Bool(false), "\(job)") }
      #expect(job.stdout == "child\nmain\n")
    }
  }
}
