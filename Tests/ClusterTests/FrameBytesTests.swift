import Gossip
import Testing

@testable import Cluster

/// What travels on a peer link, to the byte: nodes of other versions read and write just this. (docs/peer-protocol.md,
/// Frames)
@Suite("Peer links: written bytes", .timeLimit(.minutes(5)))
struct FrameBytesTests {
  private func bytes(_ hexadecimal: String) throws -> [UInt8] {
    let digits = hexadecimal.filter { !$0.isWhitespace }
    return try stride(from: 0, to: digits.count, by: 2).map { offset in
      try #require(UInt8(digits.dropFirst(offset).prefix(2), radix: 16))
    }
  }

  private func isWritten(
    _ kind: Frame.Kind, call: UInt64, total: Int? = nil, channel: LinkChannel? = nil, of content: [UInt8],
    _ hexadecimal: String, carries payload: [UInt8], _ location: SourceLocation = #_sourceLocation
  ) throws {
    let bytes = try bytes(hexadecimal)
    var written: [UInt8] = []
    content.withUnsafeBytes { Frame.append(kind, call: call, total: total, channel: channel, $0, to: &written) }
    #expect(written == bytes, "\(kind)", sourceLocation: location)
    var frames: [Frame] = []
    var buffer = FrameBuffer()
    let outcome: Result<Void, LinkFault> = bytes.withUnsafeBytes { text in
      do throws(LinkFault) {
        try buffer.feed(text) { (frame) throws(LinkFault) in frames.append(try Frame(frame)) }
        return .success(())
      } catch {
        return .failure(error)
      }
    }
    try outcome.get()
    #expect(frames.count == 1 && frames[0].kind == kind && frames[0].call == call, sourceLocation: location)
    #expect(frames.first?.payload == payload, sourceLocation: location)
  }

  @Test("of a frame of each kind")
  func frames() throws {
    try isWritten(
      .request, call: 258, channel: .invocation, of: [1, 2], "0000000c 01000000 00000001 02010102", carries: [1, 1, 2])
    try isWritten(
      .requestStart, call: 1, total: 70_000, channel: .exchange, of: [9], "0000000f 02000000 00000000 01000111 700209",
      carries: [0, 1, 0x11, 0x70, 2, 9])
    try isWritten(.requestPiece, call: 1, of: [8], "0000000a 03000000 00000000 0108", carries: [8])
    try isWritten(.answer, call: 2, of: [7], "0000000a 04000000 00000000 0207", carries: [7])
    try isWritten(
      .answerStart, call: 2, total: 258, of: [6], "0000000e 05000000 00000000 02000001 0206", carries: [0, 0, 1, 2, 6])
    try isWritten(.answerPiece, call: 2, of: [5], "0000000a 06000000 00000000 0205", carries: [5])
    try isWritten(
      .refusal, call: 3, of: [Frame.Refusal.tooBig.rawValue], "0000000a 07000000 00000000 0303", carries: [3])
    try isWritten(.cancel, call: 4, of: [], "00000009 08000000 00000000 04", carries: [])
    try isWritten(.ping, call: 5, of: [], "00000009 09000000 00000000 05", carries: [])
    try isWritten(.pong, call: 5, of: [], "00000009 0a000000 00000000 05", carries: [])
    try isWritten(.goodbye, call: 0, of: [], "00000009 0b000000 00000000 00", carries: [])
    try isWritten(.retire, call: 0, of: [], "00000009 0c000000 00000000 00", carries: [])
  }

  @Test("of an introduction")
  func introduction() throws {
    let introduction = Introduction(
      name: MemberName("n1"),
      profile: MemberProfile(
        address: MemberAddress("10.0.0.1:7946"), api: "10.0.0.1:8082", zone: "a", version: "0.1.0", protocols: 2...3,
        startedAt: 258), instance: 0x0102_0304_0506_0708)
    var written = try bytes(
      """
      00480203 01020304 05060708 00000000 00000102 00000002 6e310000 000d3130 2e302e30 2e313a37 39343600
      00000d31 302e302e 302e313a 38303832 00000001 61000000 05302e31 2e30
      """)
    #expect(introduction.framed == written)
    let read = try Introduction.take(from: &written)
    #expect(read == introduction && written.isEmpty)
  }

  @Test("of the values that calls are made of, each of which comes back")
  func values() throws {
    var writer = WireWriter()
    writer.add("é\u{0}x")
    writer.add([1, -2, Int.max])
    writer.add(Optional<Bool>.none)
    writer.add(Optional(true))
    writer.add(Double.infinity)
    writer.add(WireBytes([0, 255]))
    writer.add(UInt64.max)
    writer.add(["a", ""])
    let written = try bytes(
      """
      00000004 c3a90078 00000003 00000000 00000001 ffffffff fffffffe 7fffffff ffffffff 0001017f f0000000
      00000000 00000200 ffffffff ffffffff ff000000 02000000 01610000 0000
      """)
    #expect(writer.bytes == written)
    var reader = WireReader(written)
    #expect(try reader.value(String.self) == "é\u{0}x")
    #expect(try reader.value([Int].self) == [1, -2, Int.max])
    #expect(try reader.value(Bool?.self) == nil)
    #expect(try reader.value(Bool?.self) == true)
    #expect(try reader.value(Double.self) == .infinity)
    #expect(try reader.value(WireBytes.self) == WireBytes([0, 255]))
    #expect(try reader.value(UInt64.self) == .max)
    #expect(try reader.value([String].self) == ["a", ""])
    #expect(reader.remaining == 0)
  }
}
