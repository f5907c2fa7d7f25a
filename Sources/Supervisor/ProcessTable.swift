import Glibc

// What proc(5) says of the processes on this machine: the only means to find what outlived the process that started it.

/// A process as `/proc/PID/stat` describes it.
struct ProcessEntry: Hashable, Sendable {
  let pid: Int32
  let parent: Int32
  let group: Int32
  /// Whether it has ended and waits to be reaped.
  let isZombie: Bool
  /// Clock ticks since boot.
  let startTicks: UInt64
}

public enum ProcessTable {
  /// All process ids of this pid namespace.
  static func pids() -> [Int32] { KernelFiles.directories(in: "/proc").compactMap { Int32($0) } }

  /// `nil` when there is no such process (any more).
  static func entry(_ pid: Int32) -> ProcessEntry? {
    // The command in parentheses may contain anything, so the fields are counted from the last parenthesis.
    guard let bytes = KernelFiles.read("/proc/\(pid)/stat", limit: 4096),
      let end = bytes.lastIndex(of: UInt8(ascii: ")"))
    else { return nil }
    let fields = String(decoding: bytes[(end + 1)...], as: UTF8.self).split(separator: " ")
    guard fields.count > 19, let parent = Int32(fields[1]), let group = Int32(fields[2]),
      let start = UInt64(fields[19])
    else { return nil }
    return ProcessEntry(pid: pid, parent: parent, group: group, isZombie: fields[0] == "Z", startTicks: start)
  }

  /// Whether the environment that the process was started with contains exactly this `NAME=value`.
  static func environment(of pid: Int32, contains assignment: String) -> Bool {
    guard let bytes = KernelFiles.read("/proc/\(pid)/environ", limit: 4 << 20) else { return false }
    return bytes.split(separator: 0).contains { $0.elementsEqual(assignment.utf8) }
  }

  /// The children of this process, those that have ended and were not reaped among them.
  static func children() -> [Int32] {
    KernelFiles.directories(in: "/proc/self/task").flatMap { task in
      (KernelFiles.read("/proc/self/task/\(task)/children", limit: 1 << 20) ?? []).split(separator: 0x20)
        .compactMap { Int32(String(decoding: $0, as: UTF8.self)) }
    }
  }

  /// What a process calls itself (prctl(2), PR_SET_NAME), or the name of its program.
  static func name(of pid: Int32) -> String? {
    KernelFiles.read("/proc/\(pid)/comm", limit: 64).map { String(decoding: $0.dropLast(), as: UTF8.self) }
  }

  /// Identifies this run of the kernel; pids and start times of another run mean nothing.
  public static func bootID() -> String {
    String(
      decoding: (KernelFiles.read("/proc/sys/kernel/random/boot_id", limit: 64) ?? []).filter { $0 > 0x20 },
      as: UTF8.self)
  }
}
