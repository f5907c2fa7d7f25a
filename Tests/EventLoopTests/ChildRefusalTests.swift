import EventLoop
import Glibc
import Testing

// Programs that cannot be started: the error names them, and neither a handle nor a descriptor is left.

@Suite("Children that cannot start", .timeLimit(.minutes(5)))
struct ChildRefusalTests {
  @Test("a program that does not exist is an error that names it, and leaves no handle")
  func noProgram() async throws {
    try await withLoop { loop in
      for name in ["/no/such/program", "no-such-program"] {
        let options = ChildProcess.Options(
          executable: name, environment: ["PATH=/usr/bin:/bin"], stdin: .pipe, stdout: .pipe, stderr: .pipe)
        let error = #expect(throws: UVError.self) { try ChildProcess.spawn(options, on: loop) }
        #expect(error?.code == UVError.noEntry)
        #expect(error?.description == "run \(name): no such file or directory (ENOENT)")
        #expect(await eventually { loop.liveHandles.isEmpty })
      }
    }
  }

  @Test("a file that may not be executed is an error that names it, and leaves no handle")
  func notExecutable() async throws {
    try await withLoop { loop in
      let directory = TestDirectory()
      directory.addPlainFile("plain")
      let options = ChildProcess.Options(executable: directory.path + "/plain", stdout: .pipe)
      let error = #expect(throws: UVError.self) { try ChildProcess.spawn(options, on: loop) }
      #expect(error?.code == UVError.accessDenied)
      #expect(error?.operation == "run \(directory.path)/plain")
      #expect(await eventually { loop.liveHandles.isEmpty })
    }
  }

  @Test("a working directory that does not exist is an error, and leaves no handle")
  func noDirectory() async throws {
    try await withLoop { loop in
      let options = ChildProcess.Options(executable: "/bin/true", workingDirectory: "/no/such/directory")
      let error = #expect(throws: UVError.self) { try ChildProcess.spawn(options, on: loop) }
      #expect(error?.code == UVError.noEntry)
      #expect(await eventually { loop.liveHandles.isEmpty })
    }
  }

  @Test("a zero byte in a string is refused before anything is made")
  func invalid() async throws {
    try await withLoop { loop in
      let wrong: [ChildProcess.Options] = [
        .init(executable: "/bin/tr\0ue"), .init(executable: "/bin/true", arguments: ["a\0b"]),
        .init(executable: "/bin/true", environment: ["A=\0"]),
        .init(executable: "/bin/true", workingDirectory: "/t\0mp"),
      ]
      for options in wrong {
        let error = #expect(throws: UVError.self) { try ChildProcess.spawn(options, on: loop) }
        #expect(error?.code == UVError.invalid)
        #expect(loop.liveHandles.isEmpty)
      }
    }
  }

  @Test("failed starts leave no descriptor")
  func descriptors() async throws {
    // In a process of its own, as other tests open descriptors too.
    let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
      try await withLoop { loop in
        func fail() async {
          for name in ["/no/such/program", "/"] {
            let options = ChildProcess.Options(executable: name, stdin: .pipe, stdout: .pipe, stderr: .pipe)
            let child = try? ChildProcess.spawn(options, on: loop)
            precondition(child == nil)
          }
          let isClosed = await eventually { loop.liveHandles.isEmpty }
          precondition(isClosed)
        }
        await fail()
        let before = countEntries("/proc/self/fd")
        for _ in 0..<50 { await fail() }
        let after = countEntries("/proc/self/fd")
        // Swift may open some of its own meanwhile, when it first needs them: fewer than a leak in each round.
        precondition(before > 2 && after < before + 10, "\(before) descriptors became \(after)")
      }
    }
    #expect(
      result?.standardErrorContent == [], "\(String(decoding: result?.standardErrorContent ?? [], as: UTF8.self))")
  }
}
