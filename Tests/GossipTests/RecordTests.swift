import ExactText
import GossipSimulator
import Testing

@testable import Gossip

/// Small facts that every member keeps, of kinds that the protocol knows nothing about.
@SimulationThread @Suite("Records", .timeLimit(.minutes(5)))
struct RecordTests {
  private let seed = Seed()
  private static let kind = RecordKind(rawValue: 200)

  private func record(
    _ name: String, version: UInt64 = 1, by author: String = "a", isRemoved: Bool = false, body: [UInt8] = [1]
  ) -> Record {
    Record(
      kind: Self.kind, name: ExactText(name), version: version, author: MemberName(author), isRemoved: isRemoved,
      body: body)
  }

  private func member(_ rules: RecordRules = RecordRules(), date: UInt64 = 1 << 41) -> SWIM {
    SWIM(
      name: MemberName("me"), profile: MemberProfile(address: MemberAddress("me:1")), records: rules, seed: 1,
      now: .zero, date: date)
  }

  /// Statements about one name that differ in all ways.
  private var statements: [Record] {
    var all: [Record] = []
    for version in 1...2 as ClosedRange<UInt64> {
      for isRemoved in [false, true] {
        for author in ["a", "\u{e9}", "e\u{301}"] {
          for body in [[], [1], [1, 0], [2]] as [[UInt8]] {
            all.append(record("r", version: version, by: author, isRemoved: isRemoved, body: body))
          }
        }
      }
    }
    return all
  }

  @Test("of two different statements exactly one wins, and they do not beat each other in a circle")
  func totalOrder() {
    let all = statements.sorted { $1.isNewer(than: $0) }
    for (place, a) in all.enumerated() {
      #expect(!a.isNewer(than: a))
      for b in all[..<place] { #expect(a.isNewer(than: b) && !b.isNewer(than: a)) }
    }
  }

  @Test("in whatever order statements arrive, and however often, the same one wins and digests are equal")
  func anyOrder() {
    var generator = SeededGenerator(seed: seed.value)
    let some = Array(statements.shuffled(using: &generator).prefix(20))
    let winner = some.first { winner in some.allSatisfy { !$0.isNewer(than: winner) } }!
    var digests: Set<UInt64> = []
    for _ in 0..<50 {
      var map = RecordMap()
      for record in (some + some.prefix(7)).shuffled(using: &generator) { _ = map.merge(record, date: 0) }
      #expect(map.all == [winner], "\(seed)")
      digests.insert(map.digest)
    }
    #expect(digests.count == 1, "\(seed)")
  }

  @Test("names that look alike and are other bytes are two, and so are two kinds")
  func subjects() {
    var map = RecordMap()
    let other = Record(
      kind: RecordKind(rawValue: 9), name: "\u{e9}", version: 1, author: MemberName("a"), body: [])
    let all = [other, record("e\u{301}"), record("\u{e9}")]
    for record in all.reversed() { _ = map.merge(record, date: 0) }
    #expect(map.all == all && map.all(of: Self.kind) == Array(all.dropFirst()))
  }

  @Test("the merge rule is the kind's own")
  func ownRule() {
    // The lowest version wins.
    let rules = RecordRules([Self.kind: RecordRule(overrides: { $0.version < $1.version })])
    var map = RecordMap(rules: rules)
    for version in [2, 3, 1] as [UInt64] { _ = map.merge(record("r", version: version), date: 0) }
    #expect(map.all.map(\.version) == [1])
  }

  @Test("a record is kept until its kind lets it go, and is not learned again afterwards")
  func forgetting() {
    let rules = RecordRules([Self.kind: RecordRule(forgottenFrom: { $0.body == [] ? nil : $0.version + 100 })])
    var map = RecordMap(rules: rules)
    let (kept, passing) = (record("kept", version: 5, body: []), record("passing", version: 5))
    for record in [kept, passing] { _ = map.merge(record, date: 104) }
    map.reap(date: 104)
    #expect(map.all == [kept, passing])
    map.reap(date: 105)
    #expect(map.all == [kept])
    let isLearned = map.merge(passing, date: 105)
    #expect(!isLearned)
    var other = RecordMap()
    _ = other.merge(kept, date: 0)
    #expect(map.digest == other.digest)
  }

  @Test("a member that floods the others fills a bounded part of their memory, and none of what known kinds need")
  func flood() {
    let known = RecordKind(rawValue: 7)
    var map = RecordMap(rules: RecordRules([known: RecordRule()]))
    for number in 0..<3 * RecordMap.maximumOfUnknownKinds {
      let kind = RecordKind(rawValue: UInt8(100 + number % 100))
      _ = map.merge(
        Record(kind: kind, name: ExactText("r\(number)"), version: 1, author: MemberName("a"), body: []), date: 0)
    }
    #expect(map.all.count == RecordMap.maximumOfUnknownKinds)
    for number in 0..<RecordMap.maximumOfKind + 10 {
      let isNews = map.merge(
        Record(kind: known, name: ExactText("r\(number)"), version: 1, author: MemberName("a"), body: []), date: 0)
      #expect(isNews == (number < RecordMap.maximumOfKind))
    }
    #expect(map.all.count == RecordMap.maximumOfUnknownKinds + RecordMap.maximumOfKind)
  }

  @Test("each change is said once, an old statement changes nothing")
  func directives() {
    var swim = member()
    let first = swim.record(record("r"), at: .zero)
    #expect(first == [.recorded(record("r"))])
    let again = swim.record(record("r"), at: .zero)
    #expect(again == [])
    let removal = record("r", version: 2, isRemoved: true)
    let removed = swim.receive(Packet(records: [removal, record("r")]), from: MemberAddress("a:1"), at: .zero)
    #expect(removed == [.recorded(removal)])
    let restored = swim.records.all
    var next = member()
    next.restore(restored)
    #expect(next.records.all == [removal] && next.recordQueue.isEmpty)
  }

  // MARK: Bytes

  @Test("the bytes of a record, a packet and a state are these")
  func goldenBytes() {
    let record = Record(
      kind: RecordKind(rawValue: 2), name: "ci", version: 0x0102, author: MemberName("n1"), isRemoved: true,
      body: [7, 8, 9])
    let bytes: [UInt8] = [
      2, 1, 0, 0, 0, 0, 0, 0, 1, 2, 2, 0x63, 0x69, 2, 0x6E, 0x31, 0, 3, 7, 8, 9,
    ]
    #expect(record.encodedSize == bytes.count)
    #expect(Record.encoded([record]) == [0, 0, 0, 1] + bytes)
    #expect(Packet(records: [record]).encoded() == [2, 0, 0, 0, 1] + bytes)
    #expect(
      MembershipState(records: [record]).encoded() == [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1] + bytes)
    #expect(MembershipState(records: [record]).encodedSize == 13 + bytes.count)
    #expect((try? Packet(decoding: [2, 0, 0, 0, 1] + bytes))?.records == [record])
    #expect((try? MembershipState(decoding: MembershipState(records: [record]).encoded()))?.records == [record])
  }

