import EventLoop
import Testing

@Suite("SocketAddress", .timeLimit(.minutes(5)))
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

  @Test("localhost is both loopback addresses, whatever the hosts file says", arguments: ["localhost", "LocalHost"])
  func localhost(name: String) async throws {
    try await withLoop { loop in
      let addresses = try await SocketAddress.resolve(host: name, port: 80, on: loop).map(\.description)
      #expect(addresses.contains("127.0.0.1:80") && addresses.contains("[::1]:80"), "\(addresses)")
    }
  }

  @Test("link-local is 169.254.0.0/16 and fe80::/10")
  func linkLocal() throws {
    for (host, expected) in [
      "169.254.1.2": true, "fe80::1": true, "febf::1": true, "fec0::1": false, "169.253.0.1": false, "::": false,
    ] {
      #expect(try SocketAddress(host: host, port: 1).isLinkLocal == expected, "\(host)")
    }
  }

  @Test("IPv4 on an IPv6 socket is written as IPv6, and back")
  func mapped() throws {
    let (v4, v6) = (try SocketAddress(parsing: "10.1.2.3:7946"), try SocketAddress(parsing: "[::]:7946"))
    #expect(v4.mapped(for: v6) == (try SocketAddress(parsing: "[::ffff:10.1.2.3]:7946")))
    #expect(v4.mapped(for: v6).unmapped == v4)
    #expect(v4.mapped(for: v4) == v4 && v4.unmapped == v4)
    let other = try SocketAddress(parsing: "[2001:db8::ffff:1]:1")
    #expect(other.mapped(for: v6) == other && other.mapped(for: v4) == other && other.unmapped == other)
  }

  @Test("an address of every interface is reachable at one of the machine, never at a link-local one")
  func reachable() async throws {
    try await withLoop { loop in
      for host in ["0.0.0.0", "::"] {
        let reachable = try SocketAddress(host: host, port: 7).reachable(on: loop)
        #expect(!reachable.isUnspecified && !reachable.isLinkLocal && reachable.port == 7)
      }
      let own = try SocketAddress(parsing: "10.1.2.3:4")
      #expect(own.reachable(on: loop) == own)
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
