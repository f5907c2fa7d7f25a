import Glibc
import Testing

@testable import Supervisor

/// A node with a sandboxed executor and others beside it, and what its jobs may try to reach.
struct SandboxScene {
  /// Whether the node runs as root, or as `nobody` with user namespaces.
  enum Rights: String, CaseIterable, Sendable { case root, nobody }

  /// An answer of `SandboxAttempts` to one attempt.
  struct Outcome: Sendable {
    let isReached: Bool
    let text: String
  }

  let rights: Rights
  private let files: TemporaryDirectory
  private let hidden = HiddenDirectory()
  private let node: CommandLineTool
  private let targets: CommandLineTool
  private let sibling: CommandLineTool
  private let data: String
  private var variables: [String: String] = [:]

  static let nobody: [String] = ["--reuid=65534", "--regid=65534", "--clear-groups"]
  static let hasUserNamespaces = system("setpriv \(nobody.joined(separator: " ")) unshare --user true 2>/dev/null") == 0

  init(as rights: Rights) async throws {
    self.rights = rights
    files = TemporaryDirectory()
    data = "\(files.path)/data"
    chmod(files.path, 0o755)
    mkdir(data, 0o700)
    if rights == .nobody { chown(data, 65534, 65534) }
    let python = #"["/usr/bin/python3", "-"]"#
    let others =
      rights == .root
      ? #", "any": {"command": \#(python), "user": "nobody"}, "setuid": {"command": \#(python), "user": "nobody", "allow_new_privileges": true}"#
      : ""
    // Jobs of other users could take part in a cluster without keys, so that such a node does not start.
    let keys = files.write(String(repeating: "5a", count: 32) + "\n", to: "gossip.keys", mode: 0o600)
    if rights == .nobody { chown(keys, 65534, 65534) }
    let configuration = files.write(
      #"""
      {"cluster": {"listen": "127.0.0.1:0", "keys": ["file:gossip.keys"]},
      "executors": {"box": {"command": \#(python), "sandbox": {"read": ["\#(hidden.path)"]}},
        "own": {"command": \#(python)}\#(others)},
      "runners": [{"name": "r", "concurrency": 4, "executors": ["box", "own"\#(rights == .root ? #", "any", "setuid""# : "")]}],
      "jobs": {"drain_seconds": 0, "kill_grace_seconds": 0.2}}
      """#, to: "cluster.json", mode: 0o644)
    let words = ["node", "--api", "127.0.0.1:0", "--data-dir", data, "--config", configuration]
    let environment = ["HERO_JOBS_CONTROL_GROUPS": "false"]
    node =
      rights == .root
      ? try CommandLineTool(words, environment: environment)
      : try CommandLineTool(
        Self.nobody + [CommandLineTool.path] + words, program: "/usr/bin/setpriv", environment: environment)
    try node.start()
    let endpoint = try await node.endpoint()
    targets = try CommandLineTool(["-c", SandboxAttempts.targets], program: "/usr/bin/python3")
    try targets.start()
    _ = await targets.said("T_SHM=")
    let note = "\(hidden.shared)/sibling"
    sibling = try CommandLineTool(
      [
        "job", "run", "-r", "r", "-e", "own",
        "import os, time; open('\(note)', 'w').write(f'{os.getpid()} {os.getcwd()} '); open('mark', 'w'); time.sleep(900)",
      ], environment: ["HERO_DATA_DIR": data])
    try sibling.start()
    let place = try await Self.words(of: note)
    for word in targets.outputSoFar.split(whereSeparator: \.isWhitespace) {
      let parts = word.split(separator: "=", maxSplits: 1).map(String.init)
      variables[parts[0]] = parts[1]
    }
    let log = node.errorSoFar
    let outside = files.write("outside", to: "outside", mode: 0o644)
    // Behind two lines of heading.
    let block = KernelFiles.lines("/proc/partitions").dropFirst(2).first?.split(separator: " ").last ?? "sda"
    let groups = ["/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/cgroup.procs"]
    let further: [String: String] = [
      "T_DATA": data, "T_CONFIGURATION": configuration, "T_OUTSIDE": outside, "T_SETUID": "\(hidden.path)/id",
      "T_SIBLING": place[0], "T_SIBLING_DIRECTORY": place[1],
      "T_API": String(endpoint.split(separator: ":").last ?? ""),
      "T_CLUSTER": try Self.value(/cluster port open .*listen=127.0.0.1:([0-9]+)/, in: log),
      "T_NODE": try Self.value(/node ready .*pid=([0-9]+)/, in: log),
      "T_BLOCK": "/dev/\(block)", "T_CGROUP": groups.first { access($0, F_OK) == 0 } ?? groups[0],
    ]
    variables.merge(further) { $1 }
  }

  private static func value(_ pattern: Regex<(Substring, Substring)>, in log: String) throws -> String {
    String(try #require(log.firstMatch(of: pattern), "\(log)").1)
  }

  var log: String { node.errorSoFar }

  /// Whether the node answers and the sibling still runs.
  func isAlive() async throws -> Bool {
    let answer = try await run(on: "own", "print('alive')")
    return answer.output == "alive\n" && sibling.isRunning && node.isRunning
  }

  func run(on executor: String, _ program: String) async throws -> CommandLineTool.Outcome {
    let pairs = variables.sorted { $0.key < $1.key }.flatMap { ["--env", "\($0.key)=\($0.value)"] }
    let tool = try CommandLineTool(
      ["job", "run", "-r", "r", "-e", executor, "--timeout", "200"] + pairs + ["-"],
      environment: ["HERO_DATA_DIR": data],
      input: program)
    try tool.start()
    return await tool.outcome()
  }

  /// Runs attempts on an executor.
  /// - Parameter wanted: whose controls they are, or `all`.
  mutating func outcomes(on executor: String, of wanted: [String]) async throws -> [String: Outcome] {
    variables["T_WANTED"] = wanted.joined(separator: ",")
    let job = try await run(on: executor, SandboxAttempts.script)
    #expect(job.status == 0, "\(executor): \(job)")
    return job.output.split(separator: "\n").reduce(into: [:]) { outcomes, line in
      let parts = line.split(separator: "\t").map(String.init)
      guard parts.count == 3 else { return }
      outcomes[parts[0]] = Outcome(isReached: parts[1] == "reached", text: parts[1])
    }
  }

  /// Ends all of it. The last call.
  func end() async {
    sibling.interrupt()
    node.terminate()
    targets.terminate()
    _ = await node.outcome()
    _ = await targets.outcome()
    _ = await sibling.outcome()
  }

  private static func words(of file: String) async throws -> [String] {
    let deadline = ContinuousClock.now + .seconds(100)
    while ContinuousClock.now < deadline {
      let words = KernelFiles.lines(file).first.map { $0.split(separator: " ").map(String.init) } ?? []
      if words.count >= 2 { return words }
      try await Task.sleep(for: .milliseconds(5))
    }
    return try #require(nil, "the sibling did not start")
  }
}

/// A directory outside of `/tmp`, which a sandbox can be told to show, with a setuid program in it; and one beside it that
/// everybody may write.
private final class HiddenDirectory: Sendable {
  private let directory: String
  var path: String { "\(directory)/shown" }
  var shared: String { "\(directory)/shared" }

  init() {
    var template = Array("/var/tmp/hero-sandbox-XXXXXX".utf8CString)
    precondition(mkdtemp(&template) != nil, "mkdtemp failed: \(errno)")
    directory = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    precondition(
      system(
        "cd '\(directory)' && chmod 755 . && mkdir shown shared && chmod 1777 shared && cp /usr/bin/id shown && chmod 4755 shown/id"
      )
        == 0)
  }

  deinit {
    for name in ["shown/id", "shared/sibling"] { unlink("\(directory)/\(name)") }
    for name in ["shown", "shared", ""] { rmdir("\(directory)/\(name)") }
  }
}
