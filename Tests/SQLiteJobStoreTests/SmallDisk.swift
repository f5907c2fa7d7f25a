import Foundation
import Glibc

// A file system of a few hundred KiB in memory, which a test may fill, and turn read-only, as it likes. Only root may
// mount one; a test that needs it is skipped elsewhere.

final class SmallDisk: Sendable {
  let path: String
  private var ballast: String { "\(path)/ballast" }

  /// Why there can be none here; `nil` when there can.
  static let obstacle: String? = {
    guard geteuid() == 0 else { return "only root may mount a tmpfs" }
    do {
      let disk = try SmallDisk()
      disk.remove()
      return nil
    } catch { return "this machine does not let root mount a tmpfs: \(error)" }
  }()

  init(bytes: Int = 1 << 20) throws {
    path = NSTemporaryDirectory() + "hero-disk-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    guard mount("tmpfs", path, "tmpfs", 0, "size=\(bytes)") == 0 else {
      let error = POSIXError(.init(rawValue: errno) ?? .EIO)
      rmdir(path)
      throw error
    }
  }

  static func with<Value>(bytes: Int = 1 << 20, _ body: (SmallDisk) async throws -> Value) async throws -> Value {
    let disk = try SmallDisk(bytes: bytes)
    defer { disk.remove() }
    return try await body(disk)
  }

  /// Leaves no free byte.
  func fill() throws {
    let descriptor = open(ballast, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw POSIXError(.init(rawValue: errno) ?? .EIO) }
    defer { close(descriptor) }
    let page = [UInt8](repeating: 0x42, count: 4096)
    while write(descriptor, page, page.count) > 0 {}
  }

  /// Undoes `fill`.
  func free() { unlink(ballast) }

  func makeReadOnly() throws {
    guard mount("tmpfs", path, "tmpfs", UInt(MS_REMOUNT | MS_RDONLY), nil) == 0 else {
      throw POSIXError(.init(rawValue: errno) ?? .EIO)
    }
  }

  private func remove() {
    umount2(path, Int32(MNT_DETACH))
    rmdir(path)
  }
}
