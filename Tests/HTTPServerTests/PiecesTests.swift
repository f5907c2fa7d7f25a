// Answers in pieces: chunks, the order in which they are made, and how they end when they cannot be made.

import HTTPServer
import Synchronization
import Testing

@Suite("HTTPServer: answers in pieces", .timeLimit(.minutes(5)))
struct PiecesTests {
  private struct Lost: Error {}

  /// So many pieces of so many bytes behind `begin`.
  private static func pieces(
    _ count: Int, of size: Int, made: Counter? = nil, fails: Bool = false
  ) -> HTTPResponse {
    var response = HTTPResponse.text("begin ")
    let place = Counter()
    response.rest = HTTPResponse.Rest(end: Array(" end".utf8)) {
      let number = place.next()
      if number == count {
        if fails { throw Lost() }
        return nil
      }
      _ = made?.next()
      return Array(repeating: UInt8(ascii: "a") + UInt8(number % 26), count: size)
    }
    return response
  }

  private static let get = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

  private static let last = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"

  @Test("come as chunks, to the byte, and the connection goes on")
  func chunks() async throws {
    let handler: HTTPHandler = { request in request.path == "/" ? Self.pieces(2, of: 18) : .text("next") }
    try await ServerFixture.run(handler: handler) { fixture in
      let client = try fixture.client()
      await client.send(
        Self.get + "GET /next HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
      let text = String(decoding: try await client.rest(), as: UTF8.self)
      let (head, body) = try #require(
        text.firstRange(of: "\r\n\r\n").map { (text[..<$0.lowerBound], text[$0.upperBound...]) })
      #expect(head.contains("Transfer-Encoding: chunked") && !head.contains("Content-Length"))
      let a = String(repeating: "a", count: 18)
      let b = String(repeating: "b", count: 18)
      #expect(
        body.hasPrefix(
          "6\r\nbegin \r\n12\r\n\(a)\r\n12\r\n\(b)\r\n4\r\n end\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n"), "\(text)")
      #expect(body.hasSuffix("next"))
    }
  }

  @Test("come without chunks to HTTP/1.0, and end with the connection")
  func oldClient() async throws {
    let handler: HTTPHandler = { _ in Self.pieces(1, of: 3) }
    try await ServerFixture.run(handler: handler) { fixture in
      let client = try fixture.client()
      await client.send("GET / HTTP/1.0\r\n\r\n")
      let text = String(decoding: try await client.rest(), as: UTF8.self)
      #expect(
        text.contains("Connection: close") && !text.contains("chunked") && text.hasSuffix("\r\n\r\nbegin aaa end"))
    }
  }

  @Test("that cannot be made to their end are cut off without a last chunk, and counted")
  func cutOff() async throws {
    let handler: HTTPHandler = { _ in Self.pieces(3, of: 1000, fails: true) }
    try await ServerFixture.run(handler: handler) { fixture in
      let client = try fixture.client()
      await client.send(Self.get + Self.get)
      let text = String(decoding: try await client.rest(), as: UTF8.self)
      #expect(!text.contains("\r\n0\r\n\r\n") && !text.contains(" end"))
      #expect(await eventually { await fixture.server.statistics.cutOff == 1 })
      // A reset, by which a client of HTTP/1.0 knows it too.
      #expect(await fixture.server.statistics.requests == 1)
    }
  }

  @Test("are made as the client takes them, one at a time, and hold no more room than one of them")
  func slowClient() async throws {
    let made = Counter()
    let handler: HTTPHandler = { _ in Self.pieces(200, of: 200_000, made: made) }
    try await ServerFixture.run(handler: handler) { fixture in
      let client = try fixture.client(receiveBuffer: 4096)
      await client.send(Self.last)
      // What the kernel's buffers take, and one.
      #expect(await eventually { (200_000..<201_000).contains(await fixture.server.statistics.answerBudget.known) })
      #expect(made.count < 100)
      #expect(try await client.rest().count > 200 * 200_000)
      #expect(made.count == 200)
      #expect(await eventually { await fixture.server.statistics.answerBudget.known == 0 })
    }
  }

  @Test("need room for one piece: what the handler took for the first serves the others")
  func room() async throws {
    var configuration = HTTPServerConfiguration()
    configuration.maxRequestBytes = 1000
    // For one of them, not for two.
    configuration.maxBufferedBytes = 150_000
    configuration.maxStrangerBytes = 150_000
    let handler: HTTPHandler = { request in
      var response = Self.pieces(3, of: 100_000)
      response.body = Array(repeating: UInt8(ascii: "-"), count: 100_000)
      return request.room?.take(100_000) == true ? response : .empty(500)
    }
    try await ServerFixture.run(configuration, handler: handler) { fixture in
      let client = try fixture.client()
      await client.send(Self.last)
      let bytes = try await client.rest()
      #expect(bytes.count > 400_000 && Array(bytes.suffix(5)) == Array("0\r\n\r\n".utf8))
      #expect(await fixture.server.statistics.cutOff == 0)
    }
  }

  @Test("are not torn by 100 (Continue), which comes behind the last")
  func expectContinue() async throws {
    let gate = Gate()
    let made = Counter()
    let handler: HTTPHandler = { request in
      guard request.path == "/" else { return .text("next") }
      var response = HTTPResponse.text("begin ")
      response.rest = HTTPResponse.Rest(end: Array("end".utf8)) {
        if made.next() == 0 { return Array("middle ".utf8) }
        await gate.wait()
        return nil
      }
      return response
    }
    try await ServerFixture.run(handler: handler) { fixture in
      let client = try fixture.client()
      await client.send(Self.get)
      #expect(await eventually { made.count == 2 })
      let post = "POST /next HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
      await client.send(post)
      let sent = UInt64(Self.get.utf8.count + post.utf8.count)
      #expect(await eventually { await fixture.server.statistics.bytesIn == sent })
      gate.open()
      await client.send("okGET /next HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
      let text = String(decoding: try await client.rest(), as: UTF8.self)
      #expect(text.contains("\r\n\r\n6\r\nbegin \r\n7\r\nmiddle \r\n3\r\nend\r\n0\r\n\r\nHTTP/1.1 "), "\(text)")
      #expect(text.ranges(of: "next").count == 2)
    }
  }

  @Test("are finished when the server stops meanwhile")
  func draining() async throws {
    let made = Counter()
    let handler: HTTPHandler = { _ in Self.pieces(100, of: 200_000, made: made) }
    try await ServerFixture.run(handler: handler) { fixture in
      let client = try fixture.client(receiveBuffer: 4096)
      await client.send(Self.get)
      #expect(await eventually { made.count > 0 })
      async let stop: Void = fixture.server.shutdown(grace: .seconds(60))
      let bytes = try await client.rest()
      #expect(Array(bytes.suffix(5)) == Array("0\r\n\r\n".utf8) && bytes.count > 100 * 200_000)
      await stop
    }
  }
}

/// Counts from 0.
private final class Counter: Sendable {
  private let value = Atomic(0)
  var count: Int { value.load(ordering: .relaxed) }
  func next() -> Int { value.add(1, ordering: .relaxed).oldValue }
}
