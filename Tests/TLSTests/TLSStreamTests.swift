import EventLoop
import TLS
import TLSFixtures
import Testing

/// Reads one delivery, stops, and reads again in the next turn of the loop.
private final class PausingReader: @unchecked Sendable {
  // @unchecked: on the loop only.
  private let stream: TLSStream
  private let loop: EventLoop
  private(set) var received: [UInt8] = []
  private(set) var deliveries = 0

  init(_ stream: TLSStream, on loop: EventLoop) {
    self.stream = stream
    self.loop = loop
    read()
  }

  private func read() {
    stream.startReading { [self] event in
      guard case .bytes(let bytes) = event else { return }
      received += bytes
      deliveries += 1
      stream.stopReading()
      loop.execute { self.read() }
    }
  }
}

@Suite("A TLS stream", .timeLimit(.minutes(5)))
struct TLSStreamTests {
  /// A connection between ends that believe each other.
  private static func connect(on loop: EventLoop) async throws -> Ends {
    let authority = TestAuthority()
    let ends = try await Ends.make(on: loop, authority.server(), TLSContext.client(servers: authority.trusted()))
    try #require(ends.clientError == nil && ends.serverError == nil)
    return ends
  }

  @Test("carries bytes both ways, and not one of them in clear")
  func bytes() async throws {
    try await withLoop { loop in
      let authority = TestAuthority()
      let wires = try await Wires.make(on: loop)
      let server = TLSStream(accepting: wires.server, try authority.server())
      let client = TLSStream(connecting: wires.client, to: "localhost", try .client(servers: authority.trusted()))
      server.handshake { _ in }
      try await client.handshake()
      let (atServer, atClient) = (Inbox(server), Inbox(client))
      client.write(Array("a secret".utf8))
      #expect(await eventually { atServer.text == "a secret" })
      server.write(Array("another".utf8))
      #expect(await eventually { atClient.text == "another" })
      // What the client sends next, as it is on the wire.
      server.stopReading()
      let wire = Inbox(wires.server)
      client.write(Array("a secret".utf8))
      #expect(await eventually { wire.bytes.count > 8 })
      #expect(!wire.text.contains("secret"))
      client.close()
      server.close()
    }
  }

  @Test("carries megabytes whole, in order, to a reader that pauses at every delivery")
  func large() async throws {
    try await withLoop { loop in
      let ends = try await Self.connect(on: loop)
      let sent = (0..<(8 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 12) }
      ends.server.write(sent)
      #expect(ends.server.queuedBytes > 0)
      let reader = PausingReader(ends.client, on: loop)
      #expect(await eventually { reader.received.count == sent.count })
      #expect(reader.received == sent)
      #expect(reader.deliveries >= sent.count / 16_384, "each record is delivered by itself to a reader that pauses")
      try await ends.server.drained()
      #expect(ends.server.queuedBytes == 0)
      ends.close()
    }
  }

  @Test("holds its peer back while nobody reads, with bounded memory")
  func backpressure() async throws {
    try await withLoop { loop in
      let ends = try await Self.connect(on: loop)
      // Nobody reads at the client: the system's buffers fill, and the rest waits at the server.
      for _ in 0..<64 { ends.server.write([UInt8](repeating: 7, count: 1 << 20)) }
      try await loop.sleep(for: .milliseconds(50))
      #expect(ends.server.queuedBytes > 32 << 20)
      let inbox = Inbox(ends.client)
      #expect(await eventually { inbox.bytes.count == 64 << 20 })
      ends.close()
    }
  }

  @Test("ends by close_notify, and its other half goes on")
  func halfClose() async throws {
    try await withLoop { loop in
      let ends = try await Self.connect(on: loop)
      let (atServer, atClient) = (Inbox(ends.server), Inbox(ends.client))
      ends.client.write(Array("question".utf8))
      try await ends.client.shutdownWrite()
      #expect(await eventually { atServer.hasEnded })
      #expect(atServer.text == "question" && atServer.error == nil)
      ends.server.write(Array("answer".utf8))
      ends.server.close()
      #expect(await eventually { atClient.hasEnded })
      #expect(atClient.text == "answer" && atClient.error == nil)
      ends.close()
    }
  }

  @Test("takes the end of the connection without close_notify for what it is")
  func truncation() async throws {
    try await withLoop { loop in
      let ends = try await Self.connect(on: loop)
      let inbox = Inbox(ends.client)
      ends.server.write(Array("a part".utf8))
      ends.wires.server.close()
      #expect(await eventually { inbox.error != nil })
      #expect(inbox.text == "a part" && !inbox.hasEnded)
      #expect(ends.client.failure == .truncated)
      #expect(inbox.error?.message == "it ended the connection without saying so by TLS")
      ends.close()
    }
  }

  @Test("ends when a byte is changed on the way, and delivers nothing of it")
  func changed() async throws {
    try await withLoop { loop in
      let ends = try await Self.connect(on: loop)
      let inbox = Inbox(ends.server)
      // A record of application data of the right form and wrong contents.
      ends.wires.client.write([23, 3, 3, 0, 40] + [UInt8](repeating: 9, count: 40))
      #expect(await eventually { inbox.error != nil })
      guard case .violation? = ends.server.failure else {
        Issue.record("\(String(describing: ends.server.failure))")
        return ends.close()
      }
      #expect(inbox.bytes.isEmpty)
      ends.close()
    }
  }

  @Test("that is closed during the handshake leaves nobody waiting")
  func closedEarly() async throws {
    try await withLoop { loop in
      let wires = try await Wires.make(on: loop)
      let client = TLSStream(connecting: wires.client, to: "localhost", try .client(servers: TestAuthority().trusted()))
      let attempt = Task(executorPreference: loop) { () -> TLSError? in
        do throws(TLSError) { try await client.handshake() } catch { return error }
        return nil
      }
      try await loop.sleep(for: .milliseconds(10))
      attempt.cancel()
      #expect(await attempt.value == .closed)
      wires.close()
    }
  }

  @Test("leaves no error of one connection behind for the next")
  func errorQueue() async throws {
    try await withLoop { loop in
      let authority = TestAuthority()
      let context = try authority.server()
      let good = try await Ends.make(on: loop, context, .client(servers: authority.trusted()))
      let inbox = Inbox(good.server)
      for _ in 0..<20 {
        let bad = try await Ends.make(on: loop, context, .client(servers: TestAuthority().trusted()))
        #expect(bad.clientError != nil && bad.serverError != nil)
        good.client.write([1])
        bad.close()
      }
      #expect(await eventually { inbox.bytes.count == 20 })
      #expect(good.client.failure == nil && good.server.failure == nil)
      good.close()
    }
  }
}
