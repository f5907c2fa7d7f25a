import EventLoop
import Glibc
import Testing

@Suite("TCPListener", .timeLimit(.minutes(5)))
struct ListenerTests {
  @Test("a paused listener leaves clients in the backlog until it resumes")
  func pausing() async throws {
    try await withLoop { loop in
      var accepted: [TCPStream] = []
      let listener = try TCPListener.listen(on: loop, address: anyPort) { accepted.append($0) }
      listener.pause()
      let client = try await TCPStream.connect(to: listener.localAddress!, on: loop)
      try await loop.sleep(for: .milliseconds(20))
      #expect(accepted.isEmpty)
      listener.resume()
      #expect(await eventually { accepted.count == 1 })
      client.close()
      accepted.first?.close()
      listener.close()
    }
  }

  @Test("a listener may be closed by its own handler")
  func closedInHandler() async throws {
    try await withLoop { loop in
      var listener: TCPListener?
      var accepted = 0
      listener = try TCPListener.listen(on: loop, address: anyPort) { stream in
        accepted += 1
        stream.close()
        listener?.close()
      }
      let address = listener!.localAddress!
      for _ in 0..<3 { try? await TCPStream.connect(to: address, on: loop).close() }
      #expect(await eventually { listener!.isClosed })
      #expect(accepted == 1)
    }
  }

  @Test("a port in use is an error and leaves no handle; a closed listener's port is free at once")
  func portInUse() async throws {
    try await withLoop { loop in
      let first = try TCPListener.listen(on: loop, address: anyPort) { $0.close() }
      let address = first.localAddress!
      let error = #expect(throws: UVError.self) {
        try TCPListener.listen(on: loop, address: address) { $0.close() }
      }
      #expect(error?.code == UVError.addressInUse)
      #expect(error?.operation == "listen on \(address)")
      first.close()
      let second = try TCPListener.listen(on: loop, address: address) { $0.close() }
      second.close()
    }
  }

  @Test("a closed listener refuses clients and frees its port even while a child that is being forked has a copy of it")
  func closedWhileForking() async throws {
    // In a process of its own, where the listener's descriptor is the only one that listens.
    await #expect(processExitsWith: .success) {
      try await withLoop { loop in
        let listener = try TCPListener.listen(on: loop, address: anyPort) { $0.close() }
        let address = listener.localAddress!
        let copies = (0..<256).filter(isListening).map { dup($0) }
        require(copies.count == 1 && copies[0] >= 0)
        listener.close()
        let client = try? await TCPStream.connect(to: address, on: loop)
        require(client == nil, "a closed listener takes clients")
        let second = try TCPListener.listen(on: loop, address: address) { $0.close() }
        second.close()
        Glibc.close(copies[0])
      }
    }
  }

  @Test("IPv6 works as IPv4 does")
  func version6() async throws {
    try await withLoop { loop in
      let any = try SocketAddress(host: "::1", port: 0)
      // A machine without IPv6 cannot show it.
      guard let listener = try? TCPListener.listen(on: loop, address: any, onConnection: { $0.close() }) else { return }
      let client = try await TCPStream.connect(to: listener.localAddress!, on: loop)
      #expect(client.peerAddress == listener.localAddress)
      client.close()
      listener.close()
    }
  }

  @Test("without free descriptors a listener neither spins nor drops clients, and recovers")
  func outOfDescriptors() async throws {
    // In a process of its own, as the limit is the process's.
    let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
      try await withLoop { loop in
        var accepted: [TCPStream] = []
        let listener = try TCPListener.listen(on: loop, address: anyPort) { accepted.append($0) }
        var clients: [TCPStream] = []
        // Connections wait in the backlog, then everything that is left is used up.
        listener.pause()
        for _ in 0..<8 { clients.append(try await TCPStream.connect(to: listener.localAddress!, on: loop)) }
        var hoard: [Int32] = []
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), [rlimit(rlim_cur: 256, rlim_max: 256)])
        while case let descriptor = dup(0), descriptor >= 0 { hoard.append(descriptor) }
        listener.resume()

        let before = processorTime()
        try await loop.sleep(for: .milliseconds(500))
        // Whatever else runs in the process may have given a descriptor back; the rest must wait.
        require(accepted.count < 8, "descriptors were left")
        require(processorTime() - before < .milliseconds(100), "the listener spins")

        for descriptor in hoard { Glibc.close(descriptor) }
        require(await eventually { accepted.count == 8 }, "the clients are lost")
        for (client, server) in zip(clients, accepted) {
          let inbox = Inbox(client)
          server.write([1])
          require(await eventually { inbox.bytes == [1] })
        }
        for stream in clients + accepted { stream.close() }
        listener.close()
      }
    }
    #expect(String(decoding: result?.standardErrorContent ?? [], as: UTF8.self) == "")
  }
}

/// Ends the process of an exit test when something does not hold.
private func require(_ condition: Bool, _ message: String = "") { precondition(condition, message) }

private func isListening(_ descriptor: Int32) -> Bool {
  var (answer, size) = (Int32(0), socklen_t(MemoryLayout<Int32>.size))
  return getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &answer, &size) == 0 && answer == 1
}

/// What the process has used of the processors so far.
private func processorTime() -> Duration {
  var time = timespec()
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
  return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
}
