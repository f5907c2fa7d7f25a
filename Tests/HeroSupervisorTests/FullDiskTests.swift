import Glibc
import Testing

/// A node whose disk is full, as its users see it: a tmpfs of 3 MB, which only root may mount.
@Suite(
  "A node on a full disk", .enabled(if: geteuid() == 0, "only root may mount a small disk"), .timeLimit(.minutes(5)))
struct FullDiskTests {
  @Test("refuses new jobs with the reason, lets running ones end, and goes on by itself once there is room")
  func full() async throws {
    let directory = TemporaryDirectory()
    guard mount("tmpfs", directory.path, "tmpfs", 0, "size=3m") == 0 else {
      try Test.cancel("this machine does not let root mount a tmpfs: errno \(errno)")
    }
    defer { umount2(directory.path, Int32(MNT_DETACH)) }
    let node = try CommandLineTool(
      ["node", "--api", "127.0.0.1:0", "--data-dir", "\(directory.path)/data"])
    try node.start()
    _ = try await node.endpoint()
    let environment = ["HERO_DATA_DIR": "\(directory.path)/data"]
    _ = try await CommandLineTool.run("runner", "register", "r", environment: environment)
    let outside = TemporaryDirectory()
    let gate = "\(outside.path)/gate"
    let slow = try CommandLineTool(
      ["job", "run", "-r", "r", "--id", "slow", "until [ -e \(gate) ]; do sleep 0.05; done; echo finished"],
      environment: environment)
    try slow.start()
    var status = ""
    for _ in 0..<200 where !status.contains("running") {
      status = try await CommandLineTool.run("job", "status", "slow", environment: environment).output
    }
    #expect(status.contains("running"))

    fill("\(directory.path)/fill")
    let payload = String(repeating: "x", count: 100_000)
    var refused: CommandLineTool.Outcome?
    for _ in 0..<40 where refused == nil {
      let outcome = try await CommandLineTool.run(
        "job", "create", "-r", "r", "-", environment: environment, input: payload)
      if outcome.status != 0 { refused = outcome }
    }
    #expect(refused?.error.contains("the disk is full (-32009)") == true, "\(String(describing: refused))")

    // The running job ends while nothing can be written; its client gets its end all the same.
    outside.write("", to: "gate")
    unlink("\(directory.path)/fill")
    let end = await slow.outcome()
    #expect(end.status == 0 && end.output == "finished\n", "\(end)")
    let again = try await CommandLineTool.run("job", "run", "-r", "r", "echo again", environment: environment)
    #expect(again.output == "again\n", "\(again)")
    node.terminate()
    #expect(await node.outcome().status == 0)
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
