import EventLoop
import Glibc
import Testing

// Children: how they end, what they are connected to, and what they find around them. Their signals and process groups
// are in ChildSignalTests, what cannot be started in ChildRefusalTests.

@Suite("ChildProcess", .timeLimit(.minutes(5)))
struct ChildProcessTests {
  @Test("the exit status is what the program passed to exit", arguments: [0, 1, 7, 255])
  func exitStatus(code: Int64) async throws {
    try await withLoop { loop in
      let child = try ChildProcess.spawn(.shell("exit \(code)"), on: loop)
      #expect(child.pid > 1)
      #expect(await child.exit() == ChildEnd(code: code, signal: 0))
      child.close()
    }
  }

  @Test("any number of tasks may wait for the end, before and after it, and after close")
  func manyWaiters() async throws {
    try await withLoop { loop in
      let child = try ChildProcess.spawn(.shell("read x; exit 3", stdin: .pipe), on: loop)
      let waiters = (0..<5).map { _ in Task(executorPreference: loop) { await child.exit() } }
      child.stdin!.close()
      for waiter in waiters { #expect(await waiter.value.code == 3) }
      #expect(await child.exit().code == 3)
      child.close()
      #expect(await child.exit().code == 3)
    }
  }

  @Test("closing a child that runs does not touch it; its handle lives until it has ended")
  func closedWhileRunning() async throws {
    try await withLoop { loop in
      let child = try ChildProcess.spawn(.shell("read x; exit $x", stdin: .pipe), on: loop)
      child.close()
      child.close()
      try await loop.sleep(for: .milliseconds(5))
      #expect(await eventually { loop.liveHandles == ["pipe", "process"] })
      child.stdin!.write(Array("9\n".utf8))
      #expect(await child.exit() == ChildEnd(code: 9, signal: 0))
      child.stdin!.close()
      #expect(await eventually { loop.liveHandles.isEmpty })
    }
  }

  @Test("1 MiB goes through all three pipes at once, whole and in order")
  func pipes() async throws {
    try await withLoop { loop in
      let input = (0..<1_048_576).map { UInt8(truncatingIfNeeded: $0 % 251) }
      let child = try ChildProcess.spawn(
        .shell("tee /dev/stderr", stdin: .pipe, stdout: .pipe, stderr: .pipe), on: loop)
      let (output, errors) = (Inbox(child.stdout!), Inbox(child.stderr!))
      child.stdin!.write(input)
      #expect(child.stdin!.queuedBytes > 0, "a pipe holds less")
      try await child.stdin!.shutdownWrite()
      #expect(await eventually { output.end != nil && errors.end != nil })
      #expect(output.end == .end && errors.end == .end)
      #expect(output.bytes == input, "\(output.bytes.count) bytes")
      #expect(errors.bytes == input, "\(errors.bytes.count) bytes")
      #expect(await child.exit() == ChildEnd(code: 0, signal: 0))
      child.closeAll()
    }
  }

  @Test("a child that writes more than a pipe holds waits until it is read")
  func unreadOutput() async throws {
    try await withLoop { loop in
      let script = "head -c 1048576 /dev/zero; echo done >&2"
      let child = try ChildProcess.spawn(.shell(script, stdout: .pipe, stderr: .pipe), on: loop)
      let errors = Inbox(child.stderr!)
      try await loop.sleep(for: .milliseconds(50))
      #expect(errors.bytes.isEmpty && errors.end == nil)
      let output = Inbox(child.stdout!)
      #expect(await eventually { output.end == .end })
      #expect(output.bytes.count == 1_048_576)
      #expect(try await errors.whole() == "done\n")
      #expect(await child.exit().code == 0)
      child.closeAll()
    }
  }

  @Test("stdin closed early by the child is an error of the writer, and ends nobody")
  func stdinClosedEarly() async throws {
    try await withLoop { loop in
      let script = "head -c 1000 >&2; exec <&-; echo closed; read x <&2"
      for isQueued in [true, false] {
        let child = try ChildProcess.spawn(.shell(script, stdin: .pipe, stdout: .pipe, stderr: .null), on: loop)
        let output = Inbox(child.stdout!)
        // Either the child closes its end while the writer waits, or nothing waits and a later write finds it closed:
        // not always the next, as a child that another thread is forking may hold a copy of the end for a moment.
        let stdin = child.stdin!
        stdin.write([UInt8](repeating: 65, count: isQueued ? 1_048_576 : 1000))
        if !isQueued {
          #expect(try await output.whole() == "closed\n")
          let isBroken = await eventually {
            stdin.write([65])
            do { try await stdin.drained() } catch { return true }
            return false
          }
          #expect(isBroken)
        }
        let error = await #expect(throws: UVError.self) { try await stdin.drained() }
        #expect(error?.code == UVError.brokenPipe)
        // What is written later is dropped.
        child.stdin!.write([65])
        await #expect(throws: UVError.self) { try await child.stdin!.shutdownWrite() }
        #expect(try await output.whole() == "closed\n")
        #expect(await child.exit().signal == 0)
        child.closeAll()
      }
    }
  }

  @Test("a child that does not read its stdin does not hold up its end")
  func stdinUnread() async throws {
    try await withLoop { loop in
      let child = try ChildProcess.spawn(.shell("exit 4", stdin: .pipe), on: loop)
      child.stdin!.write([UInt8](repeating: 65, count: 1_048_576))
      await #expect(throws: UVError.self) { try await child.stdin!.drained() }
      #expect(await child.exit().code == 4)
      child.closeAll()
    }
  }

  @Test("the child has the environment it is given, and nothing of ours")
  func environment() async throws {
    try await withLoop { loop in
      setenv("HERO_NOT_FOR_CHILDREN", "1", 1)
      let environment = ["A=1", "B=two words", "EMPTY=", "LINES=one\ntwo", "Ü=ü"]
      let result = try await run(
        .init(executable: "/usr/bin/env", arguments: ["-0"], environment: environment), on: loop)
      #expect(result.output.split(separator: "\0").map(String.init) == environment)
      #expect(result.status.code == 0)
    }
  }

  @Test("arguments arrive as they are, also empty ones")
  func arguments() async throws {
    try await withLoop { loop in
      let arguments = ["%s|", "", "a b", "$HOME", "'", "ü", "-n"]
      let result = try await run(.init(executable: "/usr/bin/printf", arguments: arguments), on: loop)
      #expect(result.output == "|a b|$HOME|'|ü|-n|")
    }
  }

  @Test("the child starts in its working directory")
  func workingDirectory() async throws {
    try await withLoop { loop in
      let directory = TestDirectory()
      let result = try await run(.init(executable: "/bin/pwd", workingDirectory: directory.path), on: loop)
      #expect(result.output == directory.path + "\n")
    }
  }

  @Test("a program is looked up in the child's PATH")
  func path() async throws {
    try await withLoop { loop in
      let directory = TestDirectory()
      directory.addLink("a-program-of-this-test", to: "/bin/echo")
      let options = ChildProcess.Options(
        executable: "a-program-of-this-test", arguments: ["found"], environment: ["PATH=\(directory.path)"])
      let result = try await run(options, on: loop)
      #expect(result.output == "found\n")
    }
  }

  @Test("a stream that is not a pipe is the null device, or inherited")
  func otherStreams() async throws {
    try await withLoop { loop in
      var options = ChildProcess.Options.shell("cat; readlink /proc/$$/fd/0 /proc/$$/fd/2")
      let withNull = try await run(options, on: loop)
      #expect(withNull.output == "/dev/null\n/dev/null\n")
      options.stderr = .inherit
      let inherited = try await run(options, on: loop)
      let ours = try #require(link(of: 2))
      #expect(inherited.output == "/dev/null\n\(ours)\n")
    }
  }

  @Test("closing a child that has ended does not deafen a connection that has its descriptor's number by then")
  func reusedDescriptor() async throws {
    // In a process of its own, where nobody else takes the number.
    await #expect(processExitsWith: .success) {
      try await withLoop { loop in
        var children: [ChildProcess] = []
        for _ in 0..<4 { children.append(try .spawn(.shell("exit 0"), on: loop)) }
        for child in children { _ = await child.exit() }
        let pairs = [try await Pair.make(on: loop), try await Pair.make(on: loop)]
        let inboxes = pairs.flatMap { [Inbox($0.client), Inbox($0.server)] }
        // They are being watched from the next turn on.
        try await loop.sleep(for: .milliseconds(1))
        for child in children { child.close() }
        try await loop.sleep(for: .milliseconds(1))
        for pair in pairs {
          pair.client.write([1])
          pair.server.write([2])
        }
        let haveHeard = await eventually { inboxes.allSatisfy { $0.bytes.count == 1 } }
        precondition(haveHeard, "a connection is deaf")
        for pair in pairs { pair.close() }
      }
    }
  }

