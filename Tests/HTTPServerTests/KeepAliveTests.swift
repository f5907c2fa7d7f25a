import EventLoop
import HTTPServer
import Testing

struct KeepAliveTests {
  @Test("a connection serves one request after another")
  func keepAlive() async throws {
    try await ServerFixture.run { fixture in
      let client = try fixture.client()
      for number in 1...3 {
        client.send("POST /rpc?n=\(number) HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi")
        let answer = try client.answer()
        #expect(answer.status == 200)
        #expect(answer.text == "post /rpc?n=\(number) hi")
        #expect(answer.headers["connection"] == nil)
      }
      #expect(await fixture.server.statistics.requests == 3)
      #expect(await fixture.server.statistics.accepted == 1)
    }
  }
}
