import HeapModule

@testable import Gossip

// A cluster in one thread and virtual time: what happens is decided by the seed alone.

/// Members whose packets cross a network that loses, delays, repeats and blocks them.
struct Simulator {
  struct Network {
    /// Share of packets that are lost.
    var loss = 0.0
    var delay = Duration.microseconds(200)...Duration.milliseconds(2)
    /// Share of packets that arrive twice.
    var duplication = 0.0
    /// Members in different groups do not reach each other; everybody is in group 0 at first.
    var groups: [Int: Int] = [:]
  }

  private enum Event {
    case wake
    case packet([UInt8], from: Int)
    /// The two halves of an exchange by a peer link, which loses nothing.
    case exchange(MembershipState, from: Int, isAnswer: Bool)
    case linkProbe(ProbeNumber, from: Int)
    case linkAnswer(ProbeNumber)
    case linkLost(Int)
  }

  private struct Scheduled: Comparable {
    let time: Duration
    let number: Int
    let member: Int
    let event: Event
    static func < (a: Scheduled, b: Scheduled) -> Bool { (a.time, a.number) < (b.time, b.number) }
    static func == (a: Scheduled, b: Scheduled) -> Bool { a.number == b.number }
  }

  private(set) var members: [SWIM] = []
  var network = Network()
  private(set) var now = Duration.zero
  /// Killed: they neither send nor receive.
  private(set) var dead: Set<Int> = []
  /// Stopped for a while: what arrives waits.
  private var paused: [Int: [Scheduled]] = [:]
  /// What each member saw change, with the time.
  private(set) var changes: [(time: Duration, observer: Int, member: Member)] = []
  private(set) var packets = 0
  private(set) var bytes = 0
  private var heap = Heap<Scheduled>()
  private var wakeAt: [Duration] = []
  private var scheduled = 0
  private var generator: SeededGenerator

  init(count: Int, seed: UInt64, settings: GossipSettings = .lan) {
    generator = SeededGenerator(seed: seed)
    for number in 0..<count {
      members.append(
        SWIM(
          name: Self.name(number), profile: MemberProfile(address: Self.address(number), api: "10.0.0.\(number):8082"),
          settings: settings, seed: generator.next(), now: .zero))
      wakeAt.append(.seconds(1 << 40))
      rearm(number)
    }
  }

  static func name(_ number: Int) -> MemberName { MemberName("n\(number)") }
  private static func address(_ number: Int) -> MemberAddress { MemberAddress("m:\(number)") }
  private static func number(_ address: MemberAddress) -> Int { Int(address.rawValue.dropFirst(2))! }

  // MARK: What happens

  /// Everyone exchanges what it knows with the first member.
  mutating func joinAll() {
    for number in members.indices.dropFirst() { perform([.exchange(with: Self.address(0))], of: number) }
  }

  /// The process is gone.
  /// - Parameter resetsLinks: its system closes its links; `false` when the whole machine is gone.
  mutating func kill(_ number: Int, resetsLinks: Bool = false) {
    dead.insert(number)
    if resetsLinks { breakLinks(of: number) }
  }

  /// All others lose their peer link to a member, which may live.
  mutating func breakLinks(of number: Int) {
    for other in living where other != number { send(.linkLost(number), from: number, to: other) }
  }

  mutating func pause(_ number: Int) { paused[number] = [] }

  mutating func resume(_ number: Int) {
    for item in paused.removeValue(forKey: number) ?? [] { schedule(item.event, for: number, at: now) }
    schedule(.wake, for: number, at: now)
  }

  mutating func claim(_ claim: RunnerClaim, by number: Int) {
    perform(members[number].claim(claim, at: now), of: number)
  }

  mutating func leave(_ number: Int) { perform(members[number].leave(at: now), of: number) }

  mutating func run(for time: Duration) {
    let end = now + time
    while let next = heap.min, next.time <= end { step() }
    now = end
  }

  /// Runs until the condition holds, looking each 10 ms.
  /// - Returns: how long that took; `nil` when it did not hold in time.
  mutating func run(atMost time: Duration, until condition: (Simulator) -> Bool) -> Duration? {
    let start = now
    while now - start < time {
      if condition(self) { return now - start }
      run(for: .milliseconds(10))
    }
    return condition(self) ? now - start : nil
  }

