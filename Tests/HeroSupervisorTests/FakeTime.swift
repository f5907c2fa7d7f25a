import Foundation

/// A clock of its own for a process, by libfaketime (Debian package libfaketime). The clocks that count from boot, and those
/// of others, stay as they are.
enum FakeTime {
  private static let library = ["x86_64", "aarch64"].map { "/usr/lib/\($0)-linux-gnu/faketime/libfaketime.so.1" }
    .first { FileManager.default.fileExists(atPath: $0) }

  static var isInstalled: Bool { library != nil }

  /// - Parameter time: "+10d", "-1h".
  static func environment(_ time: String) -> [String] { common + ["FAKETIME=\(time)"] }

  /// - Parameter path: of a file that says the time, which may change.
  static func environment(file path: String) -> [String] { common + ["FAKETIME_TIMESTAMP_FILE=\(path)"] }

  private static var common: [String] {
    [
      "LD_PRELOAD=\(library ?? "")", "FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_NO_CACHE=1",
      // It puts names of its own there. Were that a new variable, the environment would move, and Swift, which looks for the
      // command line beside it, would find none.
      "FAKETIME_SHARED=/faketime_sem_none /faketime_shm_none",
    ]
  }

  /// Removes what a process that was killed has left of it.
  static func clean(_ pid: Int32) {
    for name in ["sem.faketime_sem_", "faketime_shm_"] { unlink("/dev/shm/\(name)\(pid)") }
  }
}
