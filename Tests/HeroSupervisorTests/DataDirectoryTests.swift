import Foundation
import Testing

/// The built program, with a data directory that it must not use.
@Suite("A node's data directory", .timeLimit(.minutes(5)))
struct DataDirectoryTests {
  /// Starts a node, which is expected to refuse.
  private func refusal(of directory: String) async throws -> CommandLineTool.Outcome {
    try await CommandLineTool.run("node", "--api", "127.0.0.1:0", "--name", "n1", "--data-dir", directory)
  }

  private func makeVictim(in directory: TemporaryDirectory) -> String {
    let victim = "\(directory.path)/victim"
    mkdir(victim, 0o700)
    for i in 0..<5 { directory.write("precious", to: "victim/\(i)") }
    return victim
  }

  @Test("is refused when its work directory is a link, and what the link points to is not touched")
  func link() async throws {
    let directory = TemporaryDirectory()
    let victim = makeVictim(in: directory)
    let data = "\(directory.path)/data"
    mkdir(data, 0o700)
    #expect(symlink(victim, "\(data)/work") == 0)
    let outcome = try await refusal(of: data)
    #expect(outcome.status == 2 && outcome.error.contains("\(data)/work is a symbolic link; remove it"), "\(outcome)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: victim).count == 5)
  }

  @Test("is refused when its work directory is a file")
  func file() async throws {
    let directory = TemporaryDirectory()
    directory.write("", to: "work")
    let outcome = try await refusal(of: directory.path)
    #expect(outcome.status == 2 && outcome.error.contains("/work is not a directory; remove it"), "\(outcome)")
  }

  @Test(
    "is refused when its work directory belongs to another user", .enabled(if: geteuid() == 0, "only root may chown"))
  func foreignWork() async throws {
    let directory = TemporaryDirectory()
    mkdir("\(directory.path)/work", 0o700)
    chown("\(directory.path)/work", 65534, 65534)
    let outcome = try await refusal(of: directory.path)
    #expect(outcome.status == 2 && outcome.error.contains("/work belongs to uid 65534"), "\(outcome)")
  }

  @Test("is refused when group or others may write it", arguments: [mode_t(0o770), 0o702, 0o1777])
  func writable(mode: mode_t) async throws {
    let directory = TemporaryDirectory()
    chmod(directory.path, mode)
    let outcome = try await refusal(of: directory.path)
    #expect(outcome.status == 2 && outcome.error.contains("chmod go-w \(directory.path)"), "\(outcome)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == [], "nothing was made in it")
  }

  @Test("is refused when it belongs to another user", .enabled(if: geteuid() == 0, "only root may chown"))
  func foreign() async throws {
    let directory = TemporaryDirectory()
    chown(directory.path, 65534, 65534)
    let outcome = try await refusal(of: directory.path)
    #expect(outcome.status == 2 && outcome.error.contains("belongs to uid 65534"), "\(outcome)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == [], "nothing was made in it")
  }

  @Test(
    "is used with the modes that make run, systemd and an executor's user give it",
    arguments: [mode_t(0o755), 0o711, 0o700])
  func usable(mode: mode_t) async throws {
    let node = try CommandLineTool(["node", "--api", "127.0.0.1:0", "--name", "n1"])
    chmod(node.directoryPath, mode)
    mkdir("\(node.directoryPath)/work", 0o700)
    node.write("left behind", to: "work/old.payload")
    try node.start()
    _ = try await node.endpoint()
    let deadline = ContinuousClock.now + .seconds(60)
    let work = "\(node.directoryPath)/work"
    while try !FileManager.default.contentsOfDirectory(atPath: work).isEmpty, ContinuousClock.now < deadline {
      try await Task.sleep(for: .milliseconds(5))
    }
    #expect(try FileManager.default.contentsOfDirectory(atPath: work) == [])
    node.terminate()
    #expect(await node.outcome().status == 0)
  }
}
