import CDirectories
import EventLoop
import Glibc

/// Control groups (cgroup v2) for the jobs of a node: one each, below the group that the node itself is in.
///
/// What is in a group can neither leave it without rights that jobs do not have, nor outrun the kernel when all of it is
/// killed (`cgroup.kill`); and what it may use together is bounded.
public final class ControlGroups: Sendable {
  /// The bounds of one job's group; `nil` leaves a resource unbounded.
  public struct Limits: Hashable, Sendable {
    /// Memory of all its processes (`memory.max`), bytes; swap is not given.
    public var memoryBytes: Int?
    /// Processors (`cpu.max`); 0.5 is half of one.
    public var processors: Double?
    /// Processes and threads (`pids.max`).
    public var processes: Int?

    public init(memoryBytes: Int? = nil, processors: Double? = nil, processes: Int? = nil) {
      self.memoryBytes = memoryBytes
      self.processors = processors
      self.processes = processes
    }

    /// The controllers that enforce them.
    var controllers: Set<String> {
      var names: Set<String> = []
      if memoryBytes != nil { names.insert("memory") }
      if processors != nil { names.insert("cpu") }
      if processes != nil { names.insert("pids") }
      return names
    }

    /// With the bound of processes that a job has which got none.
    func bounded(_ boundsProcesses: Bool) -> Limits {
      var limits = self
      if boundsProcesses { limits.processes = processes ?? ResourceLimits.defaultProcesses }
      return limits
    }

    /// Files of the group and what is written to them (Documentation/admin-guide/cgroup-v2.rst).
    fileprivate var settings: [(file: String, value: String)] {
      var settings: [(String, String)] = []
      if let memoryBytes {
        settings.append(("memory.max", "\(memoryBytes)"))
        settings.append(("memory.oom.group", "1"))
        settings.append(("memory.swap.max", "0"))
      }
      if let processors { settings.append(("cpu.max", "\(Int(processors * 100_000)) 100000")) }
      if let processes { settings.append(("pids.max", "\(processes)")) }
      return settings
    }
  }

  /// Of all jobs.
  public let path: String
  /// Whether each job's processes are counted and bounded (`pids.max`), also without a limit of its executor.
  public let boundsProcesses: Bool
  private let directory: Int32

  /// Makes the group of all jobs, in the group that this process is in, and ends what a former process of the same node left
  /// there. Blocking, for the time until that is dead.
  /// - Parameters:
  ///   - instance: identity of the data directory, which tells nodes in one group apart.
  ///   - controllers: what the limits of executors need. The node then moves into a group of its own beside that of the
  ///     jobs, since a group with processes cannot share out its resources.
  ///     The one that bounds processes is enabled besides, where it is there.
  /// - Throws: `ControlGroupsUnavailable`.
  public convenience init(instance: String, controllers: Set<String>) throws(ControlGroupsUnavailable) {
    try self.init(in: try Self.own(), instance: instance, controllers: controllers)
  }

  /// - Parameter parent: the directory of a group.
  init(in parent: String, instance: String, controllers: Set<String>) throws(ControlGroupsUnavailable) {
    path = "\(parent)/hero-jobs-\(instance.prefix(16))"
    boundsProcesses = Self.enablesPids(controllers, in: parent)
    let controllers = boundsProcesses ? controllers.union(["pids"]) : controllers
    if !controllers.isEmpty { try Self.enable(controllers, in: parent) }
    guard mkdir(path, 0o755) == 0 || errno == EEXIST else {
      throw ControlGroupsUnavailable(
        reason: "cannot make \(path): \(UVError(errno: errno, operation: "mkdir").message)")
    }
    directory = hero_open_directory(AT_FDCWD, path)
    guard directory >= 0 else {
      throw ControlGroupsUnavailable(reason: "cannot open \(path): \(UVError(errno: errno, operation: "open").message)")
    }
    guard faccessat(directory, "cgroup.kill", F_OK, 0) == 0 else {
      rmdir(path)
      throw ControlGroupsUnavailable(reason: "the kernel has no cgroup.kill (Linux 5.14)")
    }
    clear()
    if !controllers.isEmpty { try Self.enable(controllers, in: path) }
  }

  deinit { close(directory) }

  /// Removes the group of all jobs, once each job's was.
  public func remove() { rmdir(path) }

  /// The group that this process is in, as a directory.
  private static func own() throws(ControlGroupsUnavailable) -> String {
    guard let group = KernelFiles.lines("/proc/self/cgroup").first(where: { $0.hasPrefix("0::/") })?.dropFirst(3) else {
      throw ControlGroupsUnavailable(reason: "this system has no control groups of version 2")
    }
    for line in KernelFiles.lines("/proc/self/mountinfo") {
      // proc(5): id, parent, device, root, mount point, options, …, "-", type, …
      let fields = line.split(separator: " ")
      guard let dash = fields.firstIndex(of: "-"), dash + 1 < fields.count, fields[dash + 1] == "cgroup2",
        fields.count > 4
      else { continue }
      let (root, mount) = (fields[3], fields[4])
      guard root == "/" || group == root || group.hasPrefix("\(root)/") else { continue }
      let below = root == "/" ? group : group.dropFirst(root.count)
      var path = below == "/" || below.isEmpty ? String(mount) : "\(mount)\(below)"
      // Started by a process of an earlier node that had moved there.
      if path.hasSuffix("/hero-node") { path.removeLast(10) }
      guard !path.contains("/../"), access("\(path)/cgroup.procs", F_OK) == 0 else { continue }
      return path
    }
    throw ControlGroupsUnavailable(
      reason: "no file system of control groups of version 2 is mounted that shows \(group)")
  }

