import Gossip
import Testing

@testable import Cluster

/// The parts of a link that are values.
@Suite(.timeLimit(.minutes(5))) struct PartsTests {
  // MARK: Frames

  @Test func `a message in pieces is whole when all of its length has come`() throws {
    var message = try Assembly([0, 0, 0, 3, 7])
    #expect(message.missing == 2)
    try message.add([8])
    try message.add([9])
    #expect(message.missing == 0 && message.bytes == [7, 8, 9])
    #expect(throws: LinkFault.self) { try Assembly([0x10, 0, 0, 1]) }
    #expect(throws: LinkFault.self) { try Assembly([0, 0, 0, 1, 2, 3]) }
  }

  @Test func `frames are cut out of any pieces in which they arrive`() throws {
    var bytes: [UInt8] = []
    let sizes = [0, 1, 5, 300, Frame.pieceBytes, 17, 0]
    for (call, size) in sizes.enumerated() {
      [UInt8](repeating: UInt8(call), count: size).withUnsafeBytes {
        Frame.append(.answer, call: UInt64(call), $0, to: &bytes)
      }
    }
    var seed = SystemRandomNumberGenerator()
    for largest in [1, 7, 100, 70_000, .max] {
      var buffer = FrameBuffer()
      var frames: [Frame] = []
      var rest = bytes[...]
      while !rest.isEmpty {
        let count = min(rest.count, largest == .max ? .max : .random(in: 1...largest, using: &seed))
        try rest.prefix(count).withUnsafeBytes {
          try buffer.feed($0) { (bytes) throws(LinkFault) in frames.append(try Frame(bytes)) }
        }
        rest = rest.dropFirst(count)
      }
      #expect(frames.map(\.call) == Array(0..<7))
      #expect(frames.map(\.payload.count) == sizes)
      #expect(frames.allSatisfy { frame in frame.payload.allSatisfy { $0 == UInt8(frame.call) } })
    }
  }

  @Test func `a channel is the first byte of a payload`() throws {
    var bytes: [UInt8] = []
    [5, 6].withUnsafeBytes { Frame.append(.request, call: .max, channel: .exchange, $0, to: &bytes) }
    let frame = try bytes.withUnsafeBytes { try Frame(UnsafeRawBufferPointer(rebasing: $0[4...])) }
    #expect(frame.kind == .request && frame.call == .max)
    #expect(frame.payload.first == LinkChannel.exchange.rawValue)
  }

  // MARK: Outbox

  private func order(_ outbox: inout Outbox, atMost count: Int = .max) -> [(Outbox.Key, Range<Int>)] {
    var order: [(Outbox.Key, Range<Int>)] = []
    while order.count < count, let piece = outbox.next() { order.append((piece.key, piece.range)) }
    return order
  }

  @Test func `a short message goes before long ones, which take turns`() {
    var outbox = Outbox()
    let long = [UInt8](repeating: 0, count: 3 * Frame.pieceBytes)
    outbox.add(.request(1), channel: .invocation, long)
    outbox.add(.answer(2), long)
    outbox.add(.request(3), channel: .invocation, [1])
    #expect(outbox.requests == 2 && outbox.answerBytes == long.count)
    let sent = order(&outbox)
    #expect(
      sent.map(\.0) == [
        .request(3), .request(1), .answer(2), .request(1), .answer(2), .request(1), .answer(2), .request(1), .answer(2),
      ])
    // The length and the channel take five bytes of the first piece, so that there is one more.
    #expect(sent[1].1.count == Frame.pieceBytes - 5 && sent.last!.1.count == 5)
    #expect(outbox.isEmpty && outbox.requests == 0 && outbox.answerBytes == 0)
  }

  @Test func `many short messages do not keep a long one waiting`() {
    var outbox = Outbox()
    outbox.add(.request(0), channel: .invocation, [UInt8](repeating: 0, count: 2 * Frame.pieceBytes))
    for call in UInt64(1)...1000 { outbox.add(.answer(call), [UInt8](repeating: 0, count: 1000)) }
    let turns = order(&outbox).enumerated().filter { $0.element.0 == .request(0) }.map(\.offset)
    #expect(turns.count == 3)
    #expect(turns.last! < 220, "a piece after each 64 KiB of others: \(turns)")
  }

  @Test func `what is removed is not sent any further`() {
    var outbox = Outbox()
    outbox.add(.request(1), channel: .invocation, [UInt8](repeating: 0, count: 3 * Frame.pieceBytes))
    outbox.add(.answer(1), [1, 2])
    #expect(outbox.remove(.request(2)) == nil)
    #expect(order(&outbox, atMost: 2).map(\.0) == [.answer(1), .request(1)])
    #expect(outbox.remove(.request(1)) == Frame.pieceBytes - 5)
    #expect(outbox.isEmpty && order(&outbox).isEmpty)
    outbox.add(.answer(1), [1])
    #expect(outbox.remove(.answer(1)) == 0)
    #expect(order(&outbox).isEmpty && outbox.answerBytes == 0)
  }

  // MARK: Watch

  @Test func `a silent peer is asked, and lost when it does not answer`() {
    var watch = LinkWatch(LinkLimits(), at: .zero)
    #expect(watch.nextDeadline(isAwaited: true) == .seconds(5))
    #expect(watch.nextDeadline(isAwaited: false) == .seconds(15))
    #expect(watch.check(at: .seconds(4), isAwaited: true) == .fine)
    #expect(watch.check(at: .seconds(6), isAwaited: false) == .fine)
    #expect(watch.check(at: .seconds(6), isAwaited: true) == .ask)
    #expect(watch.nextDeadline(isAwaited: true) == .seconds(11))
    #expect(watch.check(at: .seconds(7), isAwaited: true) == .fine)
    var answered = watch
    answered.received(at: .seconds(8))
    #expect(answered.check(at: .seconds(12), isAwaited: true) == .fine)
    #expect(watch.check(at: .seconds(11), isAwaited: true) == .lost("no answer to a ping for 5 s"))
  }

  @Test func `a pause of this process is no silence of the peer`() {
    var watch = LinkWatch(LinkLimits(), at: .zero)
    #expect(watch.check(at: .seconds(6), isAwaited: true) == .ask)
    watch.wrote(100, waiting: 50, at: .seconds(6))
    watch.forgive(at: .seconds(60))
    #expect(watch.check(at: .seconds(60), isAwaited: true) == .fine)
    #expect(watch.nextDeadline(isAwaited: true) == .seconds(65))
  }

  @Test func `a peer that takes nothing is lost, one that takes little is not`() {
    var slow = LinkWatch(LinkLimits(), at: .zero)
    for second in 1...60 {
      slow.wrote(1000, waiting: 1000 - second, at: .seconds(second))
      slow.received(at: .seconds(second))
      #expect(slow.check(at: .seconds(second), isAwaited: true) == .fine)
    }
    slow.wrote(1000, waiting: 940, at: .seconds(69))
    #expect(slow.nextDeadline(isAwaited: false) == .seconds(70))
    slow.received(at: .seconds(69))
    #expect(slow.check(at: .seconds(70), isAwaited: false) == .lost("it reads nothing"))
    slow.wrote(1000, waiting: 0, at: .seconds(70))
    #expect(slow.check(at: .seconds(70), isAwaited: false) == .fine)
  }

  @Test func `the log of refusals says how many it left out`() {
    var log = RefusalLog()
    #expect(log.admit(at: .seconds(1)) == 0)
    #expect(log.admit(at: .seconds(1.5)) == nil)
    #expect(log.admit(at: .seconds(1.9)) == nil)
    #expect(log.admit(at: .seconds(2)) == 2)
  }
}