  @Test("the largest record fits into the smallest packet")
  func largest() throws {
    let text = String(repeating: "x", count: 128)
    let record = record(text, version: News.maximumCounter, by: text, body: [UInt8](repeating: 1, count: 1024))
    #expect(record.encodedSize == Record.largestSize)
    let packet = Packet(records: [record])
    #expect(packet.encoded().count <= SWIM.packetBytes.lowerBound)
    #expect(try Packet(decoding: packet.encoded()) == packet)
  }

  @Test("bytes that are no records are refused, and never crash; the seed of a failure is printed")
  func malformed() {
    var generator = SeededGenerator(seed: seed.value)
    let valid = Record.encoded([record("r"), record("s", isRemoved: true, body: [UInt8](repeating: 3, count: 40))])
    for count in valid.indices { #expect(throws: MalformedPacket.self) { try Record.decode(Array(valid[..<count])) } }
    #expect(throws: MalformedPacket.self) { try Record.decode(valid + [0]) }
    for _ in 0..<10_000 {
      var bytes = valid
      for _ in 0..<Int.random(in: 1...5, using: &generator) {
        bytes[Int.random(in: bytes.indices, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
      }
      if let again = try? Record.decode(bytes) { #expect(Record.encoded(again) == bytes, "\(seed)") }
    }
  }

  // MARK: In a cluster

  @Test("a thousand new records spread over five members within seconds, large ones too")
  func spread() throws {
    var simulator = Simulator(count: 5, seed: seed.value)
    simulator.joinAll()
    simulator.run(for: .seconds(10))
    for number in 0..<1000 {
      let body = [UInt8](repeating: 1, count: number.isMultiple(of: 50) ? 1024 : 60)
      simulator.record(record("r\(number)", by: "n\(number % 5)", body: body), by: number % 5)
    }
    let time = try #require(simulator.run(atMost: .seconds(30)) { $0.agreesOnRecords }, "\(seed)")
    #expect(time < .seconds(10), "\(seed)")
    #expect(simulator[4].records.all.count == 1000)
  }

  @Test("records arrive though a third of all packets is lost, and at a member that joins later")
  func losses() throws {
    var simulator = Simulator(count: 8, seed: seed.value)
    simulator.joinAll()
    simulator.run(for: .seconds(10))
    simulator.network.loss = 0.33
    for number in 0..<100 { simulator.record(record("r\(number)"), by: number % 8) }
    _ = try #require(simulator.run(atMost: .seconds(120)) { $0.agreesOnRecords }, "\(seed)")
    simulator.network.loss = 0
    let late = simulator.join(by: 3)
    _ = try #require(
      simulator.run(atMost: .seconds(30)) { $0.agreesOnRecords && $0[late].records.all.count == 100 }, "\(seed)")
  }

  @Test("a member that was away for 73 hours with an old record brings nothing back that was removed meanwhile")
  func longAbsence() throws {
    // Slower than any real one, so that three days take no minutes.
    var settings = GossipSettings.lan
    (settings.probeInterval, settings.parallelProbes, settings.gossipInterval) = (.seconds(20), 1, .seconds(5))
    var simulator = Simulator(count: 4, seed: seed.value, settings: settings)
    simulator.joinAll()
    simulator.run(for: .seconds(120))
    let old = record("ci", body: [1])
    simulator.record(old, by: 0)
    _ = try #require(simulator.run(atMost: .seconds(300)) { $0.agreesOnRecords }, "\(seed)")
    let disk = simulator[3].records.all
    #expect(disk == [old])
    simulator.kill(3)
    let removal = record("ci", version: 2, isRemoved: true, body: [1])
    simulator.record(removal, by: 1)
    simulator.run(for: .seconds(73 * 3600))
    // By then it is forgotten as a member, and the removal is not.
    #expect(simulator[0][MemberName("n3")] == nil)
    for number in 0..<3 { #expect(simulator[number].records.all == [removal], "\(seed)") }
    simulator.restart(3, by: 0, records: disk)
    _ = try #require(
      simulator.run(atMost: .seconds(600)) { $0.isWhole && $0.agreesOnRecords && $0[3].records.all == [removal] },
      "\(seed)")
    simulator.run(for: .seconds(3600))
    for number in 0..<4 { #expect(simulator[number].records.all == [removal], "\(seed)") }
  }
}