  private mutating func step() {
    let item = heap.removeMin()
    now = item.time
    guard !dead.contains(item.member) else { return }
    guard paused[item.member] == nil else { return paused[item.member]!.append(item) }
    let number = item.member
    switch item.event {
    case .wake:
      guard item.time >= members[number].nextDeadline else { break }
      perform(members[number].advance(to: now), of: number)
    case .packet(let bytes, let sender):
      guard let packet = try? Packet(decoding: bytes) else { fatalError("a member sent a malformed packet") }
      perform(members[number].receive(packet, from: Self.address(sender), at: now), of: number)
    case .exchange(let state, let other, let isAnswer):
      if !isAnswer { send(.exchange(members[number].state, from: number, isAnswer: true), from: number, to: other) }
      perform(members[number].merge(state, at: now), of: number)
    case .linkProbe(let probe, let other): send(.linkAnswer(probe), from: number, to: other)
    case .linkLost(let other): perform(members[number].linkLost(Self.name(other), at: now), of: number)
    case .linkAnswer(let probe): perform(members[number].acknowledged(probe, at: now), of: number)
    }
    rearm(number)
  }

  private mutating func perform(_ directives: [SWIM.Directive], of number: Int) {
    for directive in directives {
      switch directive {
      case .send(let packet, let address):
        let encoded = packet.encoded()
        precondition(encoded.count <= 1400, "a packet of \(encoded.count) bytes")
        packets += 1
        bytes += encoded.count
        for _ in 0..<(Double.random(in: 0..<1, using: &generator) < network.duplication ? 2 : 1)
        where Double.random(in: 0..<1, using: &generator) >= network.loss {
          send(.packet(encoded, from: number), from: number, to: Self.number(address))
        }
      case .exchange(let address):
        send(
          .exchange(members[number].state, from: number, isAnswer: false), from: number, to: Self.number(address))
      case .probeByPeerLink(let probe, let name):
        send(.linkProbe(probe, from: number), from: number, to: Int(name.rawValue.dropFirst())!)
      case .changed(let member): changes.append((now, number, member))
      case .nameConflict, .incompatible, .claimed: break
      }
    }
    rearm(number)
  }

  private mutating func send(_ event: Event, from sender: Int, to receiver: Int) {
    guard members.indices.contains(receiver), network.groups[sender] ?? 0 == network.groups[receiver] ?? 0 else {
      return
    }
    let share = Double.random(in: 0...1, using: &generator)
    let delay = network.delay.lowerBound + (network.delay.upperBound - network.delay.lowerBound) * share
    schedule(event, for: receiver, at: now + delay)
  }

  private mutating func schedule(_ event: Event, for member: Int, at time: Duration) {
    scheduled += 1
    heap.insert(Scheduled(time: time, number: scheduled, member: member, event: event))
  }

  /// Wakes a member when it next has something to do.
  private mutating func rearm(_ number: Int) {
    let deadline = max(now, members[number].nextDeadline)
    guard deadline < wakeAt[number] || wakeAt[number] <= now else { return }
    wakeAt[number] = deadline
    schedule(.wake, for: number, at: deadline)
  }

  // MARK: What is seen

  /// The members that live.
  var living: [Int] { members.indices.filter { !dead.contains($0) } }

  /// What one member thinks of another.
  func view(_ observer: Int, of number: Int) -> MemberState? { members[observer][Self.name(number)]?.state }

  /// Whether all living members think so of one.
  func all(see number: Int, as state: MemberState) -> Bool {
    living.allSatisfy { $0 == number || view($0, of: number) == state }
  }

  /// Whether every living member sees every living member as alive.
  var isWhole: Bool { living.allSatisfy { all(see: $0, as: .alive) } }

  /// Whether all living members know the same of all runners.
  var agreesOnClaims: Bool { Set(living.map { members[$0].claims }).count <= 1 }

  /// How often a living, reachable member was declared failed.
  var falseFailures: Int {
    changes.count { $0.member.state == .failed && !dead.contains(Int($0.member.name.rawValue.dropFirst())!) }
  }
}
