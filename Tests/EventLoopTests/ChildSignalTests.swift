import EventLoop
import Glibc
import Testing

// Signals to children: to one process, to its whole group, and how the child's own signals are set at its start.

@Suite("Signals of a ChildProcess", .timeLimit(.minutes(5)))
struct ChildSignalTests {
  @Test("a child that a signal ended says which", arguments: [SIGTERM, SIGKILL, SIGINT, SIGUSR1])
  func death(signal: Int32) async throws {
    try await withLoop { loop in
      let child = try ChildProcess.spawn(.shell("echo ready; exec sleep 1000", stdout: .pipe), on: loop)
      let output = Inbox(child.stdout!)
      #expect(await eventually { output.text == "ready\n" })
      child.kill(signal)
      #expect(await child.exit().signal == signal)
      child.closeAll()
    }
  }

  @Test("a child starts with no signal blocked or ignored, although this process ignores SIGPIPE")
  func defaults() async throws {
    try await withLoop { loop in
      let status = try await run(.init(executable: "/bin/cat", arguments: ["/proc/self/status"]), on: loop).output
      for name in ["SigBlk:\t", "SigIgn:\t"] {
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix(name) })
        let set = try #require(UInt64(line.dropFirst(name.count), radix: 16))
        // Signal 32 and above are the C library's own and the realtime ones, which are as whoever started us left them.
        #expect(set & 0x7fff_ffff == 0, "\(line)")
      }
      let child = try ChildProcess.spawn(.shell("kill -PIPE $$; exit 0"), on: loop)
      #expect(await child.exit().signal == SIGPIPE)
      child.close()
    }
  }

  @Test("a new session and group are numbered by the pid; otherwise the child shares ours", arguments: [true, false])
  func session(isNew: Bool) async throws {
    try await withLoop { loop in
      let child = try ChildProcess.spawn(
        .shell("read x", stdin: .pipe, newSession: isNew), on: loop)
      #expect(getsid(child.pid) == (isNew ? child.pid : getsid(0)))
      #expect(getpgid(child.pid) == (isNew ? child.pid : getpgrp()))
      child.stdin!.close()
      _ = await child.exit()
      child.closeAll()
    }
  }

  @Test("killing the group also ends grandchildren in the background, whatever they ignore")
  func group() async throws {
    try await withLoop { loop in
      let script = """
        trap '' TERM HUP
        sh -c 'echo $$; while :; do sleep 1000; done' &
        (sh -c 'echo $$; while :; do sleep 1000; done' &)
        while :; do wait; done
        """
      let child = try ChildProcess.spawn(.shell(script, stdout: .pipe, newSession: true), on: loop)
      let output = Inbox(child.stdout!)
      #expect(await eventually { output.text.filter { $0 == "\n" }.count == 2 })
      let grandchildren = output.text.split(separator: "\n").compactMap { Int32($0) }
      #expect(grandchildren.count == 2)
      for grandchild in grandchildren { #expect(getpgid(grandchild) == child.pid) }
      child.killGroup(SIGTERM)
      try await loop.sleep(for: .milliseconds(20))
      #expect(grandchildren.allSatisfy(isAlive) && isAlive(child.pid), "they ignore SIGTERM")

      child.killGroup(SIGKILL)
      #expect(await child.exit() == ChildEnd(code: 0, signal: SIGKILL))
      // The pipe's end comes when the last of them is gone.
      #expect(await eventually { output.end == .end })
      #expect(await eventually { !grandchildren.contains(where: isAlive) })
      child.closeAll()
    }
  }

  @Test("signals after the end, before libuv has seen it or later, go nowhere")
  func late() async throws {
    try await withLoop { loop in
      let child = try ChildProcess.spawn(.shell("exit 5", newSession: true), on: loop)
      // The loop does not turn meanwhile, so the child is a zombie that nobody has reaped.
      var information = siginfo_t()
      #expect(waitid(P_PID, id_t(child.pid), &information, WEXITED | WNOWAIT) == 0)
      child.kill(SIGKILL)
      child.killGroup(SIGKILL)
      #expect(await child.exit() == ChildEnd(code: 5, signal: 0))
      #expect(kill(child.pid, 0) == -1 && errno == ESRCH)
      child.kill(SIGKILL)
      child.killGroup(SIGKILL)
      child.close()
      child.kill(SIGKILL)
      #expect(await child.exit() == ChildEnd(code: 5, signal: 0))
    }
  }
}

/// Whether a process runs; one that has ended and waits to be reaped does not (proc(5), `/proc/pid/stat`).
private func isAlive(_ pid: Int32) -> Bool {
  guard let file = fopen("/proc/\(pid)/stat", "re") else { return false }
  defer { fclose(file) }
  var line = [CChar](repeating: 0, count: 512)
  guard fgets(&line, Int32(line.count), file) != nil else { return false }
  let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  guard let name = text.lastIndex(of: ")") else { return false }
  return !["Z", "X"].contains(text[name...].dropFirst(2).prefix(1))
}
