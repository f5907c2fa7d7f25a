import Glibc
import Testing

@testable import Supervisor

/// Whatever variables a job brings, it gets the identity, limits and walls of its executor, and nothing of its choosing runs
/// before it has them.
@Suite("A hostile environment", .timeLimit(.minutes(5)), .enabled(if: LaunchFixture.isRoot, "needs root"))
struct HostileEnvironmentTests {
  /// DIR has programs and libraries that leave a mark when root runs or loads them.
  static let environments: [[String]] = [
    ["PATH=DIR:/usr/bin:/bin"], ["PATH=DIR"], ["PATH=.:/usr/bin:/bin"], ["PATH="], [], ["LD_PRELOAD=DIR/evil.so"],
    ["LD_AUDIT=DIR/evil.so"], ["LD_LIBRARY_PATH=DIR"], ["GCONV_PATH=DIR"], ["BASH_ENV=DIR/evil.sh", "ENV=DIR/evil.sh"],
    ["IFS=/"], ["PYTHONPATH=DIR", "PYTHONSTARTUP=DIR/evil.py", "PYTHONHOME=DIR"], ["PERL5LIB=DIR", "PERL5OPT=-Mevil"],
    ["NODE_OPTIONS=--require DIR/evil.js"], ["RUBYOPT=-rDIR/evil", "RUBYLIB=DIR"], ["MALLOC_TRACE=DIR/trace"],
    ["GLIBC_TUNABLES=glibc.malloc.check=3", "MALLOC_CHECK_=3"], ["LOCPATH=DIR", "LC_ALL=evil", "NLSPATH=DIR/%N"],
    ["HOSTALIASES=DIR/hosts", "RES_OPTIONS=debug", "RESOLV_HOST_CONF=/etc/shadow"],
    ["HOME=DIR", "TMPDIR=DIR", "SHELL=DIR/sh", "XDG_CONFIG_HOME=DIR"], ["HERO_INSTANCE=x", "HERO_JOB_ID=y"],
    ["_=x", "SHELLOPTS=xtrace", "PS4=$(touch DIR/uid-0)", "BASH_FUNC_id%%=() { touch DIR/uid-0; }"],
  ]

  private struct Kind {
    let name: String
    var wrapper: [String] = []
    var user: String?
    var limits = ResourceLimits()
    var sandbox: SandboxSettings?
  }

  private static let executors = [
    Kind(name: "none"), Kind(name: "user", user: "nobody"),
    Kind(name: "limits", limits: ResourceLimits(cpuSeconds: 7, openFiles: 77)),
    Kind(name: "wrapper", wrapper: ["unshare", "--uts"]),
    Kind(
      name: "all", wrapper: ["nice", "-n", "3"], user: "nobody", limits: ResourceLimits(cpuSeconds: 7, openFiles: 77)),
    Kind(
      name: "sandbox", user: "nobody", limits: ResourceLimits(cpuSeconds: 7, openFiles: 77),
      sandbox: SandboxSettings()),
  ]

