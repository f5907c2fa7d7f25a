import Glibc

// Kills what a node left behind that was itself killed. A child carries the identity of its node's data directory in
// its environment (`HERO_INSTANCE`), which tells it from the children of other nodes on the same machine.

public enum Leftovers {
  /// The variable by which a node knows its children again.
  public static let instanceVariable: VariableName = "HERO_INSTANCE"

  /// Kills every process of this instance, with its process group, until none is left.
  ///
  /// Blocking; returns within about a second even if a process cannot be killed (uninterruptible sleep).
  /// - Parameters:
  ///   - instance: identity of the data directory.
  ///   - recorded: processes that the store names as running; killed if they are still the same ones.
  /// - Returns: how many processes were killed.
  @discardableResult
  public static func kill(instance: String, recorded: [ProcessIdentity] = []) -> Int {
    let bootID = ProcessTable.bootID()
    for process in recorded where process.bootID == bootID {
      if ProcessTable.entry(process.pid)?.startTicks == process.startTicks { Glibc.kill(-process.pid, SIGKILL) }
    }
    var killed: Set<Int32> = []
    for attempt in 0..<50 {
      let found = processes(of: instance)
      if found.isEmpty && attempt > 0 { break }
      for process in found {
        killed.insert(process.pid)
        // A job's main process leads its group; a descendant may have moved to a group of its own.
        if process.group == process.pid { Glibc.kill(-process.pid, SIGKILL) }
        Glibc.kill(process.pid, SIGKILL)
      }
      usleep(found.isEmpty ? 2_000 : 10_000)
    }
    return killed.count
  }

  /// The living processes of this instance, except the caller.
  static func processes(of instance: String) -> [ProcessEntry] {
    let assignment = "\(instanceVariable)=\(instance)"
    return ProcessTable.pids().compactMap { pid in
      guard pid != getpid(), ProcessTable.environment(of: pid, contains: assignment),
        let entry = ProcessTable.entry(pid), !entry.isZombie
      else { return nil }
      return entry
    }
  }
}
