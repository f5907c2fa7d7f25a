import EventLoop
import Glibc

/// A job's own working directory, made before its child starts and removed with all its contents after the end.
///
///     let workspace = Workspace(in: workspaces, for: executor)
///     let payloadFile = try await workspace.make(payload: job.payload)
///     // … run the child in `workspace.path` …
///     await workspace.remove()
struct Workspace: Sendable {
  private let workspaces: Workspaces
  private let executor: ProcessExecutor
  private let name = FileName.random()

  init(in workspaces: Workspaces, for executor: ProcessExecutor) {
    self.workspaces = workspaces
    self.executor = executor
  }

  /// Where the child starts; the node itself goes by descriptors only.
  var path: String { "\(workspaces.path)/\(name)" }

  private var passesFile: Bool { executor.configuration.payload == .file }
  /// The payload's file, beside the directory and not in it.
  private var payloadName: FileName { FileName("\(name).payload") }
  private var names: [FileName] { passesFile ? [payloadName, name] : [name] }

  /// Makes the directory, and the payload's file when the executor wants one; answers the file's path. `remove` follows
  /// in any case.
  func make(payload: String) async throws(UVError) -> String? {
    await workspaces.hold(names)
    let directory = workspaces.directory
    do {
      return try await workspaces.loop.blocking {
        try makeDirectory(in: directory)
        guard passesFile else { return nil }
        try write(Array(payload.utf8), in: directory)
        return "\(workspaces.path)/\(payloadName)"
      }
    } catch let error as UVError {
      throw error
    } catch {
      throw UVError(errno: EIO, operation: "mkdir \(path)")
    }
  }

  /// Removes both, and returns also if that was not possible: `Workspaces` tries again.
  func remove() async { await workspaces.remove(names) }

  private func makeDirectory(in work: WorkDirectory) throws(UVError) {
    guard mkdirat(work.descriptor, name.bytes, 0o700) == 0 else {
      throw UVError(errno: errno, operation: "mkdir \(path)")
    }
    guard let account = executor.account else { return }
    let descriptor = work.open(name)
    guard descriptor >= 0 else { throw UVError(errno: errno, operation: "open \(path)") }
    defer { close(descriptor) }
    guard fchown(descriptor, account.uid, account.gid) == 0 else {
      throw UVError(errno: errno, operation: "chown \(path)")
    }
  }

  private func write(_ bytes: [UInt8], in work: WorkDirectory) throws(UVError) {
    let path = "\(workspaces.path)/\(payloadName)"
    let flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
    let descriptor = openat(work.descriptor, payloadName.bytes, flags, 0o600)
    guard descriptor >= 0 else { throw UVError(errno: errno, operation: "open \(path)") }
    defer { close(descriptor) }
    try WholeWrite.write(bytes, to: descriptor, "write \(path)")
    guard let account = executor.account else { return }
    guard fchown(descriptor, account.uid, account.gid) == 0 else {
      throw UVError(errno: errno, operation: "chown \(path)")
    }
  }
}
