import EventLoop
import Glibc

/// A job's own working directory, made before its child starts and removed with all its contents after the end.
struct Workspace: Sendable {
  let path: String
  private let parent: String
  private let executor: ProcessExecutor

  init(below parent: String, for executor: ProcessExecutor) {
    self.parent = parent
    self.executor = executor
    path = "\(parent)/\(String(UInt64.random(in: .min ... .max), radix: 36))"
  }

  private var payloadPath: String { "\(path).payload" }
  private var passesFile: Bool { executor.configuration.payload == .file }

  /// Makes the directory, and the payload's file when the executor wants one; answers the file's path.
  func make(payload: String, on loop: EventLoop) async throws(UVError) -> String? {
    do {
      return try await loop.blocking {
        guard mkdir(path, 0o700) == 0 else { throw UVError(errno: errno, operation: "mkdir \(path)") }
        if let account = executor.account { chown(path, account.uid, account.gid) }
        guard passesFile else { return nil }
        try write(Array(payload.utf8))
        if let account = executor.account { chown(payloadPath, account.uid, account.gid) }
        return payloadPath
      }
    } catch let error as UVError {
      throw error
    } catch {
      throw UVError(errno: EIO, operation: "mkdir \(path)")
    }
  }

  private func write(_ bytes: [UInt8]) throws(UVError) {
    let descriptor = open(payloadPath, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw UVError(errno: errno, operation: "open \(payloadPath)") }
    defer { close(descriptor) }
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      guard count > 0 else { throw UVError(errno: errno, operation: "write \(payloadPath)") }
      rest = rest.dropFirst(count)
    }
  }

  func remove(on loop: EventLoop) async {
    _ = try? await loop.blocking {
      if passesFile { unlink(payloadPath) }
      if rmdir(path) != 0 { Self.removeTree(path) }
    }
  }

  /// Removes a directory and all below it, without following links.
  static func removeTree(_ path: String) {
    if let directory = opendir(path) {
      while let entry = readdir(directory) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        guard name != "." && name != ".." else { continue }
        let child = "\(path)/\(name)"
        if unlink(child) != 0 { removeTree(child) }
      }
      closedir(directory)
    }
    rmdir(path)
  }

  /// An empty directory for the workspaces of a node that starts.
  static func prepare(_ parent: String, on loop: EventLoop) async throws(UVError) {
    do {
      try await loop.blocking {
        removeTree(parent)
        guard mkdir(parent, 0o711) == 0 || errno == EEXIST else {
          throw UVError(errno: errno, operation: "mkdir \(parent)")
        }
        // Whatever the umask: a job of another user walks through it to its own.
        chmod(parent, 0o711)
      }
    } catch let error as UVError {
      throw error
    } catch {
      throw UVError(errno: EIO, operation: "mkdir \(parent)")
    }
  }
}