/// What a member says of the others when not everything arrives.
struct PathFaultTests {
  private func view(_ peer: String, link: Bool = true, _ packets: PacketLoss? = nil) -> PathFaults.View {
    PathFaults.View(peer: MemberName(peer), hasLink: link, failure: link ? "" : "timed out", packets: packets)
  }

  private func fault(_ peer: String, _ kind: PathFault.Kind) -> PathFault {
    PathFault(peer: MemberName(peer), kind: kind, reason: kind == .noLink ? "timed out" : "")
  }

  @Test func `a link that is missing is said after a while, and packets that are lost at once`() {
    var faults = PathFaults()
    let views = [view("b", link: false), view("a", .outgoing), view("c", .incoming), view("d")]
    let first = faults.update(views, at: .seconds(100))
    #expect(first.said == [fault("a", .noUDPTo), fault("c", .noUDPFrom)] && first.isDue)
    #expect(faults.update(views, at: .seconds(105)) == PathFaults.Report())
    let second = faults.update(views, at: .seconds(110))
    #expect(second.said == [fault("b", .noLink)] && second.isDue)
    #expect(faults.current.count == 3)
    #expect("\(faults.current[1])" == "no link with b: timed out")
  }

  @Test func `faults that last are said again at a bounded rate, and their end is said`() {
    var faults = PathFaults()
    var said = 0
    for second in 0..<600 {
      let report = faults.update([view("a", .incoming), view("b")], at: .seconds(second))
      #expect(report.isDue == !report.said.isEmpty)
      said += report.said.count
    }
    #expect(said == 10)
    let end = faults.update([view("a"), view("b")], at: .seconds(600))
    #expect(end.ended == [fault("a", .noUDPFrom)] && end.said.isEmpty && end.isDue)
    #expect(faults.update([], at: .seconds(601)) == PathFaults.Report())
  }

  @Test func `a member that has no link with anybody is isolated, but not one that is alone`() {
    var faults = PathFaults()
    _ = faults.update([], at: .seconds(1))
    #expect(faults.isolatedSince == nil)
    _ = faults.update([view("a", link: false), view("b", link: false)], at: .seconds(2))
    _ = faults.update([view("a", link: false)], at: .seconds(9))
    #expect(faults.isolatedSince == .seconds(2))
    _ = faults.update([view("a", link: false), view("b")], at: .seconds(10))
    #expect(faults.isolatedSince == nil)
  }

  @Test func `faults travel between members as they are`() throws {
    let sent = [fault("a", .noLink), fault("b", .noUDPFrom), fault("c", .noUDPTo)]
    #expect(try [PathFault](wireBytes: sent.wireBytes) == sent)
    // Name, kind, reason.
    #expect(fault("a", .noUDPTo).wireBytes == [0, 0, 0, 1, 97, 3, 0, 0, 0, 0])
    #expect(throws: MalformedWire.self) { try PathFault(wireBytes: [0, 0, 0, 1, 97, 4, 0, 0, 0, 0]) }
    #expect(throws: MalformedWire.self) { try PathFault(wireBytes: [0, 0, 0, 0, 3, 0, 0, 0, 0]) }
  }

  @Test func `a node that stays alone says why, once a minute`() {
    var solitude = Solitude()
    var said = 0
    for second in stride(from: 0, to: 300, by: 5) {
      solitude.take(["a: refused", "b: another key", "a: refused"], hasFound: false)
      if solitude.isDue(at: .seconds(second)) { said += 1 }
    }
    #expect(said == 4 && solitude.reason == "a: refused; b: another key")
    solitude.take([], hasFound: false)
    #expect(solitude.reason != nil)
    solitude.take([], hasFound: true)
    #expect(solitude.reason == nil)
  }
}
