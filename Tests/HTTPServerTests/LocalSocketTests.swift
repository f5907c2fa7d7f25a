import EventLoop
import Glibc
import Testing

@testable import HTTPServer

@Suite("A server's unix socket", .timeLimit(.minutes(5)))
struct LocalSocketTests {
  /// What comes back on one connection, up to its end.
  private actor Exchange {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    private var received: [UInt8] = []

    init(on loop: EventLoop) { self.loop = loop }

    func ask(_ text: String, at path: String) async throws -> String {
      let stream = try await LocalStream.connect(to: path, on: loop)
      defer { stream.close() }
      let end = Promise<Bool>(on: loop)
      stream.startReading { event in
        self.assumeIsolated { me in
          if case .bytes(let bytes) = event { me.received += Array(bytes) } else { end.resolve(true) }
        }
      }
      stream.write(Array(text.utf8))
      _ = await end.valueUnlessCancelled()
      return String(decoding: received, as: UTF8.self)
    }
  }

  private func withSocket(
    _ configuration: HTTPServerConfiguration = .init(), _ scenario: (ServerFixture, String) async throws -> Void
  ) async throws {
    let path = "/tmp/hero-http-\(getpid())-\(UInt32.random(in: .min ... .max)).sock"
    let handler: HTTPHandler = { .text("\($0.peer) \($0.peer.isLoopback) \(String(decoding: $0.body, as: UTF8.self))") }
    try await ServerFixture.run(configuration, handler: handler) { fixture async throws in
      try await fixture.server.listen(atSocket: path, for: [geteuid()])
      try await scenario(fixture, path)
    }
    #expect(access(path, F_OK) != 0, "the file is left")
  }

  private func ask(_ text: String, at path: String, _ fixture: ServerFixture) async throws -> String {
    let exchange = Exchange(on: fixture.loop)
    return try await Task(executorPreference: fixture.loop) { try await exchange.ask(text, at: path) }.value
  }

  @Test("serves requests as TCP does, and tells the handler whose they are")
  func serves() async throws {
    try await withSocket { fixture, path in
      let answer = try await ask(
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", at: path, fixture)
      #expect(answer.hasPrefix("HTTP/1.1 200") && answer.hasSuffix("\r\n\r\nuid \(geteuid()) true hello"), "\(answer)")
      let foreign = try await ask("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", at: path, fixture)
      #expect(foreign.hasPrefix("HTTP/1.1 403"), "\(foreign)")
      #expect(await fixture.server.statistics.accepted == 2)
    }
  }

  @Test("serves its users when strangers have used up the connections")
  func full() async throws {
    var configuration = HTTPServerConfiguration()
    configuration.maxConnections = 1
    try await withSocket(configuration) { fixture, path in
      let stranger = try fixture.client()
      await stranger.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
      #expect(try await stranger.answer().status == 200)
      #expect(try await fixture.ask("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").status == 503)
      let answer = try await ask("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", at: path, fixture)
      #expect(answer.hasPrefix("HTTP/1.1 200"), "\(answer)")
      stranger.close()
    }
  }

  @Test("has a limit of its own, so that one user's processes cannot use up the open files")
  func own() async throws {
    try await withSocket { fixture, path in
      let held = try await Task(executorPreference: fixture.loop) {
        var held: [LocalStream] = []
        for _ in 0..<64 { held.append(try await LocalStream.connect(to: path, on: fixture.loop)) }
        return held
      }.value
      let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
      let refused = try await ask(request, at: path, fixture)
      #expect(refused.hasPrefix("HTTP/1.1 503"), "\(refused)")
      // They take no connection of TCP clients, and make room when they end.
      #expect(try await fixture.ask("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").status == 200)
      fixture.loop.execute { for stream in held { stream.close() } }
      #expect(await eventually { (try? await ask(request, at: path, fixture).hasPrefix("HTTP/1.1 200")) == true })
    }
  }
}
