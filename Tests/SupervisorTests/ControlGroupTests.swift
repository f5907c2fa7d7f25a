import Glibc
import Testing

@testable import Supervisor

extension ControlGroups {
  /// Whether the machine lets the tests make some.
  fileprivate static let areAvailable: Bool = {
    let groups = try? ControlGroups(instance: "probe-\(getpid())", controllers: [])
    groups?.remove()
    return groups != nil
  }()
}

/// Where the machine lets the tests make control groups; each test makes its own, and removes it.
@Suite("Control groups", .timeLimit(.minutes(5)), .enabled(if: ControlGroups.areAvailable, "no writable cgroup v2"))
struct ControlGroupTests {
  private func groups(_ instance: String = String(UInt64.random(in: .min ... .max), radix: 36)) throws -> ControlGroups
  {
    try ControlGroups(instance: instance, controllers: [])
  }

  @Test("hold a job from its first instruction on, and are gone after it")
  func life() async throws {
    try await LaunchFixture.with { fixture in
      let groups = try groups()
      let group = try groups.make(.random(), limits: .init())
      let job = try await fixture.run("cat /proc/self/cgroup", in: group)
      let name = group.path.split(separator: "/").suffix(2).joined(separator: "/")
      #expect(job.lines.contains { $0.hasPrefix("0::/") && $0.hasSuffix("/\(name)") }, "\(job)")
      #expect(access(group.path, F_OK) == 0)
      group.close()
      groups.remove()
      #expect(access(group.path, F_OK) != 0 && access(groups.path, F_OK) != 0)
    }
  }

  @Test("leave nothing of a job that killed its launcher", arguments: ContainmentTests.escapes.keys.sorted())
  func lost(escape: String) async throws {
    try await LaunchFixture.with { fixture in
      let groups = try groups()
      let directory = fixture.scratch.path
      try ContainmentTests.prepare(fixture)
      let script = ContainmentTests.escapes[escape]!.replacing("DIR", with: directory)
      let group = try groups.make(.random(), limits: .init())
      let loop = fixture.loop
      try await Task(executorPreference: loop) { [launcher = fixture.launcher] in
        // Its output is not waited for: what escapes may hold it.
        let process = try JobProcess(
          LaunchOrder(
            command: ["/bin/sh", "-c", "\(script)\nsleep 0.2\nkill -9 $PPID; while :; do :; done"],
            environment: ["PATH=/usr/bin:/bin"]), job: JobID(trusted: "job"), in: directory, readsInput: false,
          by: launcher, group: group, maxOutputBytes: 1000, killGrace: .seconds(1), on: loop)
        let ending = await process.run(input: nil, timeout: nil)
        #expect(ending == .lost(signal: SIGKILL))
        group.close()
        await process.close()
      }.value
      let left = LaunchFixture.processes(with: directory)
      #expect(left.isEmpty, "\(left)")
      for pid in left { kill(pid, SIGKILL) }
      #expect(access(group.path, F_OK) != 0)
      groups.remove()
    }
  }

  @Test("of a node that was killed are emptied and removed when it starts again")
  func leftovers() async throws {
    try await LaunchFixture.with { fixture in
      let instance = "left-\(getpid())"
      let first = try groups(instance)
      let group = try first.make(.random(), limits: .init())
      let inner = "\(group.path)/inner"
      try #require(mkdir(inner, 0o755) == 0)
      let mark = "\(fixture.scratch.path)/mark"
      // Nothing but the group knows of it: neither a launcher, nor its environment.
      try #require(
        ScratchDirectory.shell(
          "setsid env -i sh -c 'echo 0 > \(inner)/cgroup.procs; while :; do sleep 1; done' \(mark) & sleep 0.3"))
      #expect(LaunchFixture.processes(with: mark).count == 1)
      _ = try groups(instance)
      #expect(LaunchFixture.processes(with: mark).isEmpty)
      #expect(access(group.path, F_OK) != 0)
      close(group.descriptor)
      first.remove()
    }
  }

  @Test("refuse controllers that are not there, and say which")
  func missing() throws {
    let unavailable = #expect(throws: ControlGroupsUnavailable.self) {
      _ = try ControlGroups(instance: "missing-\(getpid())", controllers: ["no-such-controller"])
    }
    #expect(unavailable?.reason.contains("no-such-controller") == true)
  }
}
