import EventLoop
import Foundation
import JSONRPC
import SupervisorClient

@testable import Supervisor

/// A node as a process of its own, which a test kills as it likes. On its loop.
final class NodeProcess: @unchecked Sendable {
  // @unchecked: used on its loop only, like the child that it holds.

  let child: ChildProcess
  let loop: EventLoop
  /// What it wrote to standard error.
  private(set) var log = ""
  private var readyWaiter: CheckedContinuation<String?, Never>?
  private var hasEnded = false
  private var endWaiter: CheckedContinuation<Void, Never>?

  /// Starts it on a free port of the loopback interface, or elsewhere.
  /// - Parameter wrapper: put before the program's name, such as `ip netns exec …`.
  init(
    directory: String, arguments: [String], environment: [String] = [], api: String = "127.0.0.1:0",
    wrapper: [String] = [], on loop: EventLoop
  ) throws {
    self.loop = loop
    let words = wrapper + [CommandLineTool.path, "node", "--api", api, "--data-dir", directory] + arguments
    child = try ChildProcess.spawn(
      ChildProcess.Options(
        executable: words[0], arguments: Array(words.dropFirst()),
        environment: Self.environment(home: directory) + environment, stderr: .pipe), on: loop
    )
    child.stderr!.startReading { [self] event in
      if case .bytes(let bytes) = event {
        log += String(decoding: bytes, as: UTF8.self)
        if let endpoint { resumeReady(endpoint) }
      } else {
        child.stderr!.close()
        hasEnded = true
        resumeReady(nil)
        endWaiter?.resume()
        endWaiter = nil
      }
    }
  }

  /// Without control groups unless a test is about them: a node that is killed cannot remove its own.
  private static func environment(home: String) -> [String] {
    ["PATH=/usr/bin:/bin:/usr/sbin:/sbin", "HOME=\(home)", "HERO_JOBS_CONTROL_GROUPS=false"]
  }

  var pid: Int32 { child.pid }

  /// Where its API listens, once it has said so.
  private var endpoint: String? { log.firstMatch(of: /api=http:\/\/([0-9.:]+)/).map { String($0.1) } }

  /// How long a start or an end may take on a busy machine; whoever waits longer waits for ever.
  private static let patience = Duration.seconds(120)

  /// Waits until it says that it is ready.
  /// - Returns: its endpoint; `nil` when it ended before, or was not ready in time.
  func ready() async -> String? {
    if endpoint != nil || hasEnded { return endpoint }
    let limit = Timer(on: loop)
    limit.schedule(after: Self.patience) { [self] in resumeReady(nil) }
    defer { limit.close() }
    return await withCheckedContinuation { readyWaiter = $0 }
  }

  private func resumeReady(_ endpoint: String?) {
    readyWaiter?.resume(returning: endpoint)
    readyWaiter = nil
  }

  /// Waits for its end. One that does not end is killed after a while, which its signal shows.
  /// - Returns: what it passed to exit(3), and the signal that ended it, or 0.
  func exit() async -> (code: Int64, signal: Int32) {
    let limit = Timer(on: loop)
    limit.schedule(after: Self.patience) { [self] in
      kill(pid, SIGKILL)
      if let guardian { kill(guardian, SIGKILL) }
    }
    defer { limit.close() }
    let status = await child.exit()
    FakeTime.clean(pid)
    // What it said last, and what its guard says.
    if !hasEnded { await withCheckedContinuation { endWaiter = $0 } }
    child.close()
    return (status.code, status.signal)
  }

  /// The process that ends the node's children when the node dies.
  var guardian: Int32? {
    ProcessTable.pids().first { pid in
      guard ProcessTable.entry(pid)?.parent == self.pid else { return false }
      let words = FileManager.default.contents(atPath: "/proc/\(pid)/cmdline")?.split(separator: 0)
      return words?.contains { $0.elementsEqual(GuardProcess.argument.utf8) } ?? false
    }
  }
}
