import EventLoop
import Glibc
import JSONRPC
import Testing

@testable import hero_supervisor

/// A node says by which means its jobs are contained, and uses it.
@Suite("The means of containment", .timeLimit(.minutes(5)))
struct ContainmentCommandTests {
  /// Starts a node, runs a job that prints its control group, and stops the node.
  /// - Returns: the node's log, its metrics, and what the job printed.
  private func scene(
    _ variables: [String], wrapper: [String] = []
  ) async throws -> (log: String, metric: String, group: String) {
    let directory = TemporaryDirectory()
    chmod(directory.path, 0o755)
    let loop = try EventLoop()
    loop.start()
    defer { Task { await loop.stop() } }
    return try await Task(executorPreference: loop) {
      let data = "\(directory.path)/data"
      // The data directory must be the node's own.
      if wrapper.first == "setpriv" {
        mkdir(data, 0o700)
        chown(data, 65534, 65534)
      }
      let node = try NodeProcess(
        directory: data, arguments: [], environment: variables, wrapper: wrapper, on: loop)
      let ready = await node.ready()
      let log = node.log
      let endpoint = try #require(ready, "\(log)")
      let environment = ["HERO_DATA_DIR": data]
      _ = try await CommandLineTool.run("runner", "register", "r", environment: environment)
      // Its launcher has descriptors of the node, and may not be looked into, not even with the node's own uid.
      let script = "cat /proc/self/cgroup; ls /proc/$PPID/fd > /dev/null 2>&1 && echo looked into; true"
      let job = try await CommandLineTool.run("job", "run", "-r", "r", script, environment: environment)
      let metrics = try await CommandLineTool.run(
        "job", "run", "-r", "r", metricsScript(endpoint), environment: environment)
      kill(node.pid, SIGTERM)
      _ = await node.exit()
      return (log, metrics.output, job.output)
    }.value
  }

  private func metricsScript(_ endpoint: String) -> String {
    """
    python3 -c "import urllib.request as u; print(u.urlopen('http://\(endpoint)/metrics').read().decode())" |
    grep '^hero_job_containment'
    """
  }

  @Test("is a control group where the node may make some", .enabled(if: geteuid() == 0, "needs root"))
  func controlGroup() async throws {
    let mount = TemporaryDirectory()
    let (log, metric, group) = try await scene(
      ["HERO_JOBS_CONTROL_GROUPS=true"],
      wrapper: ["unshare", "--mount", "sh", "-c", "mount -t cgroup2 none \"$0\" && exec \"$@\"", mount.path])
    #expect(log.contains("jobs are contained by control groups"), "\(log)")
    #expect(metric == "hero_job_containment{means=\"control_group\"} 1\n")
    #expect(group.contains(/0::.*\/hero-jobs-[0-9a-z-]+\/[0-9a-z]+/), "\(group)")
  }

  @Test("is the launcher where it may not, and the log says why", .enabled(if: geteuid() == 0, "needs root"))
  func launcher() async throws {
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    let (log, metric, group) = try await scene(["HERO_JOBS_CONTROL_GROUPS=auto"], wrapper: nobody)
    #expect(log.contains("jobs are contained by their launchers") && log.contains("cannot make"), "\(log)")
    #expect(metric == "hero_job_containment{means=\"subreaper\"} 1\n")
    #expect(!group.contains("hero-jobs"))
    #expect(group.contains("0::/") && !group.contains("looked into"), "\(group)")
  }

  @Test("is required by jobs.control_groups and by limits that need it")
  func required() async throws {
    let directory = TemporaryDirectory()
    let file = directory.write(
      """
      {"executors": {"e": {"command": ["sh"], "limits": {"memory_max_bytes": 100000000}}},
      "jobs": {"control_groups": false}}
      """, to: "cluster.json")
    let outcome = try await CommandLineTool.run("node", "--api", "127.0.0.1:0", "--config", file)
    #expect(outcome.status == 2 && outcome.error.contains("memory_max_bytes"), "\(outcome)")
  }
}
