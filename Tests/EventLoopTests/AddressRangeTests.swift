import EventLoop
import Testing

@Suite(.timeLimit(.minutes(5)))
struct AddressRangeTests {
  @Test(
    "a block holds the addresses that begin as it does",
    arguments: [
      ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], ["11.0.0.0", "9.255.255.255", "::1", "a00::"]),
      ("192.0.2.128/25", ["192.0.2.128", "192.0.2.255"], ["192.0.2.127"]),
      ("127.0.0.1", ["127.0.0.1", "::ffff:127.0.0.1"], ["127.0.0.2", "::1"]),
      ("127.0.0.1/32", ["127.0.0.1"], ["127.0.0.0"]), ("0.0.0.0/0", ["1.2.3.4"], ["::1"]),
      ("fd00::/8", ["fd00::1", "fdff::"], ["fe00::", "253.0.0.1"]), ("::1", ["::1"], ["::2", "127.0.0.1"]),
      ("2001:db8::/33", ["2001:db8:7fff::"], ["2001:db8:8000::"]), ("::/0", ["2001:db8::1"], ["1.2.3.4"]),
    ])
  func contains(text: String, inside: [String], outside: [String]) throws {
    let range = try #require(AddressRange(text))
    for host in inside { #expect(range.contains(try SocketAddress(host: host, port: 7)), "\(host)") }
    for host in outside { #expect(!range.contains(try SocketAddress(host: host, port: 7)), "\(host)") }
  }

  @Test("is written as it was read, a single address without a length")
  func description() {
    #expect(AddressRange("10.0.0.0/8")?.description == "10.0.0.0/8")
    #expect(AddressRange("2001:DB8:0::/32")?.description == "2001:db8::/32")
    #expect(AddressRange("10.0.0.1/32")?.description == "10.0.0.1")
  }

  @Test(
    "is refused where it is none",
    arguments: [
      "", "/", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.1/8", "fd00::1/8", "10.0.0.0/8/8", "10.0.0.0/-1",
      "10.0.0.0/+8", "10.0.0.0/0008", "10.0.0/8", "localhost", "proxy.example", "[::1]", "10.0.0.1:80", " 10.0.0.1",
      "*",
    ])
  func malformed(text: String) { #expect(AddressRange(text) == nil) }
}
