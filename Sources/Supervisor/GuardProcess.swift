import Glibc

// The guard: a second, tiny process of the same binary that outlives its node by some milliseconds. It holds the read
// end of a pipe over which the node names the launchers of its jobs. The pipe is closed on exec, so that it ends exactly
// when the node is gone and every child that it was about to start has started: then the guard ends them all.

public enum GuardProcess {
  /// What the binary is started with to become the guard; the instance follows.
  public static let argument = "--guard-process"

  /// Runs until standard input ends, then kills what the node left, and returns.
  ///
  /// Input: lines `+PID` (a job started, PID is its launcher), `-PID` (it ended) and `=MILLISECONDS` (what runs is
  /// killed at this time, by `nowMilliseconds`, unless a later one is named before; the node may be stopped, SIGSTOP).
  public static func run(instance: String) {
    setsid()
    // On a machine that is out of breath the jobs would outlive their node longer. Only root may; others try in vain.
    setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, -20)
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGPIPE] { Glibc.signal(signal, SIG_IGN) }
    var launchers: Set<Int32> = []
    var line: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    var end: Int64?
    while true {
      if let deadline = end {
        // What was said last counts before the time that was named before; and a machine that slept is noticed soon.
        let left = min(max(0, deadline - nowMilliseconds), 250)
        var input = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
        if poll(&input, 1, Int32(left)) == 0 {
          guard nowMilliseconds >= deadline else { continue }
          Leftovers.kill(instance: instance, launchers: launchers)
          end = nil
          continue
        }
      }
      let count = read(STDIN_FILENO, &chunk, chunk.count)
      if count < 0 && errno == EINTR { continue }
      if count <= 0 { break }
      for byte in chunk[..<count] {
        guard byte == UInt8(ascii: "\n") else {
          line.append(byte)
          continue
        }
        if line.first == UInt8(ascii: "=") {
          end = Int64(String(decoding: line.dropFirst(), as: UTF8.self))
        } else if let pid = Int32(String(decoding: line.dropFirst(), as: UTF8.self)), pid > 1 {
          if line.first == UInt8(ascii: "+") { launchers.insert(pid) } else { launchers.remove(pid) }
        }
        line.removeAll(keepingCapacity: true)
      }
    }
    Leftovers.kill(instance: instance, launchers: launchers)
  }

  /// Milliseconds since boot, with the time that the machine slept (CLOCK_BOOTTIME, clock_gettime(2)).
  static var nowMilliseconds: Int64 {
    var time = timespec()
    clock_gettime(CLOCK_BOOTTIME, &time)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
  }
}
