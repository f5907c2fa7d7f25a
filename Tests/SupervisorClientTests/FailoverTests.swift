import EventLoop
import JSONRPC
import Synchronization
import Testing

@testable import SupervisorClient

struct FailoverTests {
  @Test("a refused connection moves the call to the next endpoint, which is asked first from then on")
  func refused() async throws {
    try await ClientFixture.run { request in
      reply(request) { _ in "served" }
    } _: { fixture in
      let dead = try await fixture.closedEndpoint()
      let client = SupervisorClient(endpoints: [dead, fixture.endpoint], loop: fixture.loop)
      let result1 = try await client.call("x")
      #expect(result1 == "served")
      let result2 = try await client.call("x")
      #expect(result2 == "served")
      #expect(await fixture.server.statistics.accepted == 1)
      await client.close()
    }
  }

  @Test("when no endpoint can be reached, the error names them all")
  func noneReachable() async throws {
    try await ClientFixture.run { _ in
      .empty()
    } _: { fixture in
      let first = try await fixture.closedEndpoint()
      let second = try await fixture.closedEndpoint()
      let client = SupervisorClient(endpoints: [first, second], loop: fixture.loop)
      let error = try await failure { try await client.call("x") }
      #expect(
        error
          == .cannotConnect(
            endpoint: second, reason: "connection refused (tried before: \(first): connection refused)"))
      await client.close()
    }
  }

  @Test("a lost connection is not tried again unless the call is idempotent")
  func lost() async throws {
    try await ClientFixture.run { request in
      reply(request) { _ in "served" }
    } _: { fixture in
      let calls = Mutex(0)
      let loop = fixture.loop
      // A node that dies as soon as it has read the call.
      let (listener, endpoint) = try await onLoop(loop) {
        let listener = try TCPListener.listen(on: loop, address: SocketAddress(host: "127.0.0.1", port: 0)) { stream in
          stream.startReading { event in
            guard case .bytes = event else { return stream.close() }
            calls.withLock { $0 += 1 }
            stream.reset()
          }
        }
        return (listener, Endpoint(host: "127.0.0.1", port: listener.localAddress!.port))
      }
      let client = SupervisorClient(endpoints: [endpoint, fixture.endpoint], loop: loop)
      let error = try await failure { try await client.call("jobs.create") }
      #expect(error == .connectionLost(endpoint: endpoint, reason: "connection reset by peer"))
      #expect(await fixture.server.statistics.requests == 0)
      let result3 = try await client.call("job.status", isIdempotent: true)
      #expect(result3 == "served")
      #expect(calls.withLock { $0 } == 2)
      await client.close()
      try await onLoop(loop) { listener.close() }
    }
  }
}