  @Test("a child gets none of our sockets and pipes")
  func descriptors() async throws {
    // In a process of its own, where nobody else opens any. What its parent left open for all is not the loop's doing.
    await #expect(processExitsWith: .success) {
      let inherited = ownDescriptors()
      try await withLoop { loop in
        let pair = try await Pair.make(on: loop)
        let socket = try UDPSocket.bind(to: anyPort, on: loop) { _ in }
        let other = try ChildProcess.spawn(.shell("cat", stdin: .pipe, stdout: .pipe), on: loop)
        precondition(ownDescriptors().subtracting(inherited).count >= 5)
        let script = "for f in /proc/$$/fd/*; do case $f in */[012]) ;; *) readlink $f ;; esac; done; true"
        let result = try await run(.shell(script), on: loop)
        precondition(result.status.code == 0)
        let strangers = Set(result.output.split(separator: "\n").map(String.init)).subtracting(inherited)
        precondition(strangers.isEmpty, "the child has \(strangers)")
        other.stdin!.close()
        _ = await other.exit()
        other.closeAll()
        socket.close()
        pair.close()
      }
    }
  }

  @Test("200 children at once each have their own end")
  func many() async throws {
    try await withLoop { loop in
      var children: [ChildProcess] = []
      for _ in 0..<200 { children.append(try .spawn(.shell("read x; exit $x", stdin: .pipe), on: loop)) }
      #expect(Set(children.map(\.pid)).count == 200)
      #expect(loop.liveHandles.count == 400)
      for (number, child) in children.enumerated() { child.stdin!.write(Array("\(number)\n".utf8)) }
      for (number, child) in children.enumerated() {
        #expect(await child.exit() == ChildEnd(code: Int64(number), signal: 0))
        child.closeAll()
      }
    }
  }
}

/// What the descriptors of this process refer to.
private func ownDescriptors() -> Set<String> { Set((0..<1024).compactMap(link(of:))) }

/// What a descriptor refers to, such as `socket:[4711]`.
private func link(of descriptor: Int32) -> String? {
  var link = [UInt8](repeating: 0, count: 4096)
  let length = link.withUnsafeMutableBytes { buffer in
    readlink("/proc/self/fd/\(descriptor)", buffer.baseAddress!.assumingMemoryBound(to: CChar.self), buffer.count)
  }
  return length > 0 ? String(decoding: link.prefix(length), as: UTF8.self) : nil
}
