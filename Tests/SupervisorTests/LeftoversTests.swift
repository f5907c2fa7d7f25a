import EventLoop
import Glibc
import Testing

@testable import Supervisor

@Suite("Processes that a record names", .timeLimit(.minutes(5)))
struct LeftoversTests {
  /// How a record differs from the living process of its number.
  enum Difference: CaseIterable { case none, startTime, boot, name }

  @Test(
    "only the launcher that was recorded is ended, and no other process that has its number by now",
    arguments: Difference.allCases)
  func recorded(difference: Difference) async throws {
    let scratch = ScratchDirectory()
    let program = "\(scratch.path)/\(difference == .name ? "other" : Launcher.fileName)"
    try #require(ScratchDirectory.shell("cp /bin/sleep '\(program)'"))
    let loop = try EventLoop()
    loop.start()
    let status = await Task(executorPreference: loop) {
      let child = try ChildProcess.spawn(.init(executable: program, arguments: ["600"]), on: loop)
      let entry = try #require(ProcessTable.entry(child.pid))
      let identity = ProcessIdentity(
        pid: child.pid, startTicks: entry.startTicks + (difference == .startTime ? 1 : 0),
        bootID: difference == .boot ? "another" : ProcessTable.bootID())
      // Nothing carries this name.
      let instance = "test-\(UInt64.random(in: 0 ... .max))"
      let killed = try await loop.blocking { Leftovers.kill(instance: instance, recorded: [identity]) }
      #expect(killed == 0)
      #expect((ProcessTable.entry(child.pid)?.isZombie == false) == (difference != .none))
      child.kill(SIGTERM)
      let status = await child.exit()
      child.close()
      return status
    }.result
    await loop.stop()
    // SIGQUIT tells a launcher to end its job; whoever was not told ends by the test's own signal.
    #expect(try status.get().signal == (difference == .none ? SIGQUIT : SIGTERM))
  }
}
