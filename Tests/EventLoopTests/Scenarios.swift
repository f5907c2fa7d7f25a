import EventLoop
import Glibc
import Testing

// Ways in which handles are used and end, for LifetimeTests. Each closes what it opened, some of it in the middle of
// something.

struct Scenario: Sendable, CustomTestStringConvertible {
  let name: String
  let play: @Sendable (EventLoop, Handles) async throws -> Void
  var testDescription: String { name }

  static let all = network + timers + children

  private static let network = [
    Scenario(name: "streams reset while bytes are queued") { loop, handles in
      let pair = handles.add(try await Pair.make(on: loop))
      let inbox = Inbox(pair.server)
      pair.client.write([UInt8](repeating: 1, count: 10_000_000))
      pair.client.reset()
      try #require(await eventually { inbox.end != nil })
      pair.server.reset()
      pair.listener.close()
    },
    Scenario(name: "half closed streams") { loop, handles in
      let pair = handles.add(try await Pair.make(on: loop))
      let (atServer, atClient) = (Inbox(pair.server), Inbox(pair.client))
      try await pair.client.shutdownWrite()
      try #require(await eventually { atServer.end == .end })
      pair.server.write(Array("bye".utf8))
      try await pair.server.shutdownWrite()
      try #require(try await atClient.whole() == "bye")
      pair.close()
    },
    Scenario(name: "a stream closed while a half close waits for its bytes") { loop, handles in
      let pair = handles.add(try await Pair.make(on: loop))
      pair.client.write([UInt8](repeating: 1, count: 10_000_000))
      let shutdown = Task(executorPreference: loop) { try await pair.client.shutdownWrite() }
      await Task.yield()
      pair.close()
      _ = await shutdown.result
    },
    Scenario(name: "a listener closed with connections in its backlog") { loop, handles in
      let listener = handles.add(try TCPListener.listen(on: loop, address: anyPort) { handles.add($0).close() })
      listener.pause()
      let address = listener.localAddress!
      for _ in 0..<5 { handles.add(try await TCPStream.connect(to: address, on: loop)) }
      listener.close()
      handles.closeAll()
    },
    Scenario(name: "a connection that is refused, and one that is cancelled") { loop, handles in
      let listener = handles.add(try TCPListener.listen(on: loop, address: anyPort) { handles.add($0).close() })
      let address = listener.localAddress!
      let attempt = Task(executorPreference: loop) { try await TCPStream.connect(to: address, on: loop).close() }
      attempt.cancel()
      _ = await attempt.result
      listener.close()
      try? await TCPStream.connect(to: address, on: loop).close()
    },
    Scenario(name: "datagrams on their way when the sockets close") { loop, handles in
      var received = 0
      let receiver = handles.add(try UDPSocket.bind(to: anyPort, on: loop) { _ in received += 1 })
      let sender = handles.add(try UDPSocket.bind(to: anyPort, on: loop) { _ in })
      for _ in 0..<100 { try sender.send([1, 2, 3], to: receiver.localAddress!) }
      try #require(await eventually { received > 0 })
      for _ in 0..<100 { try sender.send([1, 2, 3], to: receiver.localAddress!) }
      receiver.close()
      sender.close()
    },
  ]

  private static let timers = [
    Scenario(name: "a timer cancelled, one that repeats, one closed by its own handler") { loop, handles in
      var firings = 0
      let (cancelled, repeating, own) = (Timer(on: loop), Timer(on: loop), Timer(on: loop))
      for timer in [cancelled, repeating, own] { handles.add(timer) }
      cancelled.schedule(after: .seconds(3600)) { firings += 1000 }
      cancelled.cancel()
      repeating.schedule(after: .zero, repeating: .milliseconds(1)) { firings += 1 }
      own.schedule(after: .milliseconds(1)) { [unowned own] in own.close() }
      try #require(await eventually { firings >= 3 && own.isClosed })
      cancelled.close()
      repeating.close()
    },
    Scenario(name: "a sleep that ends, and one that is cancelled") { loop, handles in
      handles.add(Timer(on: loop)).close()
      let sleeper = Task(executorPreference: loop) { try await loop.sleep(for: .seconds(3600)) }
      try await loop.sleep(for: .milliseconds(1))
      sleeper.cancel()
      _ = await sleeper.result
    },
    Scenario(name: "a signal, delivered to one source while another closes") { loop, handles in
      var delivered = 0
      let source = handles.add(try SignalSource(SIGURG, on: loop) { delivered += 1 })
      let other = handles.add(try SignalSource(SIGURG, on: loop) {})
      try #require(kill(getpid(), SIGURG) == 0)
      other.close()
      try #require(await eventually { delivered == 1 })
      source.close()
    },
    Scenario(name: "a signal that cannot be watched, an address that cannot be bound") { loop, handles in
      let socket = handles.add(try UDPSocket.bind(to: anyPort, on: loop) { _ in })
      #expect(throws: UVError.self) { try SignalSource(SIGKILL, on: loop) {} }
      #expect(throws: UVError.self) { try UDPSocket.bind(to: socket.localAddress!, on: loop) { _ in } }
      socket.close()
    },
  ]

  private static let children = [
    Scenario(name: "a child killed with all its pipes open and bytes in them") { loop, handles in
      let child = handles.add(
        try ChildProcess.spawn(
          .shell("cat", stdin: .pipe, stdout: .pipe, stderr: .pipe, newSession: true), on: loop))
      child.stdin!.write([UInt8](repeating: 1, count: 1_048_576))
      let inbox = Inbox(child.stdout!)
      try #require(await eventually { !inbox.bytes.isEmpty })
      child.killGroup(SIGKILL)
      try #require(await child.exit().signal == SIGKILL)
      child.closeAll()
    },
    Scenario(name: "a child closed before it ends") { loop, handles in
      let child = handles.add(try ChildProcess.spawn(.shell("read x", stdin: .pipe), on: loop))
      child.close()
      child.stdin!.close()
      _ = await child.exit()
    },
    Scenario(name: "a child's stdin closed after its bytes") { loop, handles in
      let child = handles.add(try ChildProcess.spawn(.shell("cat >/dev/null", stdin: .pipe), on: loop))
      child.stdin!.write([UInt8](repeating: 1, count: 1_048_576))
      try await child.stdin!.shutdownWrite()
      try #require(await child.exit().code == 0)
      child.closeAll()
    },
    Scenario(name: "a program that does not exist") { loop, handles in
      handles.add(Timer(on: loop)).close()
      let options = ChildProcess.Options(executable: "/no/such/program", stdin: .pipe, stdout: .pipe, stderr: .pipe)
      #expect(throws: UVError.self) { try ChildProcess.spawn(options, on: loop) }
    },
  ]
}
