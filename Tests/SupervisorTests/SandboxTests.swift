import EventLoop
import Glibc
import Testing

@testable import Supervisor

/// What programs find in a sandbox, and that all else is as without one. What they do not find is in `SandboxEscapeTests`.
@Suite("A sandboxed job", .timeLimit(.minutes(5)), .enabled(if: LaunchFixture.canSandbox, "needs user namespaces"))
struct SandboxTests {
  /// Scripts that print `yes` at their end.
  static let programs: [String: String] = [
    "a shell": "[ \"$(echo a | tr a b)\" = b ] && echo yes",
    "python, with modules that need the system": """
    /usr/bin/python3 -c 'import json, tempfile, os, multiprocessing, random, ctypes
    q = multiprocessing.Queue(); q.put(random.random()); q.get()
    with tempfile.NamedTemporaryFile() as f: f.write(b"x"); f.flush()
    print("yes")'
    """,
    "threads": """
    /usr/bin/python3 -c 'import threading
    t = [threading.Thread(target=print) for _ in range(20)]
    [x.start() for x in t]; [x.join() for x in t]; print("yes")' | tail -n 1
    """,
    "a compiler, and what it made": """
    cc=$(for c in /usr/bin/cc /usr/bin/gcc /usr/bin/clang; do [ -x $c ] && echo $c && break; done)
    [ -z "$cc" ] && echo yes && exit
    echo 'int main(void) { return 7; }' > /tmp/a.c && $cc -o a /tmp/a.c; ./a; [ $? = 7 ] && echo yes
    """,
    "its workspace, to be written":
      "pwd > here && mkdir -p a/b && mv here a/b && [ \"$(cat a/b/here)\" = \"$PWD\" ] && echo yes",
    "/tmp, to be written and executed": "cp /bin/true /tmp/mine && /tmp/mine && echo yes",
    "an empty /tmp": "[ -z \"$(ls -A /tmp | grep -v ^hero-)\" ] && echo yes",
    "/dev/shm": "echo x > /dev/shm/x && echo yes",
    "devices":
      "head -c 4 /dev/urandom > /dev/null && head -c 4 /dev/zero > /dev/null && ! echo x > /dev/full && echo yes",
    "its processes and nobody else's": "[ \"$(ls /proc | grep -c '^[0-9]')\" -le 6 ] && [ $$ -le 3 ] && echo yes",
    "facts of the machine": "grep -q MemTotal /proc/meminfo && [ -n \"$(nproc)\" ] && echo yes",
    "pipes and sockets": """
    mkfifo f && (echo yes > f &) && /usr/bin/python3 -c 'import socket
    s = socket.socketpair(); s[0].send(b"x"); u = socket.socket(socket.AF_UNIX); u.bind("u"); u.listen()'; cat f
    """,
    "its own loopback network": """
    /usr/bin/python3 -c 'import socket
    s = socket.create_server(("127.0.0.1", 0)); c = socket.create_connection(s.getsockname()); print("yes")'
    """,
    "names of users, and time zones": "[ \"$(id -un)\" != '' ] && TZ=Europe/Berlin date > /dev/null && echo yes",
    "no descriptor but three": "[ \"$(ls /proc/self/fd | tr '\\n' ' ')\" = '0 1 2 3 ' ] && echo yes",
    "HOME, where it may write": "echo x > ~/x && echo yes",
  ]

  @Test("finds what programs need", arguments: programs.keys.sorted())
  func positive(name: String) async throws {
    try await LaunchFixture.with { fixture in
      chmod(fixture.scratch.path, 0o777)
      let environment = ["PATH=/usr/bin:/bin", "HOME=/tmp"]
      let job = try await fixture.run(Self.programs[name]!, environment: environment) { try LaunchFixture.sandbox(&$0) }
      #expect(job.stdout.hasSuffix("yes\n") && job.ending == .exited(0), "\(job)")
    }
  }

  @Test(
    "ends as without one",
    arguments: [
      "exit 0", "exit 200", "kill -9 $$", "kill -TERM $$", "kill -SEGV $$", "kill -9 -1", "exec sh -c 'exit 3'",
    ])
  func ending(script: String) async throws {
    let endings: [String: JobEnding] = [
      "exit 0": .exited(0), "exit 200": .exited(200), "kill -9 $$": .signalled(9), "kill -TERM $$": .signalled(15),
      "kill -SEGV $$": .signalled(11), "exec sh -c 'exit 3'": .exited(3),
      // There is nobody else: neither the caller nor the first process of the sandbox counts.
      "kill -9 -1": .exited(1),
    ]
    try await LaunchFixture.with { fixture in
      let job = try await fixture.run(script) { try LaunchFixture.sandbox(&$0) }
      #expect(job.ending == endings[script], "\(job)")
    }
  }

  @Test("has standard streams, is looked up in its PATH, and says why it cannot start")
  func start() async throws {
    try await LaunchFixture.with { fixture in
      func run(_ command: [String], input: [UInt8]? = nil) async throws -> Launched {
        try await fixture.run(environment: ["PATH=/bin"], input: input) {
          try LaunchFixture.sandbox(&$0)
          $0.command = command
        }
      }
      let text = [UInt8](repeating: 0x61, count: 300_000)
      #expect(try await run(["cat"], input: text).stdout.utf8.count == text.count)
      let errors = try await run(["/bin/sh", "-c", "echo out; echo err >&2"])
      #expect(errors.stdout == "out\n" && errors.stderr == "err\n")
      let missing = try await run(["no-such-program"])
      #expect(missing.ending == .notStarted(UVError(code: UVError.noEntry, operation: "run no-such-program")))
    }
  }

