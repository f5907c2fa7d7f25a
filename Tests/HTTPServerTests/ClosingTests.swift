import Glibc
import HTTPServer
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(5)))
struct ClosingTests {
  @Test("a half-closed peer still gets its answer")
  func halfClose() async throws {
    try await ServerFixture.run { request in
      try? await Task.sleep(for: .milliseconds(30))
      return .text(request.path)
    } _: { fixture in
      let client = try fixture.client()
      await client.send("GET /a HTTP/1.1\r\nHost: localhost\r\n\r\nGET /b HTTP/1.1\r\nHost: localhost\r\n\r\n")
      client.halfClose()
      #expect(try await client.answer().text == "/a")
      #expect(try await client.answer().text == "/b")
      #expect(try await client.isAtEnd())
    }
  }

  @Test("a half-closed peer that waits too long has its handler cancelled")
  func halfCloseGrace() async throws {
    var configuration = HTTPServerConfiguration()
    configuration.halfCloseGrace = .milliseconds(100)
    let wasCancelled = Mutex(false)
    try await ServerFixture.run(configuration) { _ in
      do { try await Task.sleep(for: .seconds(60)) } catch { wasCancelled.withLock { $0 = true } }
      return .empty()
    } _: { fixture in
      let client = try fixture.client()
      await client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
      client.halfClose()
      #expect(try await client.isAtEnd())
      #expect(await eventually { wasCancelled.withLock { $0 } })
    }
  }

  @Test("a reset cancels the handler at once")
  func reset() async throws {
    let wasCancelled = Mutex(false)
    try await ServerFixture.run { _ in
      do { try await Task.sleep(for: .seconds(60)) } catch { wasCancelled.withLock { $0 = true } }
      return .empty()
    } _: { fixture in
      let client = try fixture.client()
      await client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
      #expect(await eventually { await fixture.server.statistics.requests == 1 })
      client.reset()
      #expect(await eventually { wasCancelled.withLock { $0 } })
      #expect(await fixture.server.statistics.open == 0)
    }
  }

  @Test("a request that ends in its middle is answered 400")
  func truncated() async throws {
    try await ServerFixture.run { fixture in
      let client = try fixture.client()
      await client.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhel")
      client.halfClose()
      #expect(try await client.answer().status == 400)
      #expect(try await client.isAtEnd())
    }
  }

  @Test("a peer that does not read its answers is asked for no more requests")
  func backpressure() async throws {
    let answer = [UInt8](repeating: 97, count: 1024 * 1024)
    try await ServerFixture.run { _ in
      .bytes(answer, contentType: "text/plain")
    } _: { fixture in
      let client = try fixture.client(receiveBuffer: 4096)
      await client.send(many("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 200))
      #expect(await eventually { await fixture.server.statistics.requests >= 1 })
      // The kernel's buffers hold a few answers; 200 would be 200 MiB.
      var last: UInt64 = 0
      #expect(
        await eventually {
          let now = await fixture.server.statistics.requests
          try? await Task.sleep(for: .milliseconds(50))
          defer { last = now }
          return now == last
        })
      #expect(last < 50)
      for _ in 0..<200 { #expect(try await client.answer().body.count == answer.count) }
      #expect(await fixture.server.statistics.requests == 200)
    }
  }

  @Test("a shutdown closes idle connections at once and answers what is in flight with Connection: close")
  func shutdown() async throws {
    let gate = Gate()
    try await ServerFixture.run { _ in
      await gate.wait()
      return .text("done")
    } _: { fixture in
      let idle = try fixture.client()
      let busy = try fixture.client()
      #expect(await eventually { await fixture.server.statistics.open == 2 })
      await busy.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
      #expect(await eventually { await fixture.server.statistics.requests == 1 })
      let server = fixture.server
      let shutdown = Task { await server.shutdown(grace: .seconds(60)) }
      #expect(try await idle.isAtEnd())
      gate.open()
      let answer = try await busy.answer()
      #expect(answer.text == "done")
      #expect(answer.headers["connection"] == "close")
      #expect(try await busy.isAtEnd())
      await shutdown.value
      #expect(throws: RawClient.Failure.self) { _ = try fixture.client() }
    }
  }

  @Test("a shutdown resets what does not end within its grace")
  func shutdownGrace() async throws {
    let wasCancelled = Mutex(false)
    try await ServerFixture.run { _ in
      do { try await Task.sleep(for: .seconds(60)) } catch { wasCancelled.withLock { $0 = true } }
      return .empty()
    } _: { fixture in
      let client = try fixture.client()
      await client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
      #expect(await eventually { await fixture.server.statistics.requests == 1 })
      await fixture.server.shutdown(grace: .milliseconds(50))
      #expect(try await client.isAtEnd())
      #expect(await eventually { wasCancelled.withLock { $0 } })
    }
  }

  @Test("a thousand connections are served, and nothing of them is left")
  func thousandConnections() async throws {
    raiseFileLimit()
    try await ServerFixture.run { fixture in
      let clients = try (0..<1000).map { _ in try fixture.client() }
      for round in 0..<2 {
        for (number, client) in clients.enumerated() {
          await client.send("GET /\(number)/\(round) HTTP/1.1\r\nHost: localhost\r\n\r\n")
        }
        for (number, client) in clients.enumerated() {
          #expect(try await client.answer().text == "get /\(number)/\(round) ")
        }
      }
      let statistics = await fixture.server.statistics
      #expect(statistics.open == 1000)
      #expect(statistics.accepted == 1000)
      #expect(statistics.requests == 2000)
      #expect(statistics.bytesIn > 70_000)
      #expect(statistics.bytesOut > 70_000)
      for client in clients { client.close() }
      #expect(await eventually { await fixture.server.statistics.open == 0 })
    }
  }
}

/// Both ends of a thousand connections are in this process; many systems begin with 1,024 descriptors.
private func raiseFileLimit() {
  var limit = rlimit()
  getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  limit.rlim_cur = min(limit.rlim_max, max(limit.rlim_cur, 8192))
  setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
}
