import EventLoop
import Glibc
import Testing

@Suite("TCP", .timeLimit(.minutes(5)))
struct TCPTests {
  @Test("bytes come back from an echo server")
  func echo() async throws {
    try await withLoop { loop in
      let pair = try await Pair.make(on: loop)
      pair.server.startReading { if case .bytes(let bytes) = $0 { pair.server.write(Array(bytes)) } }
      let inbox = Inbox(pair.client)
      pair.client.write(Array("hello".utf8))
      #expect(await eventually { inbox.text == "hello" })
      #expect(pair.client.peerAddress == pair.listener.localAddress)
      #expect(pair.client.localAddress == pair.server.peerAddress)
      pair.close()
      #expect(pair.client.localAddress == nil && pair.listener.localAddress == nil)
      pair.close()
    }
  }

  @Test("50 MB arrive whole at a slow reader, while the writer's queue stays bounded")
  func backpressure() async throws {
    try await withLoop { loop in
      let pair = try await Pair.make(on: loop)
      let chunk = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 % 251) }
      let pattern = chunk + chunk
      let total = 500 * chunk.count
      var received = 0
      var isRight = true
      var rounds = 0
      let timer = Timer(on: loop)
      func read() {
        pair.server.startReading { event in
          guard case .bytes(let bytes) = event else { return }
          let start = received % chunk.count
          pattern.withUnsafeBytes { expected in
            isRight = isRight && memcmp(bytes.baseAddress!, expected.baseAddress! + start, bytes.count) == 0
          }
          received += bytes.count
          rounds += 1
          // Every so often it is busy with something else.
          if rounds % 64 == 0 {
            pair.server.stopReading()
            let seen = received
            timer.schedule(after: .milliseconds(1)) {
              #expect(received == seen, "bytes are delivered after stopReading")
              read()
            }
          }
        }
      }
      read()
      var mostQueued = 0
      for _ in 0..<500 {
        pair.client.write(chunk)
        mostQueued = max(mostQueued, pair.client.queuedBytes)
        try await pair.client.drained()
        #expect(pair.client.queuedBytes <= ByteStream.lowWater)
      }
      #expect(await eventually { received == total })
      #expect(isRight)
      #expect(mostQueued <= ByteStream.lowWater + chunk.count)
      timer.close()
      pair.close()
    }
  }

  @Test("a reader that stops is sent nothing more than the system buffers")
  func readerStops() async throws {
    try await withLoop { loop in
      let pair = try await Pair.make(on: loop)
      pair.client.write([UInt8](repeating: 1, count: 20_000_000))
      let queued = pair.client.queuedBytes
      #expect(queued > 1_000_000)
      let writer = Task(executorPreference: loop) { try await pair.client.drained() }
      try await loop.sleep(for: .milliseconds(20))
      #expect(pair.client.queuedBytes > 1_000_000)
      let inbox = Inbox(pair.server)
      try await writer.value
      #expect(await eventually { inbox.bytes.count == 20_000_000 })
      pair.close()
    }
  }

  @Test("after the client's half close the server still answers, and the other way round")
  func halfClose() async throws {
    try await withLoop { loop in
      for isServerFirst in [false, true] {
        let pair = try await Pair.make(on: loop)
        let (first, second) = isServerFirst ? (pair.server, pair.client) : (pair.client, pair.server)
        let (atFirst, atSecond) = (Inbox(first), Inbox(second))
        // More than the system buffers: the half close waits for what is queued.
        first.write([UInt8](repeating: 7, count: 10_000_000))
        try await first.shutdownWrite()
        #expect(await eventually { atSecond.end == .end })
        #expect(atSecond.bytes.count == 10_000_000)
        #expect(atFirst.end == nil)
        second.write(Array("answer".utf8))
        try await second.shutdownWrite()
        #expect(try await atFirst.whole() == "answer")
        #expect(atFirst.end == .end)
        pair.close()
      }
    }
  }

  @Test("a write after the half close is an error, and does not end the process")
  func writeAfterHalfClose() async throws {
    try await withLoop { loop in
      let pair = try await Pair.make(on: loop)
      let inbox = Inbox(pair.client)
      try await pair.client.shutdownWrite()
      pair.client.write([1])
      #expect(await eventually { inbox.end == .failed(UVError.brokenPipe) })
      await #expect(throws: UVError(code: UVError.brokenPipe, operation: "write")) {
        try await pair.client.drained()
      }
      pair.close()
    }
  }

  @Test("a reset is seen as ECONNRESET by the reader and by the writer")
  func reset() async throws {
    try await withLoop { loop in
      let pair = try await Pair.make(on: loop)
      let inbox = Inbox(pair.client)
      pair.server.reset()
      #expect(await eventually { inbox.end == .failed(UVError.connectionReset) })
      #expect(UVError(code: UVError.connectionReset, operation: "read").name == "ECONNRESET")
      await #expect(throws: UVError.self) { try await pair.client.drained() }
      pair.close()

      let other = try await Pair.make(on: loop)
      other.client.write([UInt8](repeating: 0, count: 20_000_000))
      let writer = Task(executorPreference: loop) { try await other.client.drained() }
      await Task.yield()
      other.server.reset()
      let error = await #expect(throws: UVError.self) { try await writer.value }
      #expect(error?.code == UVError.connectionReset)
      #expect(other.client.queuedBytes > 0 || other.client.isClosed == false)
      other.close()
    }
  }

  @Test("an answer that a peer sent before it reset the connection is still read")
  func answerBeforeReset() async throws {
    try await withLoop { loop in
      let pair = try await Pair.make(on: loop)
      let server = pair.server
      // The server refuses, and closes without having read: the system turns that into a reset.
      server.write(Array("too big".utf8))
      pair.client.write([UInt8](repeating: 0, count: 100_000))
      try await loop.sleep(for: .milliseconds(5))
      server.close()
      let inbox = Inbox(pair.client)
      // It goes on sending until that fails.
      while inbox.end == nil {
        pair.client.write([UInt8](repeating: 0, count: 100_000))
        await Task.yield()
      }
      #expect(inbox.text == "too big")
      pair.close()
    }
  }

  @Test("closing ends what waits on the stream")
  func closing() async throws {
    try await withLoop { loop in
      let pair = try await Pair.make(on: loop)
      pair.client.write([UInt8](repeating: 0, count: 20_000_000))
      let writer = Task(executorPreference: loop) { try await pair.client.drained() }
      let shutdown = Task(executorPreference: loop) { try await pair.client.shutdownWrite() }
      await Task.yield()
      pair.client.close()
      for task in [writer, shutdown] {
        let error = await #expect(throws: UVError.self) { try await task.value }
        #expect(error?.code == UVError.cancelled)
      }
      // All of these are harmless now.
      pair.client.write([1])
      pair.client.startReading { _ in Issue.record("a closed stream delivers") }
      pair.client.stopReading()
      pair.client.reset()
      #expect(pair.client.queuedBytes == 0 && pair.client.isClosed)
      await #expect(throws: UVError.self) { try await pair.client.drained() }
      await #expect(throws: UVError.self) { try await pair.client.shutdownWrite() }
      pair.close()
    }
  }

  @Test("a stream closed by its own handler delivers nothing more")
  func closedInHandler() async throws {
    try await withLoop { loop in
      let pair = try await Pair.make(on: loop)
      var events = 0
      pair.server.startReading { _ in
        events += 1
        pair.server.close()
      }
      pair.client.write([UInt8](repeating: 0, count: 1_000_000))
      #expect(await eventually { pair.server.isClosed })
      try await loop.sleep(for: .milliseconds(5))
      #expect(events == 1)
      pair.close()
    }
  }

  @Test("a refused connection is an error and leaves no handle")
  func refused() async throws {
    try await withLoop { loop in
      let listener = try TCPListener.listen(on: loop, address: anyPort) { $0.close() }
      let address = listener.localAddress!
      listener.close()
      let error = await #expect(throws: UVError.self) { try await TCPStream.connect(to: address, on: loop) }
      #expect(error?.code == UVError.connectionRefused)
      #expect(error?.description == "connect to \(address): connection refused (ECONNREFUSED)")
    }
  }

  @Test("both ends of a connection notice a peer that vanished, whether or not anything is on its way")
  func vanishedPeer() async throws {
    try await withLoop { loop in
      let pair = try await Pair.make(on: loop)
      for stream in [pair.client, pair.server] {
        let address = try #require(stream.localAddress)
        let peer = try #require(stream.peerAddress)
        func port(
          _ name: (Int32, UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32, _ end: Int32
        )
          -> UInt16?
        {
          var (address, size) = (sockaddr_in(), socklen_t(MemoryLayout<sockaddr_in>.size))
          let code = withUnsafeMutableBytes(of: &address) {
            name(end, $0.assumingMemoryBound(to: sockaddr.self).baseAddress!, &size)
          }
          return code == 0 && address.sin_family == AF_INET ? UInt16(bigEndian: address.sin_port) : nil
        }
        let descriptor = try #require(
          (3..<4096).first { port(getsockname, $0) == address.port && port(getpeername, $0) == peer.port })
        func option(_ level: Int32, _ name: Int32) -> Int32 {
          var (value, size) = (Int32(-1), socklen_t(4))
          return getsockopt(descriptor, level, name, &value, &size) == 0 ? value : -1
        }
        #expect(option(SOL_SOCKET, SO_KEEPALIVE) == 1)
        let tcp = Int32(IPPROTO_TCP)
        #expect(option(tcp, TCP_KEEPIDLE) == 15 && option(tcp, TCP_KEEPINTVL) == 15)
        #expect(option(tcp, TCP_USER_TIMEOUT) == 60_000)
      }
      pair.close()
    }
  }

  @Test("a connection attempt ends at once when its task is cancelled")
  func cancelled() async throws {
    try await withLoop { loop in
      // A listener whose backlog is full does not answer.
      let listener = try TCPListener.listen(on: loop, address: anyPort, backlog: 0) { $0.close() }
      listener.pause()
      let address = listener.localAddress!
      var attempts: [Task<TCPStream?, Never>] = []
      for _ in 0..<4 {
        attempts.append(Task(executorPreference: loop) { try? await TCPStream.connect(to: address, on: loop) })
      }
      try await loop.sleep(for: .milliseconds(20))
      var streams: [TCPStream] = []
      for attempt in attempts {
        attempt.cancel()
        if let stream = await attempt.value { streams.append(stream) }
      }
      #expect(streams.count < 4)
      let already = Task(executorPreference: loop) {
        withUnsafeCurrentTask { $0?.cancel() }
        return try await TCPStream.connect(to: address, on: loop)
      }
      let error = await #expect(throws: UVError.self) { try await already.value }
      #expect(error?.code == UVError.cancelled)
      for stream in streams { stream.close() }
      listener.close()
    }
  }

  @Test("a cancellation after the connection stands does not touch it")
  func cancelledLate() async throws {
    try await withLoop { loop in
      let listener = try TCPListener.listen(on: loop, address: anyPort) { peer in
        peer.startReading { if case .bytes(let bytes) = $0 { peer.write(Array(bytes)) } else { peer.close() } }
      }
      let address = listener.localAddress!
      let task = Task(executorPreference: loop) {
        let stream = try await TCPStream.connect(to: address, on: loop)
        withUnsafeCurrentTask { $0?.cancel() }
        let inbox = Inbox(stream)
        stream.write([42])
        while inbox.bytes.isEmpty && inbox.end == nil { await Task.yield() }
        #expect(inbox.bytes == [42])
        stream.close()
      }
      try await task.value
      listener.close()
    }
  }

  @Test("500 connections opened, used and closed at random leave nothing behind")
  func stress() async throws {
    var generator = SystemRandomNumberGenerator()
    let seed = generator.next()
    try await withLoop { loop in
      var random = SplitMix(state: seed)
      var served: [TCPStream] = []
      let listener = try TCPListener.listen(on: loop, address: anyPort) { peer in
        served.append(peer)
        peer.startReading { event in
          if case .bytes(let bytes) = event { peer.write(Array(bytes)) } else { peer.close() }
        }
      }
      let address = listener.localAddress!
      var tasks: [Task<Void, any Error>] = []
      for _ in 0..<500 {
        let (size, ending) = (Int(random.next() % 100_000) + 1, random.next() % 5)
        let wait = Duration.milliseconds(Int(random.next() % 200))
        tasks.append(
          Task(executorPreference: loop) {
            try await loop.sleep(for: wait)
            let stream = try await TCPStream.connect(to: address, on: loop)
            defer { stream.close() }
            let inbox = Inbox(stream)
            stream.write([UInt8](repeating: 1, count: size))
            switch ending {
            case 0: stream.reset()
            case 1: stream.close()
            case 2: try await stream.shutdownWrite()
            default: #expect(await eventually { inbox.bytes.count == size }, "seed \(seed)")
            }
          })
      }
      for task in tasks where random.next() % 10 == 0 { task.cancel() }
      for task in tasks { _ = await task.result }
      listener.close()
      // Those whose client vanished before they were accepted never came.
      #expect(await eventually { served.allSatisfy(\.isClosed) }, "seed \(seed)")
    }
  }
}

/// Vigna's SplitMix64, so that a failing run can be repeated from its seed.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}
