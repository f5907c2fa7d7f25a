import EventLoop
import Testing

@Suite("SocketAddress")
struct AddressTests {
  @Test(
    "addresses are read and written alike", arguments: ["127.0.0.1:8082", "[::1]:80", "0.0.0.0:0", "[fe80::1]:65535"])
  func roundTrip(_ text: String) throws {
    #expect(try SocketAddress(parsing: text).description == text)
  }

  @Test(
    "what is no numeric address with a port is refused",
    arguments: [
      "", ":", "127.0.0.1", "127.0.0.1:", "127.0.0.1:+1", "127.0.0.1:65536", "::1:80", "[::1]", "localhost:80",
      "1.2.3:4", "[127.0.0.1:80", "127.0.0.1 :80",
    ])
  func refused(_ text: String) {
    let error = #expect(throws: UVError.self) { try SocketAddress(parsing: text) }
    #expect(error?.code == UVError.invalid)
  }

  @Test("loopback is 127.0.0.0/8 and ::1")
  func loopback() throws {
    for (host, expected) in ["127.0.0.1": true, "127.255.0.9": true, "::1": true, "10.0.0.1": false, "::": false] {
      #expect(try SocketAddress(host: host, port: 1).isLoopback == expected, "\(host)")
    }
  }

  @Test("host and port are what was given")
  func parts() throws {
    let address = try SocketAddress(host: "2001:db8::7", port: 443)
    #expect(address.host == "2001:db8::7")
    #expect(address.port == 443)
    #expect(address == (try SocketAddress(parsing: "[2001:db8:0:0::7]:443")))
  }

  @Test("a host name is looked up off the loop; one that does not exist is an error")
  func resolve() async throws {
    try await withLoop { loop in
      let found = try await SocketAddress.resolve(host: "localhost", port: 99, on: loop)
      #expect(found.contains { $0.isLoopback && $0.port == 99 })
      let numeric = try await SocketAddress.resolve(host: "10.1.2.3", port: 4, on: loop)
      #expect(numeric.map(\.description) == ["10.1.2.3:4"])
      let error = await #expect(throws: UVError.self) {
        try await SocketAddress.resolve(host: "no-such-host.invalid", port: 1, on: loop)
      }
      #expect(error?.name.hasPrefix("EAI_") == true)
    }
  }
}
