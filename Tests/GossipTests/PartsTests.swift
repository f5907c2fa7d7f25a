import Testing

@testable import Gossip

@SimulationThread @Suite("Parts of the protocol", .timeLimit(.minutes(5)))
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
      areNews.append(suspicion.confirm(by: MemberName(name), at: .seconds(10)))
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
    var queue = SpreadQueue<News>()
    for name in ["a", "b", "c"] { queue.add(news(name)) }
    var taken: [[News]] = []
    for _ in 0..<2 { taken.append(take(2 * news("a").encodedSize, from: &queue)) }
    queue.add(news("b", zone: "z"))
    for _ in 0..<3 { taken.append(take(1400, from: &queue)) }
    #expect(
      taken == [
        [news("c"), news("b")], [news("a"), news("c")], [news("b", zone: "z"), news("a")], [news("b", zone: "z")], [],
      ])
    #expect(queue.count == 0)
  }

  private func take(_ bytes: Int, from queue: inout SpreadQueue<News>) -> [News] {
    var rooms = [bytes]
    return queue.take(into: &rooms, limit: 2)[0]
  }

  @Test("several packets to one member carry each piece once, and a piece that is too large does not hold up others")
  func severalPackets() {
    var queue = SpreadQueue<News>()
    for number in 0..<10 { queue.add(news("n\(number)")) }
    let size = news("n0").encodedSize
    var rooms = [3 * size, 3 * size + 1, 3 * size]
    let packets = queue.take(into: &rooms, limit: 2)
    #expect(packets.map(\.count) == [3, 3, 3] && rooms == [0, 1, 0])
    #expect(packets.joined().map(\.name.rawValue) == (1..<10).reversed().map { "n\($0)" })
    queue.add(news("large", zone: String(repeating: "z", count: 64)))
    #expect(take(size, from: &queue) == [news("n0")])
    #expect(queue.count == 11)
  }

  @Test("everyone is probed once in a round; the order of rounds differs")
  func probeOrder() {
    var generator = SeededGenerator(seed: 5)
    var order = ProbeOrder()
    let names = (0..<20).map { MemberName("n\($0)") }
    for name in names { order.insert(name, using: &generator) }
    var rounds: [[MemberName]] = []
    for _ in 0..<4 { rounds.append((0..<20).map { _ in order.take(using: &generator)! }) }
    for round in rounds.dropFirst() { #expect(Set(round) == Set(names)) }
    #expect(rounds[1] != rounds[2])
    order.remove(names[3])
    let later = (0..<40).map { _ in order.take(using: &generator) }
    #expect(!later.contains(names[3]))
    for name in names { order.remove(name) }
    let none = order.take(using: &generator)
    #expect(none == nil)
  }

  @Test("a packet is the same after its way over the network")
  func roundTrip() throws {
    var full = news("é")
    full.profile = MemberProfile(
      address: MemberAddress("[::1]:7946"), api: "h:1", zone: "z", version: "1.0", isDraining: true, protocols: 1...9,
      startedAt: .max)
    var gone = news("gone")
    gone.state = .left
    gone.age = 77
    let claim = RunnerClaim(
      runner: "r", queue: "q", owner: MemberName("n"), epoch: 3, revision: 4, state: .stopped)
    var removed = RunnerClaim(
      runner: "é", queue: "q", owner: MemberName("n"), epoch: 3, revision: 4, state: .removed)
    removed.age = 9
    let all = [
      Message.ping(ProbeNumber(1), target: MemberName("é")), .acknowledge(ProbeNumber(.max)), .negative(ProbeNumber(0)),
      .pingRequest(ProbeNumber(9), target: MemberName("n"), address: MemberAddress("[::1]:7946")),
      .crashPingRequest(ProbeNumber(9), target: MemberName("n"), address: MemberAddress("a:1")),
    ]
    for message in all {
      for (news, claims, digest) in [([], [], nil), ([news("a"), full, gone], [claim, removed], UInt64(7))] {
        let packet = Packet(message, news: news, claims: claims, digest: digest)
        let bytes = packet.encoded()
        #expect(try Packet(decoding: bytes) == packet)
        let size = news.reduce(0) { $0 + $1.encodedSize } + claims.reduce(0) { $0 + $1.encodedSize }
        #expect(bytes.count == Packet.headerBytes + message.encodedSize + (digest == nil ? 0 : 8) + size)
      }
    }
    #expect(try Packet(decoding: Packet(news: [news("a")]).encoded()) == Packet(news: [news("a")]))
    let state = MembershipState(news: [full, gone, news("a")], claims: [claim, removed])
    #expect(try MembershipState(decoding: state.encoded()) == state)
  }

  @Test("the longest news and the longest claim fit beside the longest probe into the smallest packet")
  func largest() {
    func text(_ count: Int) -> String { String(repeating: "x", count: count) }
    var news = News(
      name: MemberName(text(128)), state: .failed, incarnation: Incarnation(1),
      profile: MemberProfile(
        address: MemberAddress(text(64)), api: text(255), zone: text(64), version: text(64)),
      source: MemberName(text(128)))
    #expect(news.encodedSize == News.largestSize)
    news.state = .suspect
    let claim = RunnerClaim(
      runner: text(128), queue: text(128), owner: news.name, epoch: 1, revision: 1, state: .removed)
    #expect(claim.encodedSize == RunnerClaim.largestSize)
    let packet = Packet(.ping(ProbeNumber(1), target: news.name), news: [news], claims: [claim], digest: 1)
    #expect(packet.encoded().count <= SWIM.packetBytes.lowerBound)
    #expect((try? Packet(decoding: packet.encoded())) == packet)
  }

  @Test("bytes that are no packet and no state are refused, and never crash; the seed of a failure is printed")
  func malformed() {
    let seed = Seed()
    var generator = SeededGenerator(seed: seed.value)
    let claim = RunnerClaim(runner: "r", queue: "q", owner: MemberName("n"), epoch: 3, revision: 4, state: .removed)
    let packet = Packet(
      .pingRequest(ProbeNumber(9), target: MemberName("n"), address: MemberAddress("a:1")),
      news: [news("a"), news("b")], claims: [claim], digest: 5)
    let state = MembershipState(news: packet.news, claims: packet.claims)
    func encoded(packet bytes: [UInt8]) throws -> [UInt8] { try Packet(decoding: bytes).encoded() }
    func encoded(state bytes: [UInt8]) throws -> [UInt8] { try MembershipState(decoding: bytes).encoded() }
    for (valid, decode) in [(packet.encoded(), encoded(packet:)), (state.encoded(), encoded(state:))] {
      for count in valid.indices { #expect(throws: MalformedPacket.self) { try decode(Array(valid[..<count])) } }
      #expect(throws: MalformedPacket.self) { try decode(valid + [0]) }
      for _ in 0..<10_000 {
        var bytes = valid
        for _ in 0..<Int.random(in: 1...5, using: &generator) {
          bytes[Int.random(in: bytes.indices, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
        }
        if let again = try? decode(bytes) { #expect(again == bytes, "\(seed)") }
      }
    }
  }
}
