import SupervisorClient
import Testing

@Suite(.timeLimit(.minutes(5)))
struct EndpointTests {
  @Test(
    "an endpoint is read as people write it",
    arguments: [
      ("127.0.0.1:8082", "127.0.0.1", 8082, "/"),
      ("node-1", "node-1", 8082, "/"),
      ("node-1:9000", "node-1", 9000, "/"),
      ("http://node-1:9000/", "node-1", 9000, "/"),
      ("HTTP://node-1/rpc", "node-1", 8082, "/rpc"),
      ("[::1]:8083", "::1", 8083, "/"),
      ("http://[fe80::1]", "fe80::1", 8082, "/"),
    ])
  func reads(text: String, host: String, port: Int, path: String) throws {
    #expect(try Endpoint(parsing: text) == Endpoint(host: host, port: UInt16(port), path: path))
  }

  @Test("the zone of an address is this machine's, and no part of the name by which a node is called")
  func zone() throws {
    let endpoint = try Endpoint(parsing: "[fe80::1%eth0]:8083")
    #expect(endpoint.host == "fe80::1%eth0" && endpoint.name == "fe80::1")
    #expect(endpoint.authority == "[fe80::1]:8083" && endpoint.description == "[fe80::1%eth0]:8083")
    #expect(try Endpoint(parsing: "node-1").name == "node-1")
  }

  @Test(
    "an endpoint by TLS says so, and calls its host without that",
    arguments: [("https://node-1", 8082), ("HTTPS://node-1:443/", 443)])
  func secure(text: String, port: UInt16) throws {
    let endpoint = try Endpoint(parsing: text)
    #expect(endpoint == Endpoint(host: "node-1", port: port, isSecure: true))
    #expect(endpoint != Endpoint(host: "node-1", port: port))
    #expect(endpoint.description == "https://node-1:\(port)" && endpoint.authority == "node-1:\(port)")
  }

  @Test(
    "what is no endpoint is refused with the text and the reason",
    arguments: [
      "", ":8082", "ftp://node-1", "node-1:", "node-1:0", "node-1:65536", "node-1:x", "[::1", "[::1]8082",
      "user@node-1", "node 1:80", "http://", "node-1:80/a b", "node-1\r\nX: y",
    ])
  func refuses(text: String) {
    do {
      let endpoint = try Endpoint(parsing: text)
      Issue.record("\(text) was read as \(endpoint)")
    } catch {
      #expect(error.description.contains("\"\(text)\""))
    }
  }

  @Test("the socket of a node of this machine is an endpoint, whatever its path")
  func socket() throws {
    let long = "/tmp/" + String(repeating: "x", count: 300)
    for path in ["/run/hero/api.sock", "data/api.sock", "/a b:8082/é", long] {
      let endpoint = try Endpoint(parsing: "unix:\(path)")
      #expect(endpoint == Endpoint(socket: path) && endpoint.description == "unix:\(path)")
    }
    #expect(throws: EndpointError.self) { try Endpoint(parsing: "unix:") }
  }

  @Test("an IPv6 endpoint is shown with brackets")
  func showsBrackets() {
    #expect(Endpoint(host: "::1", port: 80).description == "[::1]:80")
  }
}
