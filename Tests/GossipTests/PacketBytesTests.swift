import ExactText
import Testing

@testable import Gossip

/// What members send and keep, to the byte: members of other versions read and write just this. (docs/peer-protocol.md, A
/// packet)
@Suite("Packets: written bytes", .timeLimit(.minutes(5)))
struct PacketBytesTests {
  private func bytes(_ hexadecimal: String) throws -> [UInt8] {
    let digits = hexadecimal.filter { !$0.isWhitespace }
    return try stride(from: 0, to: digits.count, by: 2).map { offset in
      try #require(UInt8(digits.dropFirst(offset).prefix(2), radix: 16))
    }
  }

  private let alive = News(
    name: MemberName("n1"), state: .alive, incarnation: Incarnation(5),
    profile: MemberProfile(
      address: MemberAddress("10.0.0.1:7946"), api: "10.0.0.1:8082", zone: "a", version: "0.1.0", isDraining: true,
      protocols: 2...3, startedAt: 258), source: MemberName("n2"))
  private var failed: News {
    var news = News(
      name: MemberName("n2"), state: .failed, incarnation: Incarnation(6),
      profile: MemberProfile(address: MemberAddress("h:1"), protocols: 1...1), source: MemberName("n1"))
    news.age = 60
    return news
  }
  private let stopped = RunnerClaim(
    runner: "r", queue: "q", owner: MemberName("n1"), epoch: 3, revision: 4, state: .stopped)
  private var removed: RunnerClaim {
    var claim = RunnerClaim(runner: "s", queue: "q", owner: MemberName("n2"), epoch: 3, revision: 5, state: .removed)
    claim.age = 9
    return claim
  }
  private let record = Record(
    kind: RecordKind(rawValue: 7), name: "x", version: 1000, author: MemberName("n1"), body: [1, 255])
  private let withdrawn = Record(
    kind: RecordKind(rawValue: 1), name: "y", version: 1001, author: MemberName("n2"), isRemoved: true, body: [])

  private func isWritten(
    _ packet: Packet, _ hexadecimal: String, _ location: SourceLocation = #_sourceLocation
  ) throws {
    let bytes = try bytes(hexadecimal)
    #expect(packet.encoded() == bytes, "\(packet)", sourceLocation: location)
    #expect(try Packet(decoding: bytes) == packet, sourceLocation: location)
  }

  @Test("of a packet of each kind, and of all that travels along")
  func packets() throws {
    try isWritten(
      Packet(),
      "02000000 00")
    try isWritten(
      Packet(.ping(ProbeNumber(258), target: MemberName("n1"))),
      "02010000 0102026e 31000000")
    try isWritten(
      Packet(.pingRequest(ProbeNumber(1), target: MemberName("n1"), address: MemberAddress("h:1"))),
      "02020000 0001026e 3103683a 31000000")
    try isWritten(
      Packet(.acknowledge(ProbeNumber(2)), digest: 0x0102_0304_0506_0708),
      "02830000 00020102 03040506 07080000 00")
    try isWritten(
      Packet(.negative(ProbeNumber(3))),
      "02040000 00030000 00")
    try isWritten(
      Packet(.crashPingRequest(ProbeNumber(4), target: MemberName("n1"), address: MemberAddress("h:1"))),
      "02050000 0004026e 3103683a 31000000")
    try isWritten(
      Packet(news: [alive, failed], claims: [stopped, removed], records: [record, withdrawn]),
      """
      02000200 00000000 00000005 026e310d 31302e30 2e302e31 3a373934 360d3130 2e302e30 2e313a38 30383201
      6105302e 312e3001 02030000 00000000 0102026e 32020000 003c0000 00000000 0006026e 3203683a 31000000
      00010100 00000000 00000002 6e310201 00000000 00000003 00000000 00000004 01720171 026e3102 00000009
      00000000 00000003 00000000 00000005 01730171 026e3202 07000000 00000000 03e80178 026e3100 0201ff01
      01000000 00000003 e9017902 6e320000
      """)
  }

  @Test("of the whole state, and of records by themselves")
  func state() throws {
    let state = MembershipState(news: [alive, failed], claims: [stopped, removed], records: [record, withdrawn])
    let written = try bytes(
      """
      02000000 02000000 00000000 0005026e 310d3130 2e302e30 2e313a37 3934360d 31302e30 2e302e31 3a383038
      32016105 302e312e 30010203 00000000 00000102 026e3202 0000003c 00000000 00000006 026e3203 683a3100
      00000001 01000000 00000000 00026e31 00000002 01000000 00000000 03000000 00000000 04017201 71026e31
      02000000 09000000 00000000 03000000 00000000 05017301 71026e32 00000002 07000000 00000000 03e80178
      026e3100 0201ff01 01000000 00000003 e9017902 6e320000
      """)
    #expect(state.encoded() == written)
    #expect(try MembershipState(decoding: written).encoded() == written)
    let records = try bytes(
      "00000001 07000000 00000000 03e80178 026e3100 0201ff")
    #expect(Record.encoded([record]) == records)
    #expect(try Record.decode(records) == [record])
  }
}
