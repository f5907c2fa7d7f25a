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

enum ProcessTable {
  /// All process ids of this pid namespace.
  static func pids() -> [Int32] {
    guard let directory = opendir("/proc") else { return [] }
    defer { closedir(directory) }
    var pids: [Int32] = []
    while let entry = readdir(directory) {
      let pid = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { strtol($0, nil, 10) }
      }
      if pid > 0 { pids.append(Int32(pid)) }
    }
    return pids
  }

  /// `nil` when there is no such process (any more).
  static func entry(_ pid: Int32) -> ProcessEntry? {
    // The command in parentheses may contain anything, so the fields are counted from the last parenthesis.
    guard let bytes = read("/proc/\(pid)/stat", limit: 4096), let end = bytes.lastIndex(of: UInt8(ascii: ")"))
    else { return nil }
    let fields = String(decoding: bytes[(end + 1)...], as: UTF8.self).split(separator: " ")
    guard fields.count > 19, let parent = Int32(fields[1]), let group = Int32(fields[2]),
      let start = UInt64(fields[19])
    else { return nil }
    return ProcessEntry(pid: pid, parent: parent, group: group, isZombie: fields[0] == "Z", startTicks: start)
  }

  /// Whether the environment that the process was started with contains exactly this `NAME=value`.
  static func environment(of pid: Int32, contains assignment: String) -> Bool {
    guard let bytes = read("/proc/\(pid)/environ", limit: 4 << 20) else { return false }
    return bytes.split(separator: 0).contains { $0.elementsEqual(assignment.utf8) }
  }

  /// The children of this process, those that have ended and were not reaped among them.
  static func children() -> [Int32] {
    guard let tasks = opendir("/proc/self/task") else { return [] }
    defer { closedir(tasks) }
    var children: [Int32] = []
    while let entry = readdir(tasks) {
      let task = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      guard let bytes = read("/proc/self/task/\(task)/children", limit: 1 << 20) else { continue }
      children += bytes.split(separator: 0x20).compactMap { Int32(String(decoding: $0, as: UTF8.self)) }
    }
    return children
  }

  /// What a process calls itself (prctl(2), PR_SET_NAME), or the name of its program.
  static func name(of pid: Int32) -> String? {
    read("/proc/\(pid)/comm", limit: 64).map { String(decoding: $0.dropLast(), as: UTF8.self) }
  }

  /// Identifies this run of the kernel; pids and start times of another run mean nothing.
  static func bootID() -> String {
    String(decoding: (read("/proc/sys/kernel/random/boot_id", limit: 64) ?? []).filter { $0 > 0x20 }, as: UTF8.self)
  }

  private static func read(_ path: String, limit: Int) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while bytes.count < limit {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0 { return nil }
      if count == 0 { break }
      bytes.append(contentsOf: chunk[..<count])
    }
    return bytes
  }
}