  /// Whether the processes of jobs can be bounded though no executor asks for that: not where other processes than the
  /// node's are in the group.
  private static func enablesPids(_ controllers: Set<String>, in group: String) -> Bool {
    if controllers.contains("pids") { return true }
    do throws(ControlGroupsUnavailable) { try enable(controllers.union(["pids"]), in: group) } catch { return false }
    return true
  }

  /// Shares out resources to the groups below one.
  private static func enable(_ controllers: Set<String>, in group: String) throws(ControlGroupsUnavailable) {
    let available = Set(
      KernelFiles.lines("\(group)/cgroup.controllers").first?.split(separator: " ").map(String.init) ?? [])
    let missing = controllers.subtracting(available).sorted()
    guard missing.isEmpty else {
      throw ControlGroupsUnavailable(
        reason: "\(group) has no controller \(missing.joined(separator: ", ")) (systemd: Delegate=yes)")
    }
    let value = controllers.sorted().map { "+\($0)" }.joined(separator: " ")
    if write(value, to: "\(group)/cgroup.subtree_control") { return }
    guard errno == EBUSY else {
      throw ControlGroupsUnavailable(
        reason: "cannot enable \(value) in \(group): \(UVError(errno: errno, operation: "write").message)")
    }
    // Processes are in it: this one, and what it has started. Others are none of the node's to move.
    let node = "\(group)/hero-node"
    guard mkdir(node, 0o755) == 0 || errno == EEXIST else {
      throw ControlGroupsUnavailable(
        reason: "cannot make \(node): \(UVError(errno: errno, operation: "mkdir").message)")
    }
    for pid in KernelFiles.lines("\(group)/cgroup.procs").compactMap({ Int32($0) }) {
      guard pid == getpid() || ProcessTable.entry(pid)?.parent == getpid() else { continue }
      _ = write("\(pid)", to: "\(node)/cgroup.procs")
    }
    guard write(value, to: "\(group)/cgroup.subtree_control") else {
      throw ControlGroupsUnavailable(
        reason: "cannot enable \(value) in \(group), other processes are in it")
    }
  }

  /// Kills what is in the groups of jobs, and removes them.
  private func clear() {
    for attempt in 0..<200 {
      let names = KernelFiles.directories(in: path)
      if names.isEmpty { return }
      if attempt.isMultiple(of: 20) { _ = Self.write("1", to: "\(path)/cgroup.kill") }
      for name in names { Self.remove("\(path)/\(name)") }
      usleep(5_000)
    }
  }

  /// Removes a group, with groups that its processes made in it.
  private static func remove(_ path: String) {
    guard rmdir(path) != 0, errno == EBUSY || errno == ENOTEMPTY else { return }
    for name in KernelFiles.directories(in: path) { remove("\(path)/\(name)") }
    rmdir(path)
  }

  // MARK: Jobs

  /// The group of one job; `close` removes it.
  struct Group: Sendable {
    let path: String
    /// Of its directory, high enough to be inherited (`ChildProcess.Options.inherited`).
    let descriptor: Int32

    /// How many processes the kernel killed for their memory.
    var killedForMemory: Int {
      KernelFiles.lines("\(path)/memory.events").first { $0.hasPrefix("oom_kill ") }.flatMap { Int($0.dropFirst(9)) }
        ?? 0
    }

    /// Removes it. What is still in it, since its launcher was killed, is killed first. Blocking.
    func close() {
      Glibc.close(descriptor)
      for _ in 0..<200 {
        ControlGroups.remove(path)
        guard access(path, F_OK) == 0 else { return }
        _ = ControlGroups.write("1", to: "\(path)/cgroup.kill")
        usleep(5_000)
      }
    }
  }

  /// Makes a group for a job.
  func make(_ name: FileName, limits: Limits) throws(UVError) -> Group {
    let path = "\(self.path)/\(name)"
    guard mkdirat(directory, name.bytes, 0o755) == 0 else { throw UVError(errno: errno, operation: "mkdir \(path)") }
    for (file, value) in limits.bounded(boundsProcesses).settings where !Self.write(value, to: "\(path)/\(file)") {
      // Without swap there is nothing to forbid.
      if file == "memory.swap.max" && errno == ENOENT { continue }
      let error = UVError(errno: errno, operation: "write \(path)/\(file)")
      rmdir(path)
      throw error
    }
    let opened = hero_open_directory(directory, name.bytes)
    let descriptor = opened < 0 ? -1 : fcntl(opened, F_DUPFD_CLOEXEC, 16)
    let code = errno
    if opened >= 0 { close(opened) }
    guard descriptor >= 0 else {
      rmdir(path)
      throw UVError(errno: code, operation: "open \(path)")
    }
    return Group(path: path, descriptor: descriptor)
  }

  // MARK: Files

  private static func write(_ text: String, to path: String) -> Bool {
    let file = open(path, O_WRONLY | O_CLOEXEC)
    guard file >= 0 else { return false }
    defer {
      let code = errno
      close(file)
      errno = code
    }
    return text.withCString { Glibc.write(file, $0, strlen($0)) } == text.utf8.count
  }
}

/// Why jobs get no control groups.
public struct ControlGroupsUnavailable: Error, CustomStringConvertible, Sendable {
  public let reason: String
  public var description: String { reason }

  public init(reason: String) { self.reason = reason }
}
