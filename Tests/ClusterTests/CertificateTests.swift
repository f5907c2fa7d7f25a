import EventLoop
import Gossip
import TLS
import TLSFixtures
import Testing

@testable import Cluster

/// A certificate says of a member who it is: nobody takes another one's name with his own.
@Suite("A member's certificate", .timeLimit(.minutes(5)))
struct CertificateTests {
  private let authority = TestAuthority()

  private func certificates(_ issued: CertificateAuthority.Issued) throws -> LinkCertificates {
    try LinkCertificates(try issued.identity, authorities: try authority.trusted())
  }

  /// Introduces itself to a node under a name, with a certificate.
  private func refusal(
    of issued: CertificateAuthority.Issued, as name: String, by node: TestNode
  ) async throws -> Bool {
    let loop = node.loop
    let security = LinkSecurity(
      try Keyring(keys: [testKey(1)], cluster: "test"), try certificates(issued))
    let address = try SocketAddress(parsing: node.address)
    let profile = MemberProfile(
      address: MemberAddress("127.0.0.1:1"), protocols: SWIM.supportedProtocols, startedAt: 1)
    let introduction = Introduction(
      name: MemberName(name), profile: profile, instance: UInt64.random(in: 1 ... .max))
    return try await Task(executorPreference: loop) {
      let tcp = try await TCPStream.connect(to: address, on: loop)
      let exchange = HandshakeExchange(tcp, .dialler, introduction, security, on: loop)
      guard case .success = await exchange.run(within: .seconds(60)) else { return true }
      defer { exchange.stream.close() }
      // The listener introduces itself to nobody but the member of that name.
      while await node.cluster.links!.link(to: MemberName(name)) == nil { try await loop.sleep(for: .milliseconds(5)) }
      return false
    }.value
  }

  @Test("is asked for the name that it claims, by DNS and nothing else")
  func names() async throws {
    try await withDirectory { directory in try await check(directory) }
  }

  private func check(_ directory: String) async throws {
    let own = try certificates(try authority.node("n", names: ["n"]))
    let node = try await TestNode("n", directory: directory) { $0.certificates = own }
    for (issued, name, isRefused) in [
      (try authority.node("a", names: ["a"]), "a", false), (try authority.node("b", names: ["b", "c"]), "c", false),
      (try authority.node("d", names: ["d"]), "e", true), (try authority.node("f", names: ["*.f.x"]), "g.f.x", true),
      // The subject does not count, nor does a client's certificate.
      (try authority.node("h", names: ["other"]), "h", true), (try authority.client("i"), "i", true),
      (try authority.node("j", names: ["sub.j"]), ".j", true), (try authority.node("k", names: ["K"]), "k", false),
    ] as [(CertificateAuthority.Issued, String, Bool)] {
      #expect(try await refusal(of: issued, as: name, by: node) == isRefused, "\(name): \(node.log.all)")
    }
    await node.stop()
  }
}
