// A machine that is short of something when jobs are to start: they wait, in their order, and no attempt is counted.

import Glibc
import JSONRPC
import Supervisor
import Testing

@Suite("Shortages of the machine", .timeLimit(.minutes(5)))
struct ShortageTests {
  /// What a node is short of, and how.
  enum Shortage: String, CaseIterable, CustomTestStringConvertible {
    /// `RLIMIT_NOFILE` of the node.
    case files
    /// `RLIMIT_NPROC` of the user that the node runs as, who is nobody else.
    case processes
    /// `pids.max` of the node's control group.
    case group

    var testDescription: String { rawValue }
    var error: String { self == .files ? "EMFILE" : "EAGAIN" }
    var user: UInt32? { self == .processes ? 58_231 : nil }
    private var directory: String { "/sys/fs/cgroup/pids/hero-test-\(getpid())" }

    var isPossible: Bool {
      switch self {
      case .files: true
      case .processes: geteuid() == 0
      case .group: geteuid() == 0 && access("/sys/fs/cgroup/pids/cgroup.procs", W_OK) == 0
      }
    }

    /// Takes away what the node has left, or gives it back.
    func set(_ isShort: Bool, of pid: Int32) throws {
      switch self {
      case .files: try limit("nofile", isShort ? 3 : 1024, pid)
      case .processes: try limit("nproc", isShort ? 1 : 4096, pid)
      case .group:
        if isShort {
          try #require(mkdir(directory, 0o755) == 0 || errno == EEXIST)
          try write("\(pid)", to: "cgroup.procs")
        }
        try write(isShort ? "1" : "max", to: "pids.max")
      }
    }

    func remove() async {
      if self == .group { #expect(await eventually { rmdir(directory) == 0 || errno == ENOENT }) }
    }

    /// The soft limit, which the user may raise again.
    private func limit(_ name: String, _ value: Int, _ pid: Int32) throws {
      let change = user.map { "setpriv --reuid=\($0) --regid=\($0) --clear-groups " } ?? ""
      try #require(system("\(change)prlimit --pid \(pid) --\(name)=\(value):") == 0)
    }

    private func write(_ text: String, to name: String) throws {
      let file = open("\(directory)/\(name)", O_WRONLY | O_CLOEXEC)
      try #require(file >= 0, "\(directory)/\(name): \(errno)")
      defer { close(file) }
      try #require(Glibc.write(file, text, text.utf8.count) == text.utf8.count, "\(name): \(errno)")
    }
  }

  @Test(
    "jobs wait as long as it lasts, and then run in their order, each at its first attempt",
    arguments: Shortage.allCases)
  func waits(for shortage: Shortage) async throws {
    guard shortage.isPossible else { try Test.cancel("only root can make it") }
    try await NodeProcess.run(as: shortage.user) { node async throws in
      let jobs = (0..<4).map { job("j\($0)", "echo $HERO_JOB_ID >> '\(node.directory.path)/order'", runner: "one") }
      _ = try await node.client.call("register_runner", ["name": "one", "queue": "one"])
      #expect(try await node.run(job("warm", "echo warm")) == ["success": "warm\n"])
      try shortage.set(true, of: node.pid)
      for job in jobs {
        _ = try await node.client.call("jobs.create", ["job": job])
        _ = try await node.client.call("job.start", ["job_id": job["id"]!])
      }
      // More tries than a job has attempts.
      var times: Set<String> = []
      let hasTried = try await eventually {
        let first = try await node.client.call("jobs.query", ["runner": "one"])["jobs"]?.arrayValue?.last
        if let time = first?["updated_at"]?.stringValue { times.insert(time) }
        return times.count > 4
      }
      #expect(hasTried)
      let onHold = try await eventually {
        let status = try await node.client.call("job.status", ["j3"])
        return status["status"] == "queued" && status["on_hold"]?.stringValue?.contains(shortage.error) == true
      }
      #expect(onHold)
      try shortage.set(false, of: node.pid)
      for job in jobs { #expect(try await node.client.call("job.result", [job["id"]!]) == ["success": ""]) }
      #expect(node.directory.text("order") == "j0\nj1\nj2\nj3\n")
      let ended = try await node.client.call("jobs.query", ["runner": "one"])["jobs"]?.arrayValue ?? []
      #expect(ended.map { $0["attempt"] } == [1, 1, 1, 1])
      let log = node.directory.text("log") ?? ""
      #expect(log.ranges(of: "its queue is on hold").count == 1 && log.contains(shortage.error), "\(log)")
      #expect(log.contains("queues start jobs again"))
    }
    await shortage.remove()
  }

  @Test(
    "a full disk under the jobs' directories is said in /ready, metrics and job.status, and stops only who needs it",
    .enabled(if: geteuid() == 0, "only root may mount a small disk"))
  func fullDisk() async throws {
    let disk = TemporaryDirectory()
    guard mount("tmpfs", disk.path, "tmpfs", 0, "size=64k") == 0 else {
      try Test.cancel("this machine does not let root mount a tmpfs: errno \(errno)")
    }
    defer { umount2(disk.path, Int32(MNT_DETACH)) }
    var options = TestNode.Options()
    options.work = "\(disk.path)/work"
    options.runners.append(runner("other", queue: "other"))
    try await TestNode.run(options) { node async throws in
      #expect(try await node.exchange("GET", "/ready").text == "ready\n")
      fill("\(disk.path)/fill")
      // Its directory takes no block of this disk, its payload does.
      try await node.start(job("j", "echo ran"))
      try await node.expect("j", becomes: "queued")
      #expect(try await eventually { try await node.call("job.status", ["j"])["on_hold"] != nil })
      let status = try await node.call("job.status", ["j"])
      #expect(status["on_hold"]?.stringValue?.contains("ENOSPC") == true, "\(status.text)")
      #expect(try await node.exchange("GET", "/ready").text == "ready; queues on hold: 1 (ENOSPC)\n")
      let metrics = try await node.exchange("GET", "/metrics").text
      #expect(metrics.contains("hero_queues_on_hold{reason=\"ENOSPC\"} 1\n"))
      #expect(metrics.contains("hero_refused_starts_total{reason=\"ENOSPC\"} "))
      // Nothing of it is on that disk.
      #expect(try await node.run(job("e", "echo", runner: "other", executor: "echo")) == ["success": "echo"])
      // A job on hold can be stopped like any that waits.
      try await node.start(job("stopped", "echo ran"))
      #expect(try await node.call("job.stop", node.secret(job: "stopped")) == .null)
      #expect(try await node.status("stopped") == "failed")
      unlink("\(disk.path)/fill")
      #expect(try await node.call("job.result", ["j"]) == ["success": "ran\n"])
      #expect(try await node.call("jobs.query", ["status": "completed"])["jobs"]?[1]?["attempt"] == 1)
      #expect(try await eventually { try await node.exchange("GET", "/ready").text == "ready\n" })
    }
  }

  /// Writes until there is no room for a byte.
  private func fill(_ path: String) {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
    defer { close(descriptor) }
    for count in [4096, 1] {
      let bytes = [UInt8](repeating: 0, count: count)
      while write(descriptor, bytes, count) > 0 {}
    }
  }
}
