import Glibc
import Testing

@testable import hero_supervisor

/// Attempts to get out of a sandbox, each with a control that shows that it would have been one.
@Suite(
  "No job leaves its sandbox", .timeLimit(.minutes(10)), .serialized, .enabled(if: geteuid() == 0, "needs root"))
struct SandboxEscapeTests {
  @Test("of a node that is root")
  func escapesOfRoot() async throws { try await escapes(rights: .root) }

  @Test("of a node that is another user's", .enabled(if: SandboxScene.hasUserNamespaces, "needs user namespaces"))
  func escapesOfUser() async throws { try await escapes(rights: .nobody) }

  private func escapes(rights: SandboxScene.Rights) async throws {
    var scene = try await SandboxScene(as: rights)
    let inside = try await scene.outcomes(on: "box", of: ["all"])
    var outside = try await scene.outcomes(
      on: "own", of: rights == .root ? ["own", "root"] : ["own", "any", "setuid"])
    if rights == .root {
      outside.merge(try await scene.outcomes(on: "any", of: ["any"])) { $1 }
      outside.merge(try await scene.outcomes(on: "setuid", of: ["setuid"])) { $1 }
    }
    #expect(inside.count >= 100)
    for (name, outcome) in inside.sorted(by: { $0.key < $1.key }) {
      #expect(!outcome.isReached, "\(name): \(outcome.text)")
    }
    // What this machine's kernel or devices do not have cannot be shown to be kept away.
    let missing = outside.filter { !$0.value.isReached }.map { "\($0.key): \($0.value.text)" }.sorted()
    #expect(missing.count <= 8, "\(missing)")
    #expect(outside.count - missing.count >= (rights == .root ? 90 : 50), "\(missing)")
    let isAlive = try await scene.isAlive()
    #expect(isAlive)
    #expect(scene.log.contains("jobs of an executor run in a sandbox"))
    let metrics = try await scene.run(
      on: "own",
      """
      import os, urllib.request as u
      key = open(os.environ["T_DATA"] + "/admin.secret").read().strip()
      call = u.Request("http://127.0.0.1:" + os.environ["T_API"] + "/metrics", headers={"Authorization": "Bearer " + key})
      print(u.urlopen(call).read().decode())
      """)
    #expect(metrics.output.contains(#"hero_job_sandbox{executor="box",network="none"} 1"#), "\(metrics)")
    await scene.end()
  }

  @Test("is a reason not to start where the machine has no way to build one")
  func refusal() async throws {
    let directory = TemporaryDirectory()
    chmod(directory.path, 0o755)
    let data = "\(directory.path)/data"
    mkdir(data, 0o700)
    chown(data, 65534, 65534)
    let file = directory.write(
      #"{"executors": {"box": {"command": ["true"], "sandbox": true}}}"#, to: "cluster.json", mode: 0o644)
    // In a user namespace that may have none below it, on no account on the machine itself.
    let program = """
      import ctypes, os, sys
      ready, go = os.pipe(), os.pipe()
      child = os.fork()
      if child == 0:
        assert ctypes.CDLL(None).unshare(0x10000000) == 0
        os.write(ready[1], b"x"); os.read(go[0], 1)
        open("/proc/sys/user/max_user_namespaces", "w").write("0")
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        os.execv(sys.argv[1], sys.argv[1:])
      os.read(ready[0], 1)
      for name in ("uid_map", "gid_map"): open("/proc/%d/%s" % (child, name), "w").write("0 0 65536")
      os.write(go[1], b"x")
      sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
      """
    let tool = try CommandLineTool(
      ["-c", program, CommandLineTool.path, "node", "--api", "127.0.0.1:0", "--data-dir", data, "--config", file],
      program: "/usr/bin/python3", environment: ["HERO_JOBS_CONTROL_GROUPS": "false"])
    try tool.start()
    let outcome = await tool.outcome()
    #expect(outcome.status == 2, "\(outcome)")
    #expect(outcome.error.contains("executors.box.sandbox: this machine does not let the node build one: "))
    #expect(outcome.error.contains("make the namespaces of a sandbox"), "\(outcome)")
    #expect(outcome.error.contains("user.max_user_namespaces"), "\(outcome)")
  }

  @Test("by forking without end, also as another user without one", arguments: ["user", "box"])
  func forkBomb(executor: String) async throws {
    let directory = TemporaryDirectory()
    let file = directory.write(
      """
      {"executors": {"user": {"command": ["/bin/sh", "-s"], "user": "games"},
        "box": {"command": ["/bin/sh", "-s"], "user": "games", "sandbox": true}},
      "runners": [{"name": "r", "executors": ["user", "box"]}], "jobs": {"control_groups": false}}
      """, to: "cluster.json")
    let data = "\(directory.path)/data"
    let node = try CommandLineTool(["node", "--api", "127.0.0.1:0", "--data-dir", data, "--config", file])
    try node.start()
    let endpoint = try await node.endpoint()
    let bomb = try CommandLineTool(
      ["job", "run", "-r", "r", "-e", executor, "--timeout", "4", "b() { b | b & }; b; sleep 60"],
      environment: ["HERO_DATA_DIR": data])
    try bomb.start()
    var longest = Duration.zero
    while bomb.isRunning {
      let start = ContinuousClock.now
      let health = try CommandLineTool(
        ["-s", "--max-time", "20", "http://\(endpoint)/health"], program: "/usr/bin/curl")
      try health.start()
      let answer = await health.outcome()
      #expect(answer.status == 0, "\(answer)")
      longest = max(longest, ContinuousClock.now - start)
      try await Task.sleep(for: .milliseconds(100))
    }
    let outcome = await bomb.outcome()
    #expect(outcome.status == 124, "\(outcome.status)")
    #expect(longest < .seconds(5), "\(longest)")
    #expect(system("pgrep -u games > /dev/null") != 0, "something of it is left")
    node.terminate()
    #expect(await node.outcome().status == 0)
  }

  @Test("by signals to all that it sees, or a process that stays, of a node that is root")
  func violenceOfRoot() async throws { try await violence(rights: .root) }

  @Test(
    "by signals to all that it sees, or a process that stays, of a node that is another user's",
    .enabled(if: SandboxScene.hasUserNamespaces, "needs user namespaces"))
  func violenceOfUser() async throws { try await violence(rights: .nobody) }

  private func violence(rights: SandboxScene.Rights) async throws {
    let scene = try await SandboxScene(as: rights)
    _ = try await scene.run(on: "box", "import os; os.kill(-1, 9); os.kill(1, 9); os.kill(1, 15); print('on')")
    let aliveAfterSignals = try await scene.isAlive()
    #expect(aliveAfterSignals)
    // One that outlives it would hold the mark's name.
    let mark = "hero-daemon-\(getpid())-\(rights)"
    let daemon = """
      import os, sys, time
      if os.fork() == 0:
        os.setsid()
        if os.fork() == 0: os.execv("/bin/sh", ["sh", "-c", ": \(mark); while :; do sleep 1; done"])
        os._exit(0)
      time.sleep(0.3); print("left")
      """
    let job = try await scene.run(on: "box", daemon)
    #expect(job.output == "left\n", "\(job)")
    let left = system("pgrep -f '[:] \(mark)' > /dev/null")
    #expect(left != 0, "the daemon is alive")
    await scene.end()
  }
}
