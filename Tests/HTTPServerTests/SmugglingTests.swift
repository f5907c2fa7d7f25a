import HTTPServer
import Testing

@testable import HTTPServer

/// Requests whose end, or whose meaning, a proxy in front could read differently.
@Suite(.timeLimit(.minutes(5)))
struct SmugglingTests {
  static let corpus: [String] = [
    // Two ways to find the end.
    "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG",
    "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5, 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    // Lengths that are no numbers.
    "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: +5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0x5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: \r\n\r\n",
    "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
    // Codings that are not chunked, spelt to look like it.
    "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding:\u{b}chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: localhost\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n",
    // Line ends.
    "GET / HTTP/1.1\nHost: localhost\n\n",
    "GET / HTTP/1.1\r\nHost: localhost\n\r\n",
    "GET / HTTP/1.1\r\nHost: localhost\r\rX: y\r\n\r\n",
    "GET / HTTP/1.1\r\nX:\rTransfer-Encoding: chunked\r\nHost: localhost\r\n\r\n",
    "GET / HTTP/1.1\r\nX: a\rY: b\r\nHost: localhost\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n\tb\r\n\r\n",
    "\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "\rGET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    // Field names.
    "GET / HTTP/1.1\r\nHost: localhost\r\n: y\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: localhost\r\nX y: z\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: localhost\r\nX\u{0}: z\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\u{0}b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
    // Chunks.
    "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nhello\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello\r\n",
    "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5;x\n\r\nhello\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX:\rY: z\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n z\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n",
    // Request lines.
    "GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /  HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET / x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /\r\nHost: localhost\r\n\r\n",
    "GET\t/\tHTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET localhost HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET ftp://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET http://user@localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET / HTTP/1.1 \r\nHost: localhost\r\n\r\n",
    "GET / http/1.1\r\nHost: localhost\r\n\r\n",
    // Hosts.
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: localhost\r\nhost: evil.example\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: localhost, evil.example\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: localhost/x\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: evil@localhost\r\n\r\n",
    // No HTTP at all.
    "\u{16}\u{3}\u{1}\u{2}\u{0}",
    "\u{0}\u{0}\u{0}\u{0}",
  ]

  @Test("what could be read in two ways is answered 400 and closed, and never reaches the handler", arguments: corpus)
  func refuses(request: String) async throws {
    try await ServerFixture.run { fixture in
      let client = try fixture.client()
      // What a smuggler would want to be read as a request of its own.
      await client.send(request + "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n")
      let answer = try await client.answer()
      #expect(answer.status == 400)
      #expect(answer.headers["connection"] == "close")
      #expect(!answer.text.dropLast().contains("\n"))
      #expect(try await client.isAtEnd())
      #expect(await fixture.server.statistics.requests == 0)
    }
  }

  @Test(
    "versions and codings that are not spoken here are said to be so",
    arguments: [
      (505, "GET / HTTP/2.0\r\nHost: localhost\r\n\r\n"), (505, "GET / HTTP/0.9\r\nHost: localhost\r\n\r\n"),
      (505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), (505, "GET / HTTP/1.2\r\nHost: localhost\r\n\r\n"),
      (501, "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
    ])
  func unsupported(status: Int, request: String) async throws {
    try await ServerFixture.run { (fixture) async throws in #expect(try await fixture.ask(request).status == status) }
  }

  @Test(
    "a stream of requests is read the same wherever it is cut",
    arguments: [
      "POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"
        + "GET /b?c HTTP/1.1\r\nhost:localhost\r\nX:  y \r\n\r\n"
        + "\r\nPOST /d HTTP/1.1\r\nHost: localhost\r\ntransfer-encoding: Chunked\r\n\r\n3;q=\"x\"\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n"
        + "GET /e HTTP/1.1\r\nHost: localhost\r\n\r\n",
      "GET /a HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nX: a\rY: b\r\nHost: localhost\r\n\r\n",
      "GET /a HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nX: a\r\n b\r\nHost: localhost\r\n\r\n",
    ])
  func cuts(stream: String) {
    let bytes = Array(stream.utf8)
    let whole = Self.read([bytes[...]])
    for first in 0...bytes.count {
      #expect(Self.read([bytes[..<first], bytes[first...]]) == whole)
      let second = min(bytes.count, first + 1)
      #expect(Self.read([bytes[..<first], bytes[first..<second], bytes[second...]]) == whole)
    }
    #expect(Self.read(bytes.indices.map { bytes[$0...$0] }) == whole)
  }

  @Test("no bytes at all crash the parser or make it read without end")
  func fuzz() {
    var generator = SystemRandomNumberGenerator()
    let seed = UInt64.random(in: .min ... .max, using: &generator)
    var random = SplitMix(state: seed)
    for _ in 0..<3000 {
      var bytes = Array(Self.corpus.randomElement(using: &random)!.utf8)
      for _ in 0..<Int.random(in: 0..<6, using: &random) where !bytes.isEmpty {
        let offset = Int.random(in: bytes.indices, using: &random)
        switch Int.random(in: 0..<3, using: &random) {
        case 0: bytes[offset] = UInt8.random(in: 0...255, using: &random)
        case 1: bytes.remove(at: offset)
        default: bytes.insert(UInt8.random(in: 0...255, using: &random), at: offset)
        }
      }
      let cut = Int.random(in: 0...bytes.count, using: &random)
      let whole = Self.read([bytes[...]])
      #expect(
        Self.read([bytes[..<cut], bytes[cut...]]).prefix { !$0.hasPrefix("refused") }
          == whole.prefix { !$0.hasPrefix("refused") }, "seed \(seed)")
    }
  }

  /// What the parser makes of a stream that comes in these parts.
  private static func read(_ parts: [ArraySlice<UInt8>]) -> [String] {
    let parser = RequestParser(limits: HTTPServerConfiguration(), wantsOrigin: true)
    var events: [String] = []
    var head: RequestHead?
    for part in parts {
      let isOver = part.withUnsafeBytes { bytes -> Bool in
        var rest = bytes
        while true {
          let (consumed, step) = parser.parse(rest)
          rest = UnsafeRawBufferPointer(rebasing: rest[consumed...])
          switch step {
          case .needsMore: if rest.isEmpty { return false }
          case .head(let next): head = next
          case .message:
            let fields = head!.headers.fields.map { "\($0.name)=\($0.value)" }
            events.append("\(head!.method) \(head!.target) \(fields) \(parser.takeBody()) \(parser.keepsAlive)")
            if rest.isEmpty { return false }
          case .refused(let refusal):
            events.append("refused \(refusal.status)")
            return true
          }
        }
      }
      if isOver { break }
    }
    return events
  }
}

/// A seeded generator (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
