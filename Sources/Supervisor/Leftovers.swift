import Glibc

// Kills what a node left behind that was itself killed. Launchers end their jobs by themselves then; this is for what a
// launcher left that was killed too, and to wait until all is gone. A job's process carries the identity of its node's
// data directory in its environment (`HERO_INSTANCE`), which tells it from those of other nodes on the same machine.

public enum Leftovers {
  /// The variable by which a node knows its children again.
  public static let instanceVariable: VariableName = "HERO_INSTANCE"

  /// Kills what the recorded launchers hold, then every process of this instance, until none is left.
  ///
  /// Blocking; returns within about two seconds even if a process cannot be killed (uninterruptible sleep).
  /// - Parameters:
  ///   - instance: identity of the data directory.
  ///   - recorded: launchers that the store names as running; ended if they are still the same processes.
  /// - Returns: how many processes were killed.
  @discardableResult
  public static func kill(instance: String, recorded: [ProcessIdentity] = []) -> Int {
    let bootID = ProcessTable.bootID()
    let living = recorded.filter { $0.bootID == bootID && ProcessTable.entry($0.pid)?.startTicks == $0.startTicks }
    return kill(instance: instance, launchers: Set(living.map(\.pid)))
  }

  /// - Parameter launchers: processes that are known to be launchers of this instance, or were when it was last heard of.
  @discardableResult
  static func kill(instance: String, launchers: Set<Int32>) -> Int {
    var living = launchers.filter { ProcessTable.name(of: $0) == Launcher.fileName }.compactMap(ProcessTable.entry)
    // A launcher finds what does not carry the instance's identity any more, so it is not killed itself but told to kill.
    for launcher in living {
      Glibc.kill(launcher.pid, SIGQUIT)
      Glibc.kill(launcher.pid, SIGCONT)
    }
    var killed: Set<Int32> = []
    for attempt in 0..<100 {
      let found = processes(of: instance)
      // One that has ended waits for its new parent to reap it, which is nobody's business here.
      living = living.filter { launcher in
        ProcessTable.entry(launcher.pid).map { !$0.isZombie && $0.startTicks == launcher.startTicks } ?? false
      }
      if found.isEmpty && living.isEmpty && attempt > 0 { break }
      for process in found {
        killed.insert(process.pid)
        // A job's main process leads its group; a descendant may have moved to a group of its own.
        if process.group == process.pid { Glibc.kill(-process.pid, SIGKILL) }
        Glibc.kill(process.pid, SIGKILL)
      }
      usleep(found.isEmpty && living.isEmpty ? 2_000 : 10_000)
    }
    // One that was stopped again and again.
    for launcher in living where Glibc.kill(launcher.pid, SIGKILL) == 0 { killed.insert(launcher.pid) }
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
