import EventLoop
import HTTPServer
import Testing

@Suite(.timeLimit(.minutes(5)))
struct HeadersTests {
  @Test("fields are found without case, the first of several first, and trimmed")
  func lookup() {
    let headers = HTTPHeaders([("X-One", "1"), ("x-two", " a "), ("X-TWO", "b"), ("Empty", "")])
    #expect(headers["x-one"] == "1")
    #expect(headers["X-Two"] == "a")
    #expect(headers.values("x-two") == ["a", "b"])
    #expect(headers["empty"] == "")
    #expect(headers["x-on"] == nil)
    #expect(headers["x-three"] == nil)
  }

  @Test(
    "a media type is told without its parameters",
    arguments: [
      ("application/json", true), ("Application/JSON; charset=utf-8", true), ("application/json ;x", true),
      ("application/jsonx", false), ("text/plain", false), ("", false),
    ])
  func mediaType(value: String, isJSON: Bool) {
    #expect(HTTPHeaders([("Content-Type", value)]).isMediaType("application/json") == isJSON)
    #expect(!HTTPHeaders().isMediaType("application/json"))
  }

  @Test(
    "a target falls into path and query",
    arguments: [
      ("/", "/", nil), ("/a?b=c?d", "/a", "b=c?d"), ("/a?", "/a", ""), ("http://n:1/a?b", "/a", "b"), ("*", "*", nil),
      ("/http://x", "/http://x", nil),
    ] as [(String, String, String?)])
  func target(target: String, path: String, query: String?) throws {
    let request = HTTPRequest(
      method: .get, target: target, peer: .address(try SocketAddress(host: "127.0.0.1", port: 1)))
    #expect(request.path == path)
    #expect(request.query == query)
  }
}
