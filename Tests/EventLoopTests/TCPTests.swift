import EventLoop
import Testing

/// A loop of its own for one test, which at its end finds no live handle.
func withLoop(_ body: @escaping @Sendable (EventLoop) async throws -> Void) async throws {
  let loop = try EventLoop()
  loop.start()
  let task = Task(executorPreference: loop) { try await LoopBody(loop: loop).run(body) }
  let result = await task.result
  let left = await Task(executorPreference: loop) {
    for _ in 0..<500 where !loop.liveHandles.isEmpty { try? await loop.sleep(for: .milliseconds(1)) }
    return loop.liveHandles
  }.value
  #expect(left == [], "handles are left open")
  await loop.stop()
  try result.get()
}

/// Runs a test's body isolated to its loop.
actor LoopBody {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  init(loop: EventLoop) { self.loop = loop }
  func run(_ body: @Sendable (EventLoop) async throws -> Void) async throws { try await body(loop) }
}

@Test("bytes come back from an echo server")
func echo() async throws {
  try await withLoop { loop in
    let listener = try TCPListener.listen(on: loop, address: SocketAddress(host: "127.0.0.1", port: 0)) { peer in
      peer.startReading { event in
        if case .bytes(let bytes) = event { peer.write(Array(bytes)) } else { peer.close() }
      }
    }
    let stream = try await TCPStream.connect(to: listener.localAddress!, on: loop)
    let (answers, feed) = AsyncStream<[UInt8]>.makeStream()
    stream.startReading { if case .bytes(let bytes) = $0 { feed.yield(Array(bytes)) } }
    stream.write(Array("hello".utf8))
    for await answer in answers {
      #expect(answer == Array("hello".utf8))
      break
    }
    stream.close()
    listener.close()
  }
}

@Test("a child's output, exit status and signal are seen")
func child() async throws {
  try await withLoop { loop in
    let child = try ChildProcess.spawn(
      .init(executable: "/bin/sh", arguments: ["-c", "echo out; exit 3"], stdout: .pipe, newSession: true), on: loop)
    let (chunks, feed) = AsyncStream<[UInt8]>.makeStream()
    child.stdout!.startReading { if case .bytes(let bytes) = $0 { feed.yield(Array(bytes)) } else { feed.finish() } }
    var output: [UInt8] = []
    for await chunk in chunks { output += chunk }
    #expect(String(decoding: output, as: UTF8.self) == "out\n")
    #expect(await child.exit() == ExitStatus(code: 3, signal: 0))
    child.stdout!.close()
    child.close()
    #expect(throws: UVError.self) { try ChildProcess.spawn(.init(executable: "/no/such/program"), on: loop) }
  }
}
