import Testing

@testable import Gossip

@Suite("Parts of the protocol")
struct PartsTests {
  private func news(_ name: String, zone: String = "") -> News {
    News(
      name: MemberName(name), state: .alive, incarnation: Incarnation(1),
      profile: MemberProfile(address: MemberAddress("10.0.0.1:7946"), zone: zone), source: MemberName("s"))
  }

  @Test("a suspicion shortens with each new accuser, from its maximum to its minimum")
  func suspicion() {
    var suspicion = Suspicion(
      by: MemberName("a"), at: .seconds(10), minimum: .seconds(2), maximum: .seconds(12), expected: 3)
    var deadlines = [suspicion.deadline]
    // An accuser counts once, and more than expected change nothing.
    var areNews: [Bool] = []
    for name in ["a", "b", "c", "d", "e"] {
      areNews.append(suspicion.confirm(by: MemberName(name)))
      if areNews.last == true { deadlines.append(suspicion.deadline) }
    }
    #expect(areNews == [false, true, true, true, false])
    #expect(deadlines.first == .seconds(22) && deadlines.last == .seconds(12))
    #expect(deadlines == deadlines.sorted(by: >) && Set(deadlines).count == 4)
    let alone = Suspicion(by: MemberName("a"), at: .zero, minimum: .seconds(2), maximum: .seconds(12), expected: 0)
    #expect(alone.deadline == .seconds(2), "nobody else could confirm it")
  }

  @Test("health stays between 0 and its maximum, and stretches times")
  func health() {
    var health = LocalHealth(maximum: 8)
    health.add(-1)
    #expect(health.scaled(.seconds(1)) == .seconds(1))
    health.add(100)
    #expect(health.scaled(.seconds(1)) == .seconds(9))
  }

  @Test("what was sent least goes first, of that the newest, each as often as the limit says")
  func queue() {
    var queue = NewsQueue()
    for name in ["a", "b", "c"] { queue.add(news(name)) }
    var taken: [[News]] = []
    for bytes in [2 * news("a").encodedSize, 2 * news("a").encodedSize] {
      taken.append(queue.take(bytes: bytes, limit: 2))
    }
    queue.add(news("b", zone: "z"))
    for _ in 0..<3 { taken.append(queue.take(bytes: 1400, limit: 2)) }
    #expect(
      taken == [
        [news("c"), news("b")], [news("a"), news("c")], [news("b", zone: "z"), news("a")], [news("b", zone: "z")], [],
      ])
    #expect(queue.count == 0)
  }

  @Test("everyone is probed once in a round; the order of rounds differs")
  func probeOrder() {
    var generator = SeededGenerator(seed: 5)
    var order = ProbeOrder()
    let names = (0..<20).map { MemberName("n\($0)") }
    for name in names { order.insert(name, using: &generator) }
    var rounds: [[MemberName]] = []
    for _ in 0..<4 { rounds.append((0..<20).map { _ in order.take(using: &generator) { _ in true }! }) }
    for round in rounds.dropFirst() { #expect(Set(round) == Set(names)) }
    #expect(rounds[1] != rounds[2])
    order.remove(names[3])
    let later = (0..<40).map { _ in order.take(using: &generator) { _ in true } }
    #expect(!later.contains(names[3]))
    let none = order.take(using: &generator) { _ in false }
    #expect(none == nil)
  }

  @Test("a packet is the same after its way over the network")
  func roundTrip() throws {
    let all = [
      Message.ping(ProbeNumber(1), target: MemberName("é")), .acknowledge(ProbeNumber(.max)), .negative(ProbeNumber(0)),
      .pingRequest(ProbeNumber(9), target: MemberName("n"), address: MemberAddress("[::1]:7946")),
      .crashPingRequest(ProbeNumber(9), target: MemberName("n"), address: MemberAddress("a:1")),
    ]
    for message in all {
      for news in [[], [news("a"), news("b", zone: "z")]] {
        let packet = Packet(message, news: news)
        let bytes = packet.encoded()
        #expect(try Packet(decoding: bytes) == packet)
        #expect(bytes.count == Packet.headerBytes + message.encodedSize + news.reduce(0) { $0 + $1.encodedSize })
      }
    }
    #expect(try Packet(decoding: Packet(news: [news("a")]).encoded()) == Packet(news: [news("a")]))
  }

  @Test("bytes that are no packet are refused, and never crash; the seed of a failure is printed")
  func malformed() {
    let seed = UInt64.random(in: 0...UInt64.max)
    var generator = SeededGenerator(seed: seed)
    let valid = Packet(
      .pingRequest(ProbeNumber(9), target: MemberName("n"), address: MemberAddress("a:1")),
      news: [news("a"), news("b")]
    ).encoded()
    for count in valid.indices {
      #expect(throws: MalformedPacket.self) { try Packet(decoding: Array(valid[..<count])) }
    }
    #expect(throws: MalformedPacket.self) { try Packet(decoding: valid + [0]) }
    for _ in 0..<50_000 {
      var bytes = valid
      for _ in 0..<Int.random(in: 1...5, using: &generator) {
        bytes[Int.random(in: bytes.indices, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
      }
      if let packet = try? Packet(decoding: bytes) { #expect(packet.encoded() == bytes, "seed \(seed)") }
    }
  }
}