  @Test("gets SIGTERM when it is stopped, and time to tidy up")
  func stop() async throws {
    try await LaunchFixture.with { fixture in
      let script = "trap 'echo tidy; exit 0' TERM; echo ready >&2; while :; do sleep 0.01; done"
      let job = try await fixture.run(
        script, order: { try LaunchFixture.sandbox(&$0) },
        during: { process in
          while await process.errorEnd.isEmpty { try await Task.sleep(for: .milliseconds(2)) }
          await process.stop("enough")
        })
      #expect(job.stdout == "tidy\n" && job.ending == .stopped("enough"), "\(job)")
    }
  }

  @Test("has the limits of its executor, and no more than so much in /tmp")
  func limits() async throws {
    try await LaunchFixture.with { fixture in
      let script =
        "ulimit -n; head -c 3000000 /dev/zero > /tmp/a && echo all; head -c 3000000 /dev/zero > /dev/shm/b; echo $?"
      let job = try await fixture.run(script) {
        try LaunchFixture.sandbox(&$0, by: SandboxSettings(memoryBytes: 4 << 20))
        $0.limits.openFiles = 77
      }
      #expect(job.stdout == "77\nall\n1\n", "\(job)")
    }
  }

  @Test("is gone with its launcher, and with its first process")
  func killed() async throws {
    try await LaunchFixture.with { fixture in
      for victim in ["launcher", "first process"] {
        let marker = "\(fixture.scratch.path)/\(victim.prefix(5))"
        let script = "setsid sh -c ': \(marker); while :; do sleep 0.1; done' & echo ready >&2; wait"
        let job = try await fixture.run(
          script, order: { try LaunchFixture.sandbox(&$0) },
          during: { process in
            while await process.errorEnd.isEmpty { try await Task.sleep(for: .milliseconds(2)) }
            let first = KernelFiles.lines("/proc/\(process.pid)/task/\(process.pid)/children").first?
              .split(separator: " ").first.flatMap { Int32($0) }
            kill(victim == "launcher" ? process.pid : try #require(first), SIGKILL)
          })
        // The first process's end is seen by its launcher; the launcher's own by nobody but the node.
        #expect(
          job.ending == (victim == "launcher" ? .lost(signal: SIGKILL) : .signalled(SIGKILL)), "\(victim): \(job)")
        let deadline = ContinuousClock.now + .seconds(30)
        while !LaunchFixture.processes(with: marker).isEmpty, ContinuousClock.now < deadline {
          try await Task.sleep(for: .milliseconds(2))
        }
        #expect(LaunchFixture.processes(with: marker).isEmpty, "\(victim)")
      }
    }
  }

  @Test("sees the machine's network if its executor says so")
  func network() async throws {
    try await LaunchFixture.with { fixture in
      for (settings, isSame) in [(SandboxSettings(), false), (SandboxSettings(hasNetwork: true), true)] {
        let job = try await fixture.run("readlink /proc/self/ns/net; cat /etc/resolv.conf > /dev/null && echo names") {
          try LaunchFixture.sandbox(&$0, by: settings)
        }
        var buffer = [UInt8](repeating: 0, count: 100)
        let count = buffer.withUnsafeMutableBytes { readlink("/proc/self/ns/net", $0.baseAddress!, 100) }
        let own = String(decoding: buffer[..<max(0, count)], as: UTF8.self)
        #expect((job.lines.first == own) == isSame && job.lines.contains("names"), "\(job)")
      }
    }
  }

  @Test("reads what its executor lets it read, and what the node must hide is a reason to refuse that")
  func readable() async throws {
    let name = ExecutorName(trusted: "box")
    func make(_ paths: [String], hiding: [String] = [], user: String? = nil, wrapper: [String] = []) throws {
      _ = try Executors(
        [
          ExecutorConfiguration(
            name: name, command: ["/bin/true"], wrapper: wrapper, user: user,
            sandbox: SandboxSettings(readablePaths: paths))
        ], privatePaths: hiding)
    }
    func reason(_ body: () throws -> Void) -> String {
      do { try body() } catch { return (error as? InvalidExecutor)?.reason ?? "\(error)" }
      return "none"
    }
    #expect(reason { try make(["/var/lib"]) } == "none")
    #expect(reason { try make([], hiding: ["/var/lib/hero", "/etc/hero/cluster.json"]) } == "none")
    for (paths, hidden) in [
      (["/var"], "/var/lib"), (["/var/lib"], "/var"), ([], "/usr/local/hero.json"), ([], "/etc/ssl/certs/own.key"),
      ([], "/bin/keys"), (["/var/lib"], "/var/lib/"),
    ] {
      #expect(reason { try make(paths, hiding: [hidden]) }.contains("jobs would see \(hidden)"), "\(paths) \(hidden)")
    }
    #expect(reason { try make(["/no/such/path"]) }.contains("cannot let jobs read /no/such/path"))
    for path in ["/", "/proc/sys", "/tmp/x", "/dev"] {
      #expect(reason { try make([path]) }.contains("cannot let jobs read"), "\(path)")
    }
    #expect(reason { try make([], wrapper: ["env"]) }.contains("wrapper"))
    if LaunchFixture.isRoot { #expect(reason { try make([], user: "root") }.contains("cannot be root's")) }
  }
}