  /// Programs, scripts and a library of DIR; each makes the file `uid-UID` beside it.
  private func lay(_ directory: String) throws {
    let names = ["setpriv", "prlimit", "unshare", "nice", "env", "sh", "hero-launcher", "cat", "id"]
    let compilers: [String] = ["/opt/swift/usr/bin/clang", "/usr/bin/clang", "/usr/bin/cc"]
    let compiler: String? = compilers.first { (path: String) in access(path, X_OK) == 0 }
    let library = """
      #include <stdio.h>
      #include <unistd.h>
      #include <fcntl.h>
      __attribute__((constructor)) static void mark(void) {
        char path[512];
        snprintf(path, sizeof path, "\(directory)/uid-%d", geteuid());
        close(open(path, O_CREAT | O_WRONLY, 0666));
      }
      """
    try #require(
      ScratchDirectory.shell(
        """
        cd '\(directory)' && chmod 1777 . && for name in \(names.joined(separator: " ")); do
          printf '#!/bin/sh\\n/usr/bin/touch \(directory)/uid-$(/usr/bin/id -u)\\nexec /bin/"${0##*/}" "$@"\\n' > $name
          chmod 755 $name
        done
        cp sh evil.sh; echo "import os; open('\(directory)/uid-%d' % os.geteuid(), 'w')" > evil.py
        cp evil.py sitecustomize.py
        """))
    guard let compiler else { return }
    let file = open("\(directory)/evil.c", O_CREAT | O_WRONLY | O_CLOEXEC, 0o644)
    _ = library.withCString { write(file, $0, strlen($0)) }
    close(file)
    // As the program's only libraries too, for LD_LIBRARY_PATH.
    try #require(
      ScratchDirectory.shell(
        "cd '\(directory)' && \(compiler) -shared -fPIC evil.c -o evil.so && cp evil.so libselinux.so.1 && cp evil.so evil"
      ))
  }

  @Test("changes neither identity, limits nor walls", arguments: 0..<6)
  func matrix(number: Int) async throws {
    let kind = Self.executors[number]
    let (name, user, limits) = (kind.name, kind.user, kind.limits)
    try await LaunchFixture.with { fixture in
      let directory = fixture.scratch.path
      try lay(directory)
      let executor = try ProcessExecutor(
        ExecutorConfiguration(
          name: ExecutorName(trusted: name),
          command: ["/bin/cat", "/proc/self/status", "/proc/self/limits", "/proc/self/stat"], wrapper: kind.wrapper,
          user: user, limits: limits, sandbox: kind.sandbox), searchPath: "/usr/bin:/bin")
      for environment in Self.environments {
        let variables = environment.map { $0.replacing("DIR", with: directory) }
        let job = Job(
          id: JobID(trusted: "j"), callerID: "", contextID: "", payload: "", runner: RunnerName(trusted: "r"),
          executor: ExecutorName(trusted: name))
        let launched = try await fixture.run {
          $0 = executor.order(
            for: job, payloadFile: nil, environment: variables,
            wrapperEnvironment: { ["PATH=/usr/bin:/bin"] }, by: fixture.launcher)
        }
        let uid = user == nil ? "0 0 0 0" : "65534 65534 65534 65534"
        #expect(launched.field("Uid") == uid, "\(variables): \(launched)")
        #expect(launched.field("NoNewPrivs") == (user == nil ? "0" : "1"), "\(variables)")
        #expect(launched.field("Seccomp") == (kind.sandbox == nil ? "0" : "2"), "\(variables)")
        if limits.openFiles != nil {
          let text = launched.stdout
          #expect(text.contains(/Max open files +77 +77/) && text.contains(/Max cpu time +7 +8/), "\(variables)")
        }
      }
      // With the node's own user the job itself is root, and its programs and libraries are its own affair.
      if user != nil {
        #expect(access("\(directory)/uid-0", F_OK) != 0, "something that the job chose ran as root")
        // The library was loaded, but behind the wall: the test can see a failure.
        #expect(access("\(directory)/uid-65534", F_OK) == 0)
      }
    }
  }

  @Test("does not choose the wrapper")
  func wrapper() async throws {
    try await LaunchFixture.with { fixture in
      let directory = fixture.scratch.path
      try lay(directory)
      let executor = try ProcessExecutor(
        ExecutorConfiguration(
          name: ExecutorName(trusted: "e"), command: ["/bin/readlink", "/proc/self/ns/net"],
          wrapper: ["unshare", "--net"]), searchPath: "/usr/bin:/bin")
      let job = Job(
        id: JobID(trusted: "j"), callerID: "", contextID: "", payload: "", runner: RunnerName(trusted: "r"),
        executor: ExecutorName(trusted: "e"))
      let launched = try await fixture.run {
        $0 = executor.order(
          for: job, payloadFile: nil, environment: ["PATH=\(directory)", "LD_PRELOAD="],
          wrapperEnvironment: { ["PATH=/usr/bin:/bin"] }, by: fixture.launcher)
      }
      var buffer = [UInt8](repeating: 0, count: 100)
      let count = buffer.withUnsafeMutableBytes { readlink("/proc/self/ns/net", $0.baseAddress!, 100) }
      let own = String(decoding: buffer[..<count], as: UTF8.self)
      #expect(launched.stdout.hasPrefix("net:[") && launched.stdout != "\(own)\n", "\(launched)")
      #expect(access("\(directory)/uid-0", F_OK) != 0)
    }
  }

  @Test("a wrapper that the node cannot find is an error of the configuration")
  func missing() {
    let configuration = ExecutorConfiguration(
      name: ExecutorName(trusted: "e"), command: ["cat"], wrapper: ["no-such-wrapper"])
    #expect(throws: InvalidExecutor.self) { _ = try Executors([configuration], searchPath: "/usr/bin:/bin") }
    #expect(throws: InvalidExecutor.self) { _ = try Executors([configuration], searchPath: "relative:.") }
  }
}
