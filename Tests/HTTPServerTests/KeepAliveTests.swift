import EventLoop
import HTTPServer
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(5)))
struct KeepAliveTests {
  @Test("a connection serves one request after another")
  func keepAlive() async throws {
    try await ServerFixture.run { fixture in
      let client = try fixture.client()
      for number in 1...3 {
        await client.send("POST /rpc?n=\(number) HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi")
        let answer = try await client.answer()
        #expect(answer.status == 200)
        #expect(answer.text == "post /rpc?n=\(number) hi")
        #expect(answer.headers["connection"] == nil)
      }
      #expect(await fixture.server.statistics.requests == 3)
      #expect(await fixture.server.statistics.accepted == 1)
    }
  }

  @Test("Connection: close ends the connection after the answer")
  func connectionClose() async throws {
    try await ServerFixture.run { fixture in
      let client = try fixture.client()
      await client.send(
        "GET /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\nGET /b HTTP/1.1\r\nHost: localhost\r\n\r\n")
      let answer = try await client.answer()
      #expect(answer.text == "get /a ")
      #expect(answer.headers["connection"] == "close")
      #expect(try await client.isAtEnd())
    }
  }

  @Test("an HTTP/1.0 client is served once, or kept when it asks for that")
  func http10() async throws {
    try await ServerFixture.run { fixture in
      let once = try fixture.client()
      await once.send("GET /a HTTP/1.0\r\n\r\n")
      #expect(try await once.answer().headers["connection"] == "close")
      #expect(try await once.isAtEnd())

      let kept = try fixture.client()
      for _ in 1...2 {
        await kept.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        #expect(try await kept.answer().headers["connection"] == "keep-alive")
      }
    }
  }

  @Test("pipelined requests are answered in order, also when the first takes longest")
  func pipelining() async throws {
    try await ServerFixture.run { request in
      if request.path == "/0" { try? await Task.sleep(for: .milliseconds(30)) }
      return .text(request.path)
    } _: { fixture in
      let client = try fixture.client()
      await client.send((0..<100).map { "GET /\($0) HTTP/1.1\r\nHost: localhost\r\n\r\n" }.joined())
      for number in 0..<100 { #expect(try await client.answer().text == "/\(number)") }
    }
  }

  @Test("answers to early requests are not held back by a later one that takes long")
  func pipeliningFlushes() async throws {
    let gate = Gate()
    try await ServerFixture.run { request in
      if request.path == "/slow" { await gate.wait() }
      return .text(request.path)
    } _: { fixture in
      let client = try fixture.client()
      await client.send(["/a", "/b", "/slow"].map { "GET \($0) HTTP/1.1\r\nHost: localhost\r\n\r\n" }.joined())
      #expect(try await client.answer().text == "/a")
      #expect(try await client.answer().text == "/b")
      gate.open()
      #expect(try await client.answer().text == "/slow")
    }
  }

  @Test("HEAD is answered as GET would be, without the body")
  func head() async throws {
    try await ServerFixture.run { _ in
      .text("hello")
    } _: { fixture in
      let client = try fixture.client()
      await client.send("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
      let head = try await client.answer(isHead: true)
      #expect(head.headers["content-length"] == "5")
      #expect(try await client.answer().text == "hello")
    }
  }

  @Test("a chunked body arrives whole, its extensions and trailers dropped")
  func chunked() async throws {
    try await ServerFixture.run { fixture in
      let client = try fixture.client()
      await client.send(
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
          + "3;name=value\r\nhel\r\n2\r\nlo\r\n0\r\nX-Sum: 1\r\n\r\nGET /next HTTP/1.1\r\nHost: localhost\r\n\r\n")
      #expect(try await client.answer().text == "post / hello")
      #expect(try await client.answer().text == "get /next ")
    }
  }

  @Test("a client that expects 100-continue is told to go on, once, and only if it will be served")
  func expectContinue() async throws {
    try await ServerFixture.run { fixture in
      let client = try fixture.client()
      await client.send("POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
      #expect(try await client.answer().status == 100)
      await client.send("hello")
      #expect(try await client.answer().text == "post / hello")

      let tooLarge = try await fixture.ask(
        "POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n")
      #expect(tooLarge.status == 413)
      #expect(try await fixture.ask("GET / HTTP/1.1\r\nHost: localhost\r\nExpect: tea\r\n\r\n").status == 417)
    }
  }

  @Test("100 (Continue) waits for the answers that come before it")
  func expectContinueInOrder() async throws {
    let gate = Gate()
    try await ServerFixture.run { request in
      if request.path == "/slow" { await gate.wait() }
      return .text(request.path)
    } _: { fixture in
      let client = try fixture.client()
      await client.send(
        "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"
          + "POST /body HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
      #expect(await eventually { await fixture.server.statistics.requests == 1 })
      gate.open()
      #expect(try await client.answer().text == "/slow")
      #expect(try await client.answer().status == 100)
      await client.send("hello")
      #expect(try await client.answer().text == "/body")
    }
  }

  @Test("a body of ten megabytes goes in and comes out")
  func largeBody() async throws {
    try await ServerFixture.run {
      .bytes($0.body, contentType: "application/octet-stream")
    } _: { fixture in
      let body = (0..<10 * 1024 * 1024).map { UInt8(truncatingIfNeeded: $0 &* 31) }
      let client = try fixture.client()
      await client.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: \(body.count)\r\n\r\n")
      await client.send(body)
      #expect(try await client.answer().body == body)
    }
  }
}

/// Holds handlers until a test opens it; a cancelled one is let go.
final class Gate: Sendable {
  private enum State {
    case closed([CheckedContinuation<Void, Never>])
    case open
  }

  private let state = Mutex<State>(.closed([]))

  func wait() async {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isOpen = state.withLock { state in
          guard case .closed(let waiting) = state else { return true }
          state = .closed(waiting + [continuation])
          return false
        }
        if isOpen { continuation.resume() }
      }
    } onCancel: {
      open()
    }
  }

  func open() {
    let waiting = state.withLock { state -> [CheckedContinuation<Void, Never>] in
      guard case .closed(let waiting) = state else { return [] }
      state = .open
      return waiting
    }
    for continuation in waiting { continuation.resume() }
  }
}
