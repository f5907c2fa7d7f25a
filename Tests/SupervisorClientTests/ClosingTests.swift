import HTTPServer
import JSONRPC
import SupervisorClient
import Synchronization
import Testing

@Suite("Closing a client")
struct ClosingTests {
  @Test("closing ends calls under way and leaves nothing of them on the loop", .timeLimit(.minutes(2)))
  func callUnderWay() async throws {
    let arrived = Mutex(false)
    try await ClientFixture.run { _ in
      arrived.withLock { $0 = true }
      // Until the server resets the connection.
      try? await Task.sleep(for: .seconds(3600))
      return .empty()
    } _: { fixture in
      let client = fixture.client()
      let call = Task { try await client.call("slow", timeout: .seconds(3600)) }
      #expect(await eventually { arrived.withLock { $0 } })
      await client.close()
      await #expect(throws: ClientError.cancelled) { _ = try await call.value }
    }
  }
}
