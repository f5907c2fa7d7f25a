import Testing

@testable import SupervisorClient

@Suite(.timeLimit(.minutes(5)))
struct AnswerParserTests {
  @Test(
    "an answer is read the same however its bytes are cut",
    arguments: [
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
      "HTTP/1.1 200 OK\r\n\r\nhello",
    ])
  func cuts(text: String) {
    let bytes = Array(text.utf8)
    for cut in 0...bytes.count {
      let parser = HTTPAnswerParser(maxBodyBytes: 100)
      var answer: HTTPAnswer?
      for part in [bytes[..<cut], bytes[cut...]] {
        if case .answer(let complete) = part.withUnsafeBytes({ parser.parse($0) }) { answer = complete }
      }
      if answer == nil, case .answer(let complete) = parser.end() { answer = complete }
      #expect(answer?.status == 200)
      #expect(answer?.body == Array("hello".utf8))
    }
  }

  @Test(
    "what is no answer, or too large a one, is refused",
    arguments: [
      "SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + String(repeating: "x", count: 101),
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    ])
  func refuses(text: String) {
    let parser = HTTPAnswerParser(maxBodyBytes: 100)
    guard case .malformed = Array(text.utf8).withUnsafeBytes({ parser.parse($0) }) else {
      Issue.record("accepted")
      return
    }
  }

  @Test(
    "the members that an answer is missing are read however its bytes are cut",
    arguments: [
      ("Hero-Unreachable: n3, n4\r\n", "n3, n4"), ("hero-unreachable:n3\r\nHERO-UNREACHABLE: n4\r\n", "n3,n4"),
      ("X: n1\r\nHero-Unreachable: n3\r\nHero: n2\r\nHero-Unreachable-Too: n4\r\n", "n3"), ("X: n3\r\n", ""),
      ("Hero-Unreachable: nœud 3\r\n", "nœud 3"),
    ])
  func unreachable(fields: String, value: String) {
    let bytes = Array("HTTP/1.1 200 OK\r\n\(fields)Content-Length: 2\r\n\r\nhi".utf8)
    for cut in 0...bytes.count {
      let parser = HTTPAnswerParser(maxBodyBytes: 100)
      // The next answer on a connection knows nothing of the one before.
      for (bytes, value) in [(bytes, value), (Array("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".utf8), "")] {
        let cut = min(cut, bytes.count)
        var answer: HTTPAnswer?
        for part in [bytes[..<cut], bytes[cut...]] {
          if case .answer(let complete) = part.withUnsafeBytes({ parser.parse($0) }) { answer = complete }
        }
        #expect(answer?.unreachable == value, "cut at \(cut)")
      }
    }
  }
}
